"""The npz format: every array as numpy itself loads it; bombs, objects and damage refused."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from builders import STRESS, SUPPORT, full_count
from formats_testing import (
    CHECKOUT,
    ZIP_TOKENS,
    Model,
    Reduced,
    audited,
    entries_of,
    loaded,
    mutated,
    only_documented_errors,
    write,
    zipped,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.errors import CheckpointError
from analyzer.formats import npz
from analyzer.formats.npz import DTYPES, HEADER_LIMIT, read_index
from analyzer.tensors.kinds import kind

SAVERS = {"stored": np.savez, "deflated": np.savez_compressed}
ARRAYS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "empty": np.zeros((0, 3), np.float16),
    "epoch": np.array(7),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.npz"


def saved(arrays: dict[str, Any], how: str = "stored", **more: Any) -> bytes:
    buffer = io.BytesIO()
    SAVERS[how](buffer, **arrays, **more)  # type: ignore[arg-type]
    return buffer.getvalue()


def npy(header: str | bytes, data: bytes = b"", version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    text = header.encode() if isinstance(header, str) else header
    size = struct.pack("<H" if version[0] == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes(version) + size + text + data


def described(descr: str = "'<f4'", order: str = "False", shape: str = "(1,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def assert_refused(path: Path, data: bytes, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_index(write(path, data))
    assert str(caught.value).startswith(f"{path}: ")
    for word in words:
        assert word in str(caught.value)


def assert_as_numpy(path: Path, data: bytes) -> None:
    index = read_index(write(path, data))
    with np.load(path, allow_pickle=False) as expected:
        assert set(index.tensors) == set(expected.files)
        for name in expected.files:
            array, info = expected[name], index.tensors[name]
            assert (info.name, info.shape, info.dtype) == (name, array.shape, array.dtype.name), name
            assert loaded(info).tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes(), name


# ------------------------------------------------------------------------------------------------ whole files


@pytest.mark.parametrize("how", SAVERS)
def test_arrays_as_numpy_loads_them(path: Path, how: str) -> None:
    assert_as_numpy(path, saved(ARRAYS, how))
    index = read_index(str(path))
    assert index.files[0].size == path.stat().st_size
    assert index.metadata == {}
    assert kind(index.tensors["empty"]) == "empty"


@pytest.mark.parametrize("how", SAVERS)
@pytest.mark.parametrize("code", DTYPES)
def test_fault_11_44_every_dtype_in_both_byte_orders(path: Path, how: str, code: str) -> None:
    its_type = np.dtype(code)
    codes = np.random.default_rng(0).integers(0, 2 if code == "b1" else 256, 12 * its_type.itemsize, dtype=np.uint8)
    array = codes.view(its_type).reshape(3, 4)
    swapped = array.astype(its_type.newbyteorder(">"))
    assert_as_numpy(
        path,
        saved(
            {"w": array, "fortran": np.asfortranarray(array), "big": swapped, "big fortran": np.asfortranarray(swapped),
             "row": array[:1], "scalar": swapped[1, 1], "empty": swapped[:0],
             "cube": np.asfortranarray(swapped.reshape(3, 2, 2))},
            how,
        ),
    )  # fmt: skip
    assert read_index(str(path)).tensors["big"].big_endian == (its_type.itemsize > 1)


SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@settings(deadline=None, max_examples=full_count(2000, 100))
@given(SHAPES, st.sampled_from(list(DTYPES)), st.booleans(), st.booleans(), st.sampled_from(list(SAVERS)), st.binary())
def test_any_array_round_trips(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, ...],
    code: str,
    fortran: bool,
    big: bool,
    how: str,
    seed: bytes,
) -> None:
    its_type = np.dtype(code)
    size = int(np.prod(shape, dtype=int)) * its_type.itemsize
    codes = np.frombuffer((seed * (size + 1) + bytes(size))[:size], np.uint8) & (1 if code == "b1" else 255)
    array = codes.view(its_type).reshape(shape, order="F" if fortran else "C")
    stored = array.astype(its_type.newbyteorder(">")) if big else array
    assert_as_numpy(tmp_path_factory.getbasetemp() / "round_trip.npz", saved({"w": stored}, how))


def test_arrays_come_in_natural_order(path: Path) -> None:
    write(path, saved({name: np.zeros(2) for name in ("layers.10", "layers.2", "head")}))
    assert list(read_index(str(path)).tensors) == ["head", "layers.2", "layers.10"]


def test_fault_16_names_are_only_names(path: Path) -> None:
    names = ["../../x", "/etc/passwd", "a\nb", "größe", "Same", "same"]
    write(path, saved(dict.fromkeys(names, np.ones(2))))
    index = read_index(str(path))
    assert set(index.tensors) == set(names)
    assert {part.path for info in index.tensors.values() for part in info.parts} == {str(path)}


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_header_version(path: Path, version: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.arange(3, dtype=np.float32), version=version)
    assert_as_numpy(path, zipped({"w.npy": buffer.getvalue()}))


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
        "{'shape': (2,), 'fortran_order': False, 'descr': '<f4'}",
        "{'descr':'<f4','fortran_order':False,'shape':(2,),}\n",
        "  {'descr': '<f4', 'fortran_order': True, 'shape': ( 2 , ), }   \n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2L,), }\n",
    ],
)
def test_headers_of_other_writers(path: Path, header: str) -> None:
    data = np.array([1.5, -2], np.float32).tobytes()
    write(path, zipped({"w.npy": npy(header, data)}))
    assert loaded(read_index(str(path)).tensors["w"]).reshape(-1).tolist() == [1.5, -2]


UNSUPPORTED = {
    "text": (np.array(["a", "bc"]), "text"),
    "bytes": (np.array([b"a"]), "text"),
    "records": (np.zeros(2, [("a", "f4"), ("b", "i8")]), "records"),
    "times": (np.array(["2020-01-01"], "M8[s]"), "times"),
    "durations": (np.array([1], "m8[s]"), "durations"),
    "long": (np.zeros(2, np.longdouble), "varies by machine"),
    "bfloat16": (np.zeros(2, ml_dtypes.bfloat16), "raw bytes"),
}


@pytest.mark.parametrize("how", SAVERS)
@pytest.mark.parametrize("array, word", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
@pytest.mark.filterwarnings("ignore:metadata on a dtype")
def test_what_holds_no_numbers_is_listed_with_a_reason(path: Path, array: np.ndarray, word: str, how: str) -> None:
    write(path, saved({"odd": array, "w": np.ones(2)}, how))
    tensors = read_index(str(path)).tensors
    assert word in str(tensors["odd"].unsupported)
    assert kind(tensors["odd"]) == "unsupported"
    assert loaded(tensors["w"]).tolist() == [1, 1]


def test_it_is_read_where_torch_is_not_installed(path: Path) -> None:
    write(path, saved(ARRAYS, "deflated"))
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from analyzer.formats.npz import read_index\n"
        "from formats_testing import loaded\n"
        "print(loaded(read_index(sys.argv[1]).tensors['b']).tolist())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(SUPPORT)])}
    command = [sys.executable, "-c", script, str(path)]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    assert printed == f"{ARRAYS['b'].tolist()}\n"


# ------------------------------------------------------------------------------------------------ damaged files


@pytest.mark.parametrize("how", SAVERS)
def test_fault_04_truncated_anywhere(path: Path, how: str) -> None:
    whole = saved(ARRAYS, how)
    for size in range(0, len(whole), 1 if STRESS else 3):
        assert_refused(path, whole[:size])


@pytest.mark.parametrize("extra", [b"\0", b"\n", bytes(22), saved(ARRAYS)], ids=["zero", "newline", "22", "a file"])
def test_fault_05_bytes_around_it(path: Path, extra: bytes) -> None:
    assert_refused(path, saved(ARRAYS) + extra, "not a single archive")
    assert_refused(path, extra + saved(ARRAYS), "not a single archive")


UNSOUND = {
    "no magic": (b"\x93NUMPX" + npy(described(), bytes(4))[6:], "not an npy file"),
    "empty": (b"", "not an npy file"),
    "version 4": (npy(described(), bytes(4), (4, 0)), "version 4.0"),
    "version 1.1": (npy(described(), bytes(4), (1, 1)), "version 1.1"),
    "header too long": (npy(described(), bytes(4), (2, 0), 2**31), f"more than {HEADER_LIMIT}"),
    "header breaks off": (npy(described(), bytes(4), length=500), "its header is truncated"),
    "no dictionary": (npy("'<f4'", bytes(4)), "not a dictionary"),
    "code": (npy("{'descr': __import__('os').system('touch canary'), }", bytes(4)), "is invalid"),
    "called": (
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (print(1),), }", bytes(4)),
        "its header is invalid",
    ),
    "100 000 deep": (npy("{" + "(" * 9_000 + ")" * 900 + "}"), "is invalid"),
    "missing key": (npy("{'descr': '<f4', 'shape': (1,), }", bytes(4)), "is invalid"),
    "extra key": (npy(described()[:-2] + "'x': 1}", bytes(4)), "is invalid"),
    "key twice": (npy("{'descr': '<f4', " + described()[1:], bytes(4)), "is invalid"),
    "kinds mixed up": (
        npy("{'descr': (1,), 'fortran_order': False, 'shape': '<f4', }", bytes(4)),
        "its header is invalid",
    ),
    "order is a number": (npy(described(order="0"), bytes(4)), "is invalid"),
    "negative": (npy(described(shape="(-1,)"), bytes(4)), "is invalid"),
    "fraction": (npy(described(shape="(1.0,)"), bytes(4)), "is invalid"),
    "no tuple": (npy(described(shape="1"), bytes(4)), "is invalid"),
    "overflow": (npy(described(shape=f"({2**63},)"), bytes(4)), "overflows"),
    "native order": (npy(described("'=f4'"), bytes(4)), "byte order"),
    "no order": (npy(described("'f4'"), bytes(4)), "byte order"),
    "too many": (npy(described(shape="(2,)"), bytes(4)), "does not fill"),
    "too few": (npy(described(), bytes(8)), "does not fill"),
    "huge": (npy(described(shape=f"({2**40}, {2**22})"), bytes(4)), "does not fill"),
}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize("data, word", UNSOUND.values(), ids=UNSOUND.keys())
def test_fault_07_an_array_that_is_not_sound(path: Path, data: bytes, word: str, method: int) -> None:
    assert_refused(path, zipped({"w.npy": data}, method), "'w'", word)


@pytest.mark.parametrize(
    "descr", ["<f5", "<q9", "float32", "<x4", "<f4extra", "<i3", "<f4[s]", "<c8[s]", "|b4", "O[s]x"]
)
def test_fault_10_an_unknown_dtype(path: Path, descr: str) -> None:
    assert_refused(path, zipped({"w.npy": npy(described(f"'{descr}'"), bytes(4))}), f"unknown dtype {descr!r}")


@pytest.mark.parametrize("shape", [(0, 2**62), (2**62, 0), (0,)])
def test_fault_09_empty_arrays_are_only_listed(path: Path, shape: tuple[int, ...]) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        write(path, zipped({"w.npy": npy(described(shape=str(shape)))}, method))
        info = read_index(str(path)).tensors["w"]
        assert (info.shape, kind(info)) == (shape, "empty")
        assert loaded(replace(info, shape=(0,))).size == 0


def test_fault_12_many_dimensions(path: Path) -> None:
    many = npy(described(shape=str((1,) * 200)), bytes(4))
    write(path, zipped({"w.npy": many, "v.npy": npy(described(), bytes(4))}))
    tensors = read_index(str(path)).tensors
    assert "200 dimensions" in str(tensors["w"].unsupported)
    assert tensors["v"].unsupported is None


def test_no_npz_file(path: Path) -> None:
    assert_refused(path, zipped({"a.txt": b"a"}), "no .npy entry")
    assert_refused(path, npy(described(), bytes(4)), "does not end with the end record of a zip archive")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("w.npy", npy(described(), bytes(4)))
    assert_refused(path, buffer.getvalue(), "method 14")


@pytest.mark.parametrize("what", ["missing", "folder", "fifo", "loop"])
def test_fault_19_no_regular_file(tmp_path: Path, what: str) -> None:
    path = tmp_path / "w.npz"
    {
        "missing": lambda: None,
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(path),
    }[what]()
    with pytest.raises(CheckpointError, match=r"w\.npz: (cannot be opened|is a)"):
        read_index(str(path))


def header_of(length: int) -> str:
    """A sound header of just that many bytes."""
    return described().rstrip("\n").ljust(length - 1) + "\n"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_limits_of_a_header_are_inclusive(path: Path, method: int) -> None:
    longest = npy(header_of(HEADER_LIMIT), struct.pack("<f", 2.5))
    for version in ((1, 0), (2, 0)):
        data = npy(header_of(HEADER_LIMIT), struct.pack("<f", 2.5), version)
        assert loaded(read_index(write(path, zipped({"w.npy": data}, method))).tensors["w"]).tolist() == [2.5]
    assert_refused(path, zipped({"w.npy": npy(header_of(HEADER_LIMIT + 1), bytes(4))}, method), "more than 10000")
    assert_refused(path, zipped({"w.npy": longest[: 10 + HEADER_LIMIT - 1]}, method), "its header is truncated")
    for dimensions in (64, 65):
        tensor = npy(described(shape=str((1,) * dimensions)), bytes(4))
        reason = read_index(write(path, zipped({"w.npy": tensor}, method))).tensors["w"].unsupported
        assert (reason is None) == (dimensions == 64)


def test_an_entry_of_a_few_bytes_is_no_npy_file(path: Path) -> None:
    for length in range(6, 12):
        assert_refused(path, zipped({"w.npy": npy(described(), bytes(4))[:length]}), "is not an npy file")


def test_only_version_3_of_a_header_is_utf_8(path: Path) -> None:
    header = described("[('\xe9', '<f4')]").encode("latin-1")
    reason = read_index(write(path, zipped({"w.npy": npy(header, bytes(4))}))).tensors["w"].unsupported
    assert reason == "records of several values"
    assert_refused(path, zipped({"w.npy": npy(header, bytes(4), (3, 0))}), "'utf-8' codec can't decode")


@pytest.mark.parametrize("size", [2**63 - 1, 2**63])
def test_the_largest_size_is_one_that_a_64_bit_integer_holds(path: Path, size: int) -> None:
    tensor = zipped({"w.npy": npy(described(shape=f"({size}, 0)"))})
    if size < 2**63:
        assert read_index(write(path, tensor)).tensors["w"].shape == (size, 0)
    else:
        assert_refused(path, tensor, "overflows")


def test_deflated_data_may_be_as_small_as_deflate_makes_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb has a ratio beyond deflate's own, or beyond a hundred and more bytes than the limit."""
    data = zipped({"w.npy": npy(described(shape="(100000,)"), bytes(400_000))}, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        info = file.getinfo("w.npy")
    ratio = info.file_size / info.compress_size
    for limit, largest_ratio, bomb_ratio, is_accepted in (
        (info.file_size, ratio - 1, 1, True),
        (info.file_size, ratio - 1.001, 1, False),
        (info.file_size - 1, 1032, ratio, True),
        (info.file_size - 1, 1032, ratio - 0.001, False),
    ):
        monkeypatch.setattr(npz, "INFLATED_LIMIT", limit)
        monkeypatch.setattr(npz, "LARGEST_RATIO", largest_ratio)
        monkeypatch.setattr(npz, "BOMB_RATIO", bomb_ratio)
        if is_accepted:
            assert read_index(write(path, data)).tensors["w"].shape == (100_000,)
        else:
            assert_refused(path, data, "like a zip bomb")


# ------------------------------------------------------------------------------------------------ hostile files


def test_fault_22_an_array_of_zeros_is_no_bomb(path: Path) -> None:
    array = np.zeros((1000, 5000), np.float32)
    assert_as_numpy(path, saved({"w": array}, "deflated"))
    assert path.stat().st_size * 900 < array.nbytes


def test_fault_22_a_bomb_is_refused_on_its_declared_size(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "INFLATED_LIMIT", 10 << 20)
    bomb = saved({"w": np.zeros((1000, 5000), np.float32)}, "deflated")
    tracemalloc.start()
    assert_refused(path, bomb, "like a zip bomb", "numpy.savez")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    data = np.random.default_rng(0).standard_normal((1000, 2000))
    write(path, saved({"w": data}, "deflated"))
    assert loaded(read_index(str(path)).tensors["w"]).tobytes() == data.tobytes()


def test_fault_22_a_declared_size_that_nothing_inflates_to(path: Path) -> None:
    """The directory, the local header and the npy header all promise more than deflate can give."""
    whole = bytearray(zipped({"w.npy": npy(described(shape="(1000000,)"), bytes(4000))}, zipfile.ZIP_DEFLATED))
    declared = 4_000_000 + len(npy(described(shape="(1000000,)")))
    for signature, field in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        place = whole.index(signature) + field
        whole[place : place + 4] = struct.pack("<I", declared)
    assert_refused(path, bytes(whole), "like a zip bomb")


def test_fault_22_what_inflates_to_less_or_more_is_found_while_it_is_read(path: Path) -> None:
    data = np.random.default_rng(0).standard_normal(1000).tobytes()
    for declared in (999, 1001):
        whole = bytearray(
            zipped({"w.npy": npy(described("'<f8'", shape=f"({declared:04},)"), data)}, zipfile.ZIP_DEFLATED)
        )
        size = declared * 8 + len(npy(described("'<f8'", shape="(1000,)")))
        for signature, field in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
            place = whole.index(signature) + field
            whole[place : place + 4] = struct.pack("<I", size)
        info = read_index(write(path, bytes(whole))).tensors["w"]
        with pytest.raises(CheckpointError, match="does not inflate to"):
            loaded(info)


@pytest.mark.parametrize("how", SAVERS)
def test_fault_21_22_object_arrays_are_never_unpickled(tmp_path: Path, how: str) -> None:
    canary, sound = tmp_path / "canary", tmp_path / "sound.npz"
    model = Model()
    model.canary = str(canary)
    objects = {
        "reduce": np.array([Reduced(os.system, f"touch {canary}")], dtype=object),
        "state": np.array([model, 1], dtype=object),
        "eval": np.array(Reduced(eval, f"__import__('os').system('touch {canary}')"), dtype=object),
    }
    write(sound, saved(ARRAYS, how))
    path = tmp_path / "hostile.npz"
    write(path, saved({**objects, "w": np.ones(2)}, how))
    ((outcome, events),) = audited("npz", sound, [path])
    assert events == []
    assert outcome.count("a pickle, which is never read") == 3
    assert not canary.exists()
    assert loaded(read_index(str(path)).tensors["w"]).tolist() == [1, 1]
    with np.load(path, allow_pickle=True) as file:
        assert file["reduce"].shape == (1,)
    assert canary.exists()  # numpy itself would have run it


# ------------------------------------------------------------------------------------------------ mutants

TOKENS = (
    *ZIP_TOKENS, b"'<f4'", b"'|O'", b"'>f8'", b"(", b")", b",", b"'", b"{", b"}", b"True", b"0", b"99999999", b"shape",
    b"descr", b"[('a', '<f4')]", b"\\", b"\x93NUMPY\x03\x00", b"-", b"\n", b"L",
)  # fmt: skip


def mutants(count: int, seed: int) -> Iterator[bytes]:
    generator = random.Random(seed)
    wholes = [saved(ARRAYS, how) for how in SAVERS]
    parts = entries_of(wholes[0])
    for number in range(count):
        if number % 3 == 0:
            yield mutated(generator.choice(wholes), generator, ZIP_TOKENS)
        else:
            name = generator.choice(list(parts))
            method = generator.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
            yield zipped({**parts, name: mutated(parts[name], generator, TOKENS)}, method)


@pytest.mark.parametrize("seed", range(10 if STRESS else 1))
def test_fault_45_mutants(path: Path, seed: int) -> None:
    accepted = 0
    for data in mutants(full_count(10_000, 1_500), seed):
        write(path, data)
        accepted += only_documented_errors(lambda: read_index(str(path)).tensors)
    assert accepted > 50


def test_fault_45_mutants_take_little_memory(path: Path) -> None:
    peaks = []
    for data in mutants(full_count(2_000, 200), 99):
        write(path, data)
        tracemalloc.start()
        only_documented_errors(lambda: read_index(str(path)).tensors)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 2_000_000
