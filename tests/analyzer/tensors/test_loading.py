"""The one reader of tensors: whatever the parts are, the array has the bits that numpy gives."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise, product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import full_count, random_walk, save_weights
from commands import measured, rows_of
from formats_testing import loaded, write
from hypothesis import given, settings
from hypothesis import strategies as st

import analyzer
from analyzer.engine.fingerprints import Bases
from analyzer.engine.planning import plan
from analyzer.engine.tensor_walk import Stream
from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex, npz, safetensors
from analyzer.formats.torch_zip import read_torch
from analyzer.metrics.registry import select_metrics
from analyzer.model.run import Checkpoint, FileStamp, Part, Run, TensorInfo
from analyzer.sources import LocalSource
from analyzer.tensors import loading
from analyzer.tensors.kinds import size_of
from analyzer.tensors.loading import is_plain

DTYPES = [
    "bool",
    "uint8",
    "int16",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "float8_e5m2",
]


def encoded(array: np.ndarray, strides: tuple[int, ...]) -> bytes:
    """The elements laid out with the given strides (in elements), 0xEE between them."""
    width = array.itemsize
    length = 1 + sum((size - 1) * stride for size, stride in zip(array.shape, strides, strict=True))
    data = np.full(length * width, 0xEE, np.uint8)
    flat = array.reshape(-1).view(np.uint8).reshape(-1, width)
    for number, index in enumerate(np.ndindex(array.shape)):
        at = width * sum(place * stride for place, stride in zip(index, strides, strict=True))
        data[at : at + width] = flat[number]
    return data.tobytes()


def deflated(data: bytes) -> bytes:
    encoder = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return encoder.compress(data) + encoder.flush()


@st.composite
def tensors(draw: st.DrawFn) -> tuple[np.ndarray, list[Any]]:
    """An array, and boxes that make it up: (start, shape, strides or None, deflated bytes to skip or None)."""
    shape = tuple(draw(st.lists(st.integers(1, 5), max_size=4)))
    cuts = [sorted({0, size, *draw(st.lists(st.integers(0, size), max_size=2))}) for size in shape]
    boxes = []
    for corner in product(*(list(pairwise(places)) for places in cuts)):
        start, extent = tuple(a for a, _ in corner), tuple(b - a for a, b in corner)
        strides = None
        if draw(st.booleans()):
            order = draw(st.permutations(range(len(shape))))
            gap, made, step = draw(st.integers(1, 2)), [0] * len(shape), 1
            for axis in order:
                made[axis], step = step * gap, step * gap * extent[axis]
            strides = tuple(made)
        boxes.append((start, extent, strides, draw(st.none() | st.integers(0, 9))))
    return np.arange(prod(shape)).reshape(shape), boxes


@settings(deadline=None, max_examples=full_count(5000, 300))
@given(tensors(), st.sampled_from(DTYPES), st.booleans(), st.sampled_from([16, 40, 1 << 20]), st.binary(min_size=1))
def test_any_parts_make_up_the_tensor(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[np.ndarray, list[Any]],
    dtype: str,
    big_endian: bool,
    block: int,
    seed: bytes,
) -> None:
    places, boxes = drawn
    its_type = loading.numpy_dtype(dtype)
    codes = np.frombuffer((seed * (1 + places.size * its_type.itemsize))[: places.size * its_type.itemsize], np.uint8)
    codes = codes & 1 if dtype == "bool" else codes + np.arange(codes.size, dtype=np.uint8)
    array = codes.view(its_type).reshape(places.shape)
    unit = its_type.itemsize // (2 if dtype.startswith("complex") else 1)
    stored = (
        codes.view(f"u{unit}").byteswap().view(f"V{its_type.itemsize}")
        if big_endian
        else codes.view(f"V{its_type.itemsize}")
    )
    stored = stored.reshape(places.shape)
    data, parts = b"", []
    path = tmp_path_factory.getbasetemp() / "parts"
    for start, extent, strides, skip in boxes:
        box = stored[tuple(slice(a, a + n) for a, n in zip(start, extent, strict=True))]
        row_major = tuple(prod(extent[axis + 1 :]) for axis in range(len(extent)))
        content = encoded(np.ascontiguousarray(box).reshape(extent), strides or row_major)
        whole = start == (0,) * places.ndim and extent == places.shape
        inflated = None if skip is None else (skip, len(content))
        piece = content if skip is None else deflated(bytes(skip) + content)
        data += b"\xdd" * 3
        parts.append(
            Part(str(path), len(data), len(piece), *((None, None) if whole else (start, extent)), strides, inflated)
        )
        data += piece
    write(path, data)
    info = TensorInfo("w", dtype, places.shape, tuple(parts), big_endian=big_endian)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "BLOCK", block)
        patch.setattr(loading, "_DEFLATED_BLOCK", max(1, block // 10))
        assert loaded(info).tobytes() == array.tobytes()


def test_large_blocks_are_read_in_bounded_memory(tmp_path: Path) -> None:
    import tracemalloc

    array = np.arange(12_000_000, dtype=np.float32).reshape(3000, 4000)
    path = tmp_path / "w"
    path.write_bytes(array.tobytes())
    info = TensorInfo("w", "float32", (4000, 3000), (Part(str(path), 0, array.nbytes, strides=(1, 4000)),))
    memory = np.empty(array.nbytes, np.uint8)
    tracemalloc.start()
    with LocalSource(str(path)) as source:
        read = loading.load(info, lambda _: source, memory)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(read, array.T)
    assert peak < loading.BLOCK + (1 << 20)


def test_a_plain_tensor_is_read_with_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w"
    path.write_bytes(np.arange(6.0).tobytes())
    monkeypatch.setattr(LocalSource, "read", None)  # only read_into, straight into the memory that is lent
    assert loaded(TensorInfo("w", "float64", (2, 3), (Part(str(path), 0, 48),))).tolist() == [[0, 1, 2], [3, 4, 5]]
    halves = (Part(str(path), 24, 24, (1, 0), (1, 3)), Part(str(path), 0, 24, (0, 0), (1, 3)))
    assert loaded(TensorInfo("w", "float64", (2, 3), halves)).tolist() == [[0, 1, 2], [3, 4, 5]]


# ------------------------------------------------------------------------------------------------ faults

CONTENT = bytes(range(200)) * 3


@pytest.mark.parametrize("strides", [None, (1, 3)], ids=["rows", "strided"])
def test_fault_22_a_stream_that_inflates_to_something_else(tmp_path: Path, strides: tuple[int, ...] | None) -> None:
    stream = deflated(bytes(7) + CONTENT[:12])
    path = tmp_path / "w"

    def read(data: bytes, length: int | None = None, inflated: tuple[int, int] = (7, 12)) -> bytes:
        write(path, data)
        part = Part(str(path), 0, len(data) if length is None else length, strides=strides, inflated=inflated)
        return loaded(TensorInfo("w", "uint8", (3, inflated[1] // 3), (part,))).tobytes()

    sound = np.frombuffer(CONTENT[:12], np.uint8)
    expected = sound.tobytes() if strides is None else sound.reshape(4, 3).T.tobytes()
    assert read(stream) == expected
    for data, inflated in [
        (deflated(bytes(7) + CONTENT[:13]), (7, 12)),  # more
        (deflated(bytes(7) + CONTENT[:11]), (7, 12)),  # less
        (deflated(bytes(3)), (7, 12)),  # not even what is to be skipped
        (deflated(bytes(10_000_000)), (7, 12)),
        (stream + b"\0", (7, 12)),
        (stream[:-1], (7, 12)),
        (b"", (7, 12)),
        (b"\xff" * 40, (7, 12)),
        (stream, (6, 12)),
        (stream, (8, 12)),
    ]:
        with pytest.raises(CheckpointError, match="inflate"):
            read(data, inflated=inflated)


def test_fault_23_a_file_that_is_too_short(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(bytes(20))
    for part in (
        Part(str(path), 0, 24),
        Part(str(path), 0, 24, strides=(1, 2)),
        Part(str(path), 0, 24, inflated=(0, 24)),
        Part(str(path), 12, 12, (1, 0), (1, 3)),
    ):
        with pytest.raises(CheckpointError, match="ends at byte 20"):
            loaded(TensorInfo("w", "float32", (2, 3), (part,)))


# ------------------------------------------------------------------------------------------------ in the engine


def test_the_size_is_that_in_memory() -> None:
    part = Part("w", 0, 4, strides=(0, 0))
    assert size_of(TensorInfo("w", "float32", (3, 4), (part,))) == 48
    assert size_of(TensorInfo("w", "float32", (3, 4), (), "a reason")) == 0
    assert size_of(TensorInfo("w", "bfloat16", (0, 2**62), (part,))) == 0
    assert size_of(None) == 0


def test_what_a_value_rests_on_names_every_field_of_a_part() -> None:
    plain = Part("folder/w", 8, 48)
    others = {
        "path": "folder/v", "offset": 9, "length": 49, "start": (0, 0), "shape": (3, 4), "strides": (1, 3),
        "inflated": (1, 48),
    }  # fmt: skip
    assert others.keys() == {field.name for field in fields(Part)} - {"checksum"}  # it changes no value
    stamps = (FileStamp("folder/w", 100, 1), FileStamp("folder/v", 100, 1))

    def basis(info: TensorInfo, files: tuple[FileStamp, ...] = stamps) -> str:
        checkpoint = Checkpoint("w", "w", 0.0, 0, {}, {"w": info}, files)
        return Bases([checkpoint], "w").identity(0)

    info = TensorInfo("w", "float32", (3, 4), (plain,))
    bases = {basis(replace(info, parts=(replace(plain, **{name: value}),))) for name, value in others.items()}
    bases |= {basis(replace(info, big_endian=True)), basis(replace(info, dtype="int32")), basis(info)}
    assert len(bases) == len(others) + 3
    moved = tuple(replace(stamp, path=stamp.path.replace("folder", "elsewhere")) for stamp in stamps)
    assert basis(replace(info, parts=(replace(plain, path="elsewhere/w"),)), moved) == basis(info)


def test_only_plain_tensors_are_read_in_chunks() -> None:
    plain = TensorInfo("w", "float32", (3, 4), (Part("w", 8, 48),))
    assert is_plain(plain)
    for change in ({"start": (0, 0)}, {"shape": (3, 4)}, {"strides": (1, 3)}, {"inflated": (0, 48)}):
        assert not is_plain(replace(plain, parts=(replace(plain.parts[0], **change),)))  # type: ignore[arg-type]
    assert not is_plain(replace(plain, big_endian=True))
    assert not is_plain(replace(plain, parts=plain.parts * 2))
    motion = {metric.row.name: metric for metric in select_metrics(["motion"])}

    def is_taken(*infos: TensorInfo) -> bool:
        checkpoints = [
            Checkpoint(str(number), "", None, number, {}, {"w": one}, ()) for number, one in enumerate(infos)
        ]
        (task,) = plan(Run("r", "r", "", "", tuple(checkpoints)), list(motion.values()), lambda _: {})
        return bool(Stream(task, "w", motion).plain_states)

    assert is_taken(plain, plain, plain)
    assert not is_taken(plain, plain, replace(plain, big_endian=True))


def as_safetensors(path: Path, weights: dict[str, np.ndarray]) -> FileIndex:
    return safetensors.read_index(str(save_weights(path, weights)))


def as_deflated_npz(path: Path, weights: dict[str, np.ndarray]) -> FileIndex:
    np.savez_compressed(path.with_suffix(".npz"), **{name: np.asfortranarray(array) for name, array in weights.items()})
    return npz.read_index(str(path.with_suffix(".npz")))


def as_big_endian_npz(path: Path, weights: dict[str, np.ndarray]) -> FileIndex:
    np.savez(
        path.with_suffix(".npz"),
        **{name: array.astype(array.dtype.newbyteorder(">")) for name, array in weights.items()},
    )
    return npz.read_index(str(path.with_suffix(".npz")))


def as_transposed_torch(path: Path, weights: dict[str, np.ndarray]) -> FileIndex:
    torch = pytest.importorskip("torch")
    torch.save(
        {
            name: torch.from_numpy(np.ascontiguousarray(array.T)).permute(*reversed(range(array.ndim)))
            for name, array in weights.items()
        },
        path,
    )
    file = read_torch(str(path))
    assert isinstance(file.tree, dict)
    return FileIndex({name: replace(info, name=name) for name, info in file.tree.items()}, {}, file.files)


def as_boxes(path: Path, weights: dict[str, np.ndarray]) -> FileIndex:
    """Each tensor cut in two along its last axis, the second half first."""
    data, tensors = b"", {}
    for name, array in weights.items():
        middle = array.shape[-1] // 2
        boxes = [(middle, array[..., middle:]), (0, array[..., :middle])]
        parts = []
        for begin, box in boxes:
            start = (0,) * (array.ndim - 1) + (begin,)
            parts.append(Part(str(path), len(data), box.nbytes, start, box.shape))
            data += box.tobytes()
        tensors[name] = TensorInfo(name, array.dtype.name, array.shape, tuple(parts))
    path.write_bytes(data)
    status = path.stat()
    return FileIndex(tensors, {}, (FileStamp(str(path), status.st_size, status.st_mtime_ns),))


@pytest.mark.parametrize("encoding", [as_deflated_npz, as_big_endian_npz, as_transposed_torch, as_boxes])
def test_fault_44_every_encoding_gives_the_same_numbers(
    tmp_path: Path, encoding: Callable[..., FileIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, and the same content hashes: what is measured does not depend on how it was stored."""
    states = random_walk(4, {"a.weight": (12, 20), "a.bias": (12,), "conv.weight": (4, 3, 2, 2)})

    def rows(make: Callable[..., FileIndex], name: str) -> dict[Any, Any]:
        folder = tmp_path / name
        folder.mkdir()
        checkpoints = []
        for epoch, weights in enumerate(states):
            index = make(folder / f"epoch_{epoch}", weights)
            checkpoints.append(Checkpoint(f"{epoch}", str(folder), float(epoch), epoch, {}, index.tensors, index.files))
        run = Run("run", str(folder), "test", "epoch", tuple(checkpoints))
        monkeypatch.setattr(analyzer, "open_run", lambda _: run)
        return rows_of(measured(folder))

    expected = rows(as_safetensors, "expected")
    found = rows(encoding, "found")
    assert len(expected) > 100
    assert found == expected
