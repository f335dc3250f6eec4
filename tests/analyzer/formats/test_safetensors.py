"""The safetensors index against hostile bytes and against the reference library.

The rule: accepted if and only if the library accepts, duplicate keys aside; else a CheckpointError, nothing other.
"""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from builders import CHECKOUT, STRESS, full_count
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from analyzer.errors import CheckpointError
from analyzer.formats import safetensors
from analyzer.formats.safetensors import DTYPES, HEADER_LIMIT, read_index
from analyzer.model.run import TensorInfo
from analyzer.sources import LocalSource
from analyzer.tensors.kinds import kind, numpy_dtype

TENSORS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.arange(4, dtype=np.int8),
    "e": np.zeros((0, 3), np.float16),
}


def encoded(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A file's bytes; the header as JSON unless it is bytes already, its declared length as it is unless given."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str = "F32", shape: Any = (1,), data_offsets: Any = (0, 4), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": data_offsets, **more}


def write(path: Path, data: bytes) -> str:
    """Written over in place: truncating to nothing first makes file systems flush, which is slow."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(data)
        file.truncate()
    return str(path)


def assert_refused(path: Path, data: bytes, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_index(write(path, data))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    for word in words:
        assert word in message


def reference_names(path: Path) -> list[str] | None:
    """The names of the tensors as the reference library lists them, None where it refuses the file."""
    try:
        with safe_open(path, "np") as file:
            return sorted(file.keys())
    except SafetensorError:
        return None


def assert_as_reference(path: Path, data: bytes) -> bool:
    """Both accept with the same names, or both refuse; tells which."""
    write(path, data)
    expected = reference_names(path)
    try:
        index = read_index(str(path))
    except CheckpointError as error:
        assert expected is None or "occurs twice" in str(error), (str(error), data)
        return False
    assert expected is not None, ("accepted, but the library refuses", data)
    assert sorted(index.tensors) == expected, data
    return True


def read_array(info: TensorInfo) -> np.ndarray:
    (part,) = info.parts
    with LocalSource(part.path) as source:
        return np.frombuffer(source.read(part.offset, part.length), numpy_dtype(info.dtype)).reshape(info.shape)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


# ------------------------------------------------------------------------------------------------ whole files


def test_what_the_library_writes_is_read_back(path: Path) -> None:
    write(path, save(TENSORS, metadata={"epoch": "3", "größe": "重み"}))
    index = read_index(str(path))
    assert index.metadata == {"epoch": "3", "größe": "重み"}
    assert index.files[0].size == path.stat().st_size
    assert set(index.tensors) == set(TENSORS)
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(read_array(index.tensors[name]), array, strict=True)


SHAPES = st.lists(st.integers(0, 3), max_size=4).map(tuple)
NUMPY_DTYPES = [name for _, name in DTYPES.values() if name and name != "float8_e8m0fnu"]
ANY_TENSORS = st.dictionaries(
    st.text(max_size=20).filter(lambda name: name != "__metadata__"),
    st.tuples(SHAPES, st.sampled_from(NUMPY_DTYPES), st.randoms(use_true_random=False)),
    max_size=8,
)


@settings(deadline=None, max_examples=full_count(2000, 100))
@given(ANY_TENSORS, st.none() | st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3))
def test_any_names_shapes_and_dtypes_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: dict[str, tuple[tuple[int, ...], str, random.Random]],
    metadata: dict[str, str] | None,
) -> None:
    arrays = {}
    for name, (shape, dtype, generator) in drawn.items():
        its_type = np.dtype(getattr(ml_dtypes, dtype, None) or dtype)
        size = int(np.prod(shape, dtype=int))
        codes = generator.randbytes(size * its_type.itemsize) if dtype != "bool" else bytes(size)
        arrays[name] = np.frombuffer(codes, its_type).reshape(shape)
    path = tmp_path_factory.getbasetemp() / "round_trip.safetensors"
    write(path, save(arrays, metadata=metadata or None))  # 0.8.0 writes an empty metadata map wrongly
    index = read_index(str(path))
    assert index.metadata == (metadata or {})
    assert index.tensors.keys() == arrays.keys()
    for name, array in arrays.items():
        info = index.tensors[name]
        assert (info.name, info.shape, info.dtype, info.unsupported) == (name, array.shape, array.dtype.name, None)
        assert read_array(info).tobytes() == array.tobytes()


def test_tensors_come_in_natural_order(path: Path) -> None:
    names = ["layers.10.weight", "layers.2.weight", "layers.2.bias", "head"]
    write(path, save({name: np.zeros(2, np.float32) for name in names}))
    assert list(read_index(str(path)).tensors) == ["head", "layers.2.bias", "layers.2.weight", "layers.10.weight"]


def test_fault_16_tensor_names_are_only_names(path: Path) -> None:
    names = ["../../x", "", "x" * 300, "nul\0", "Same", "same", "/etc/passwd", "a\nb", "\u202e"]
    write(path, save({name: np.full(2, position, np.float32) for position, name in enumerate(names)}))
    index = read_index(str(path))
    assert set(index.tensors) == set(names)
    for position, name in enumerate(names):
        assert index.tensors[name].parts[0].path == str(path)
        assert read_array(index.tensors[name]).tolist() == [position, position]


# ------------------------------------------------------------------------------------------------ damaged files


@pytest.mark.parametrize("size", range(8))
def test_fault_01_too_short(path: Path, size: int) -> None:
    assert_refused(path, bytes(size), f"{size} bytes are too few")


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**62, HEADER_LIMIT + 1, HEADER_LIMIT, 1000, 3])
def test_fault_02_header_length_is_checked_before_anything_is_allocated(path: Path, length: int) -> None:
    assert_refused(path, encoded(b"{}", length=length), str(length))


def test_fault_02_a_limit_on_the_header_of_a_large_file(path: Path) -> None:
    write(path, encoded(b"{}", length=HEADER_LIMIT + 1))
    os.truncate(path, HEADER_LIMIT + 100)  # sparse: the header would fit in the file
    with pytest.raises(CheckpointError, match=f"declare a header of {HEADER_LIMIT + 1} bytes"):
        read_index(str(path))
    assert reference_names(path) is None


def test_fault_02_the_limits_on_the_header_are_inclusive(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded({"w": entry()}, bytes(4))
    length = len(data) - 12
    monkeypatch.setattr(safetensors, "HEADER_LIMIT", length)
    assert read_index(write(path, data)).tensors["w"].shape == (1,)
    monkeypatch.setattr(safetensors, "HEADER_LIMIT", length - 1)
    assert_refused(path, data, f"declare a header of {length} bytes")
    monkeypatch.undo()
    assert read_index(write(path, encoded(b"{}"))).tensors == {}  # the header ends where the file does
    assert_refused(path, encoded(b"{}", length=3), "a header of 3 bytes is declared but 2 follow")


def test_the_limits_of_a_number_and_of_nesting_are_those_of_the_reference(path: Path) -> None:
    accepted = [
        assert_as_reference(path, encoded({"w": entry("F32", [size, 0], (0, 0))}))
        for size in (2**64 - 2, 2**64 - 1, 2**64, 2**64 + 1)
    ]
    assert accepted == [True, True, False, False]
    accepted = []
    for levels in range(123, 129):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            nested = opening * levels + "1" + closing * levels
            header = f'{{"w":{{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":{nested}}}}}'
            accepted.append(assert_as_reference(path, encoded(header.encode(), bytes(4))))
    assert accepted[0] and not accepted[-1]


BAD_HEADERS = {
    "not UTF-8": b'{"\xff":1}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "BOM": b"\xef\xbb\xbf{}",
    "list": b"[]",
    "text": b'"a"',
    "number": b"1",
    "null": b"null",
    "empty": b"",
    "cut": b'{"a":',
    "two": b"{}{}",
    "NaN": b'{"a":NaN}',
    "control character": b'{"a\n":1}',
    "lists 100 000 deep": b"[" * 100_000,
    "objects 100 000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "entry 100 000 deep": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":%s}}'
    % (b"[" * 10**5 + b"]" * 10**5),
    "entry is a list": b'{"a":[]}',
    "entry is null": b'{"a":null}',
    "metadata is a list": b'{"__metadata__":[]}',
    "metadata of numbers": b'{"__metadata__":{"epoch":3}}',
    "metadata nested": b'{"__metadata__":{"config":{}}}',
    "pickle": b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
}


@pytest.mark.parametrize("header", BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_fault_03_a_header_that_is_not_sound(path: Path, header: bytes) -> None:
    assert_refused(path, encoded(header, bytes(4)))
    assert reference_names(path) is None


def test_fault_21_a_pickle_renamed(path: Path) -> None:
    assert_refused(
        path, b"\x80\x04\x95\x01\x01" + bytes(100) + b"cos\nsystem\n(S'touch /tmp/canary'\ntR.", "not a safetensors"
    )


@pytest.mark.parametrize("depth", [1, 60, 124, 125, 126, 127, 128, 200, 900, 2000])
@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"x":', b"}")])
def test_fault_03_the_depth_that_the_library_allows(path: Path, depth: int, opening: bytes, closing: bytes) -> None:
    nested = opening * depth + (b"1" if closing == b"}" else b"") + closing * depth
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":%s}}' % nested
    assert assert_as_reference(path, encoded(header, bytes(4))) == (depth <= 125)


def test_fault_04_truncated_anywhere(path: Path) -> None:
    whole = save(TENSORS, metadata={"epoch": "3"})
    read_index(write(path, whole))
    for size in range(len(whole)):  # every byte of the header, every tensor edge, and all between
        assert_refused(path, whole[:size])


def test_fault_04_truncated_beside_each_tensor_edge(path: Path) -> None:
    whole = save({f"layer.{number}": np.ones((number, 7), np.float16) for number in range(1, 20)})
    index = read_index(write(path, whole))
    edges = {
        part.offset + extra for info in index.tensors.values() for part in info.parts for extra in (0, part.length)
    }
    assert len(edges) == 20
    for size in {edge + step for edge in edges for step in (-1, 0, 1)} - {len(whole)}:
        if size < len(whole):
            assert_refused(path, whole[:size], "truncated", "copy it again")
        else:
            assert_refused(path, whole + bytes(size - len(whole)), "follow the last tensor")


@pytest.mark.parametrize("extra", [b"\0", b"\n", bytes(8), save(TENSORS)], ids=["zero", "newline", "eight", "a file"])
def test_fault_05_bytes_after_the_end(path: Path, extra: bytes) -> None:
    assert_refused(path, save(TENSORS) + extra, f"{len(extra)} bytes follow the last tensor")


BAD_OFFSETS = {
    "overlap": [(0, 8), (4, 12)],
    "same range twice": [(0, 8), (0, 8)],
    "one inside": [(0, 8), (0, 4)],
    "hole": [(0, 4), (8, 12)],
    "hole at the start": [(4, 8)],
    "backwards": [(4, 0)],
    "negative": [(-4, 0)],
    "both negative": [(-8, -4), (-4, 0)],
    "beyond the end": [(0, 4), (4, 4 + 2**40)],
    "wraps around 64 bits": [(0, 4), (4, 2**64)],
    "fraction": [(0.0, 4.0)],
    "true": [(False, 4)],
    "three": [(0, 2, 4)],
    "one": [(4,)],
    "text": ["04"],
    "nothing": [None],
}


@pytest.mark.parametrize("ranges", BAD_OFFSETS.values(), ids=BAD_OFFSETS.keys())
def test_fault_06_offsets(path: Path, ranges: list[Any]) -> None:
    header = {}
    for number, offsets in enumerate(ranges):
        length = 4
        if isinstance(offsets, tuple) and len(offsets) == 2:
            length = int(offsets[1] - offsets[0])
        header[f"tensor {number}"] = entry("U8", [max(length, 0)], offsets)
    assert_refused(path, encoded(header, bytes(12)))
    assert reference_names(path) is None


BAD_SHAPES = {
    "too many": ("F32", [2], (0, 4)),
    "too few": ("F32", [1], (0, 8)),
    "scalar": ("F64", [], (0, 4)),
    "dtype": ("F16", [1], (0, 4)),
    "half a byte": ("F4", [3], (0, 1)),
    "three quarters": ("F6_E2M3", [2], (0, 1)),
    "negative": ("F32", [-1], (0, 4)),
    "two negatives": ("F32", [-1, -1], (0, 4)),
    "fraction": ("F32", [1.0], (0, 4)),
    "true": ("F32", [True], (0, 4)),
    "text": ("F32", "1", (0, 4)),
    "nested": ("F32", [[1]], (0, 4)),
    "missing": ("F32", None, (0, 4)),
    "overflow to 0": ("F32", [2**32, 2**32], (0, 0)),
    "overflow to 4": ("F32", [2**63, 2, 2], (0, 4)),
    "overflow of the bits": ("U8", [2**61], (0, 2**61)),
    "overflow before a zero": ("F32", [2**62, 2**62, 0], (0, 0)),
    "beyond 64 bits": ("F32", [2**64, 0], (0, 0)),
    "far beyond": ("F32", [10**30, 0], (0, 0)),
}


@pytest.mark.parametrize("dtype, shape, offsets", BAD_SHAPES.values(), ids=BAD_SHAPES.keys())
def test_fault_07_shape_and_bytes_disagree(path: Path, dtype: str, shape: Any, offsets: tuple[int, int]) -> None:
    assert_refused(path, encoded({"w": entry(dtype, shape, offsets)}, bytes(min(offsets[1], 8))), "tensor 'w'")
    assert reference_names(path) is None


SOUND = b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
DUPLICATES = {
    "tensor": b'{"a":%s,"a":%s}' % (SOUND, SOUND),
    "escaped": b'{"a":%s,"\\u0061":%s}' % (SOUND, SOUND),
    "field": b'{"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}',
    "metadata": b'{"__metadata__":{"epoch":"1"},"__metadata__":{"epoch":"2"},"a":%s}' % SOUND,
    "metadata key": b'{"__metadata__":{"epoch":"1","epoch":"2"},"a":%s}' % SOUND,
}


@pytest.mark.parametrize("header", DUPLICATES.values(), ids=DUPLICATES.keys())
def test_fault_08_a_key_occurs_twice(path: Path, header: bytes) -> None:
    assert_refused(path, encoded(header, bytes(4)), "occurs twice")


@pytest.mark.parametrize("shape", [[0, 2**62], [2**62, 0], [0], [3, 0, 5], [0, 2**63, 2**63], [0, 2**64 - 1]])
def test_fault_09_empty_tensors_are_only_listed(path: Path, shape: list[int]) -> None:
    write(path, encoded({"w": entry("F32", shape, (0, 0)), "v": entry()}, bytes(4)))
    index = read_index(str(path))
    assert index.tensors["w"].shape == tuple(shape)
    assert kind(index.tensors["w"]) == "empty"
    assert index.tensors["w"].parts[0].length == 0
    assert reference_names(path) == ["v", "w"]


@pytest.mark.parametrize("dtype", ["F128", "f32", "", "BF32", "F8", "F8_E4M4", "float32", "C128", 1, None, ["F32"], {}])
def test_fault_10_unknown_dtype(path: Path, dtype: Any) -> None:
    assert_refused(path, encoded({"w": entry(dtype)}, bytes(4)), "tensor 'w'", "unknown dtype")
    assert reference_names(path) is None


def test_fault_10_every_dtype_of_the_library_is_known(path: Path) -> None:
    for dtype, (bits, name) in DTYPES.items():
        length = 8 * bits // 8
        assert assert_as_reference(path, encoded({"w": entry(dtype, [8], (0, length))}, bytes(length)))
        info = read_index(str(path)).tensors["w"]
        assert (info.unsupported is None) == (name is not None)
        if name:
            assert numpy_dtype(info.dtype).itemsize * 8 == bits
        else:
            assert "smaller than a byte" in str(info.unsupported)


# ------------------------------------------------------------------------------------------------ values


def exact_values(codes: np.ndarray, exponent_bits: int, mantissa_bits: int) -> np.ndarray:
    """IEEE-like codes decoded by the definition; infinities and NaN are left to the caller."""
    sign = np.where(codes >> (exponent_bits + mantissa_bits), -1.0, 1.0)
    exponent = (codes >> mantissa_bits & (1 << exponent_bits) - 1).astype(int)
    fraction = (codes & (1 << mantissa_bits) - 1).astype(float)
    bias = (1 << exponent_bits - 1) - 1
    normal = np.ldexp(1 + fraction / 2**mantissa_bits, exponent - bias)
    return sign * np.where(exponent > 0, normal, np.ldexp(fraction, 1 - bias - mantissa_bits))


def decoded(path: Path, dtype: str, codes: np.ndarray) -> np.ndarray:
    write(path, encoded({"w": entry(dtype, [len(codes)], [0, codes.nbytes])}, codes.tobytes()))
    with np.errstate(invalid="ignore"):  # a signalling NaN
        return read_array(read_index(str(path)).tensors["w"]).astype(np.float64)


def test_fault_11_all_bf16_codes(path: Path) -> None:
    codes = np.arange(65536, dtype="<u2")
    values = decoded(path, "BF16", codes)
    widened = (codes.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(values, widened.astype(np.float64))  # NaN equals NaN here
    assert np.array_equal(np.signbit(values), codes >= 0x8000)
    finite = np.isfinite(values)
    assert np.array_equal(values[finite], exact_values(codes[finite], 8, 7))
    assert finite.sum() == 65536 - 2 * 128


@pytest.mark.parametrize(
    "dtype, exponent_bits, mantissa_bits, infinite, not_numbers",
    [
        ("F8_E4M3", 4, 3, [], [0x7F, 0xFF]),
        ("F8_E5M2", 5, 2, [0x7C, 0xFC], [0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF]),
    ],
)
def test_fault_11_all_fp8_codes(
    path: Path, dtype: str, exponent_bits: int, mantissa_bits: int, infinite: list[int], not_numbers: list[int]
) -> None:
    codes = np.arange(256, dtype=np.uint8)
    values = decoded(path, dtype, codes)
    assert np.flatnonzero(np.isnan(values)).tolist() == not_numbers
    assert np.flatnonzero(np.isinf(values)).tolist() == infinite
    finite = np.isfinite(values)
    expected = exact_values(codes, exponent_bits, mantissa_bits)
    assert np.array_equal(values[finite], expected[finite])
    assert np.array_equal(np.signbit(values[finite]), np.signbit(expected[finite]))


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"])
def test_fault_11_codes_as_torch_decodes_them(path: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    bits, name = DTYPES[dtype]
    codes = np.arange(2**bits, dtype=np.uint8 if bits == 8 else np.uint16)
    signed = torch.from_numpy(codes.view(np.int8 if bits == 8 else np.int16).copy())
    expected = signed.view(getattr(torch, str(name))).to(torch.float32).to(torch.float64).numpy()
    np.testing.assert_array_equal(decoded(path, dtype, codes), expected)


def test_fault_11_bf16_in_a_process_that_has_not_met_ml_dtypes(path: Path) -> None:
    write(path, save({"w": np.array([1.0, -2.5], ml_dtypes.bfloat16), "v": np.array([0.5], ml_dtypes.float8_e4m3fn)}))
    script = (
        "import sys; from analyzer.formats.safetensors import read_index\n"
        "from analyzer.tensors.kinds import numpy_dtype\n"
        "import numpy as np; assert 'ml_dtypes' not in sys.modules\n"
        "for name, info in read_index(sys.argv[1]).tensors.items():\n"
        "    part, = info.parts\n"
        "    data = open(part.path, 'rb').read()[part.offset : part.offset + part.length]\n"
        "    for _ in range(2): print(name, np.frombuffer(data, numpy_dtype(info.dtype)).astype(float).tolist())\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert printed == "v [0.5]\nv [0.5]\nw [1.0, -2.5]\nw [1.0, -2.5]\n"


def test_fault_44_values_are_little_endian_whatever_the_host_is() -> None:
    for name in ("float16", "float32", "float64", "int64", "complex64"):
        assert numpy_dtype(name).str.startswith("<")
    assert np.frombuffer(b"\x00\x00\x80\x3f", numpy_dtype("float32"))[0] == 1.0


def test_fault_12_many_dimensions(path: Path) -> None:
    for dimensions in (64, 65, 200, 10_000):
        write(path, encoded({"w": entry("F32", [1] * dimensions), "v": entry("F32", [1], (4, 8))}, bytes(8)))
        tensors = read_index(str(path)).tensors
        assert tensors["v"].unsupported is None
        if dimensions > 64:
            assert f"{dimensions} dimensions" in str(tensors["w"].unsupported)
            assert kind(tensors["w"]) == "unsupported"
        else:
            assert read_array(tensors["w"]).shape == tensors["w"].shape


def test_fault_13_very_many_tiny_tensors(path: Path) -> None:
    count = full_count(300_000, 30_000)
    header = {f"layers.{number}.bias": entry("F32", [1], (4 * number, 4 * number + 4)) for number in range(count)}
    write(path, encoded(header, np.arange(count, dtype=np.float32).tobytes()))
    started = time.process_time()
    index = read_index(str(path))
    seconds = time.process_time() - started
    assert list(index.tensors) == list(header)  # in natural order
    assert read_array(index.tensors[f"layers.{count - 1}.bias"]).tolist() == [count - 1]
    assert seconds < count * 1e-4, f"{seconds:.1f} s for {count} tensors"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory from Linux")
def test_fault_13_the_index_takes_bounded_memory(path: Path) -> None:
    count = full_count(300_000, 30_000)
    header = {f"layers.{number}.bias": entry("F32", [1], (4 * number, 4 * number + 4)) for number in range(count)}
    write(path, encoded(header, bytes(4 * count)))
    script = (
        "import resource, sys; from analyzer.formats.safetensors import read_index\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak(); read_index(sys.argv[1]); print(peak() - before)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=120
    )
    assert int(run.stdout) < 4000 * count


# ------------------------------------------------------------------------------------------------ the reference

ODD_VALUES = [
    b"1E400", b"-1E400", b"1e-400", b"1e308", b"2e308", b"1.7976931348623159e308", b"1" * 400, b"-" + b"1" * 400,
    b"9" * 5000, b"-0", b"-0.0", b"01", b"1.", b".5", b"+1", b"-", b"1e", b"NaN", b"Infinity", b"-Infinity", b"tru",
    b"true", b"null", b"[1,]", b"{,}", b"[]", b"{}", b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\udc00\\ud800"',
    b'"\\u0000"', b'"\x7f"', b'"\t"', b'"\\t\\/\\b"', b'"\\a"', b"\x0c1", b"\xc2\xa01", b' "a" ', b"'a'",
    b"18446744073709551616", b'{"a":[null,false,{"b":1.5e3}]}', b'"' + b"long" * 20_000 + b'"',
]  # fmt: skip
ODD_FIELDS = {
    b"dtype": b"""{"F32":null} {"F32":1} {"F32":[]} {"F32":null,"F64":null} "F\\u00332" ["F32"] 13""".split(),
    b"shape": b"""[1.0] [1e0] [true] [-0] [\t1\t] [] [1,1,1] [null] {"0":1} [18446744073709551615,0]""".split(b" "),
    b"data_offsets": b"""[0,4,0] [0] [-0,4] [0,4e0] {"0":0,"1":4} [0,18446744073709551620] [4,0]""".split(),
}  # fmt: skip


def odd_headers() -> Iterator[bytes]:
    """Headers of one F32 tensor with something unusual that the format's text does not settle."""
    plain = {b"dtype": b'"F32"', b"shape": b"[1]", b"data_offsets": b"[0,4]"}

    def tensor(fields: dict[bytes, bytes]) -> bytes:
        return b"{" + b",".join(b'"%s":%s' % item for item in fields.items()) + b"}"

    for value in ODD_VALUES:
        yield b'{"a":%s}' % tensor({**plain, b"more": value})
        yield b'{"a":%s,"b":%s}' % (tensor(plain), value)
        yield b'{"a":%s,"__metadata__":{"k":%s}}' % (tensor(plain), value)
        yield b'{"a":%s,"__metadata__":%s}' % (tensor(plain), value)
        yield value
    for field, values in ODD_FIELDS.items():
        for value in [*values, *ODD_VALUES]:
            yield b'{"a":%s}' % tensor({**plain, field: value})
        yield b'{"a":%s}' % tensor({name: value for name, value in plain.items() if name != field})
    for fields in (b'["F32",[1],[0,4]]', b'["F32",[1],[0,4],1]', b'["F32",[1]]', b'[[1],"F32",[0,4]]', b"{}", b"[]"):
        yield b'{"a":%s}' % fields
    yield from (b"", b" ", b"{}", b" {}", b"{} ", b"{}\n", b"{}\0", b"\t{}", b'{"__metadata__":{}}')
    yield b'{"":%s}' % tensor(plain)
    yield b'{"\\u005f_metadata__":{"a":"b"},"a":%s}' % tensor(plain)
    yield b' \r\n\t{"a" : %s }   ' % tensor(plain)


def test_odd_headers_as_the_reference_library_reads_them(path: Path) -> None:
    accepted = [
        assert_as_reference(path, encoded(header, data)) for header in odd_headers() for data in (bytes(4), b"")
    ]
    assert 20 < sum(accepted) < len(accepted) - 20


TOKENS = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"0", b"1", b"-", b"-0", b"1.0", b"1e3", b"null", b"true", b"NaN",
    b"\\ud800", b"\\u0000", b"\x00", b" ", b"\n", b"\xff", b"18446744073709551616", b"18446744073709551615",
    b"99999999999999999999999999", b"F32", b"F64", b"F4", b"F6_E2M3", b"BF16", b'"x":1,', b'{"q":[1,{"z":null}]},',
    b"dtype", b"shape", b"data_offsets", b"__metadata__", b'"__metadata__":null,', b'"dtype":"F32",', b"[0,24]",
    b"[24,28]", b"\xc3\xa9", b"1E400", b"\\/", b"\\x", b"[[0]]", b'"c":[[1,1,0],"F32",[0,0]],',
    b'"c":["F32",[0],[28,28]],', b'"y":1E400,', b'"y":[[[]]],', b'"c":{"dtype":"F4","shape":[0],"data_offsets":[0,0]},',
]  # fmt: skip


def mutated_header(header: bytes, generator: random.Random) -> bytes:
    text = bytearray(header)
    for _ in range(generator.choice([1, 1, 1, 2, 3])):
        place = generator.randrange(len(text) + 1)
        match generator.choice(
            ["byte", "byte", "insert", "insert", "delete", "delete", "repeat", "replace", "structure", "structure"]
        ):
            case "byte" if place < len(text):
                text[place] = generator.randrange(256)
            case "insert":
                text[place:place] = generator.choice(TOKENS)
            case "delete":
                del text[place : place + generator.randrange(1, 6)]
            case "repeat":
                text[place:place] = text[place : place + generator.randrange(60)]
            case "replace":
                text[place : place + generator.randrange(1, 4)] = generator.choice(TOKENS)
            case "structure":  # after a brace or a comma, where a mutant may well be accepted
                places = [position + 1 for position, byte in enumerate(text) if byte in b"{,["]
                if places:
                    place = generator.choice(places)
                    text[place:place] = generator.choice(TOKENS)
    return bytes(text)


def mutants(count: int, seed: int) -> Iterator[bytes]:
    """Files with a mutated header (most), header length or amount of data."""
    generator = random.Random(seed)
    whole = save(TENSORS, metadata={"epoch": "3", "k": "v"})
    length = int.from_bytes(whole[:8], "little")
    header, data = whole[8 : 8 + length], whole[8 + length :]
    for number in range(count):
        changed = mutated_header(header, generator)
        match number % 10:
            case 0:  # the length prefix: off by a little, a flipped bit, anything
                amount = generator.choice(
                    [
                        length + generator.randrange(-3, 4),
                        length ^ 1 << generator.randrange(64),
                        generator.getrandbits(64),
                    ]
                )
                yield struct.pack("<Q", amount) + header + data
            case 1:  # more or less data
                amount = generator.randrange(-len(data), 30)
                yield whole + bytes(amount) if amount >= 0 else whole[:amount]
            case 2:  # anything anywhere in the file
                yield mutated_header(whole, generator)
            case 3:  # a mutated header whose length is not said
                yield whole[:8] + changed + data
            case _:
                yield struct.pack("<Q", len(changed)) + changed + data


@pytest.mark.parametrize("seed", range(10 if STRESS else 1))
def test_fault_45_mutants_as_the_reference_library_reads_them(path: Path, seed: int) -> None:
    accepted = sum(assert_as_reference(path, data) for data in mutants(full_count(10_000, 3_000), seed))
    assert accepted > 100  # a comparison of refusals alone would say little


def test_fault_45_the_comparison_sees_a_reader_that_is_too_kind_or_too_strict(path: Path) -> None:
    whole = save(TENSORS)
    assert assert_as_reference(path, whole)
    assert reference_names(path) == sorted(TENSORS)
    assert not assert_as_reference(path, whole + b"\0")
    assert reference_names(path) is None


def test_the_error_names_path_and_cause(path: Path) -> None:
    causes: Sequence[tuple[bytes, str]] = [
        (encoded({"w": entry("F33")}, bytes(4)), "tensor 'w': unknown dtype 'F33'"),
        (encoded({"w": entry(shape=[2])}, bytes(4)), "tensor 'w': shape [2] of F32 does not fill the 4 bytes"),
    ]
    for data, cause in causes:
        assert_refused(path, data, cause)


@pytest.mark.parametrize("what", ["missing", "folder"])
def test_a_path_that_is_no_file(tmp_path: Path, what: str) -> None:
    path = tmp_path / "w.safetensors"
    if what == "folder":
        path.mkdir()
    with pytest.raises(CheckpointError, match=r"cannot be opened|is a folder"):
        read_index(str(path))
