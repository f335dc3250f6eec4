"""Read tensors of any format: all parts, as one row-major little-endian array in memory that the caller provides.

A plain tensor is read directly into that memory. Boxes, strides and foreign byte order go through buffers of at most
:data:`BLOCK` bytes. Only a deflated entry that is not row-major is in memory a second time as a whole, since a deflate
stream cannot be read from the middle.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from math import prod
from types import EllipsisType

import numpy as np
import numpy.typing as npt

from analyzer.errors import CheckpointError
from analyzer.model.run import Checksum, Part, TensorInfo
from analyzer.sources import Source
from analyzer.tensors.kinds import numpy_dtype, size_of

BLOCK = 16 << 20
_DEFLATED_BLOCK = 1 << 20

Bytes = npt.NDArray[np.uint8]
Array = npt.NDArray[np.generic]
SourceOf = Callable[[str], Source]


def is_plain(info: TensorInfo) -> bool:
    """Return whether a tensor is one range of row-major little-endian elements, so that any chunk can be read alone."""
    if len(info.parts) != 1 or info.big_endian:
        return False
    (part,) = info.parts
    return part.start is part.shape is part.strides is part.inflated is None


def load_all(
    infos: Sequence[TensorInfo], memories: Sequence[Bytes], source_of: SourceOf
) -> Iterator[tuple[int, Array | CheckpointError]]:
    """Load several tensors as :func:`load` does, with as few requests as possible for plain tensors in one file.

    Args:
        infos: the tensors.
        memories: for each, the memory to fill.
        source_of: returns the open file at a path.

    Yields:
        the index of a tensor and its array, or the error that prevents reading it; each as soon as it is available, so
        that its bytes are still in the processor's cache.
    """
    plain: dict[str, list[int]] = {}
    for number, info in enumerate(infos):
        if is_plain(info):
            plain.setdefault(info.parts[0].path, []).append(number)
            continue
        try:
            yield number, load(info, source_of, memories[number])
        except CheckpointError as error:
            yield number, error
    for path, numbers in plain.items():
        try:
            source = source_of(path)
        except CheckpointError as error:
            yield from ((number, error) for number in numbers)
            continue
        pairs = [(infos[number], memories[number]) for number in numbers]
        ranges = [(info.parts[0].offset, memory[: size_of(info)].data) for info, memory in pairs]
        for number, problem in zip(numbers, source.read_ranges(ranges), strict=True):
            yield number, problem or _plain(infos[number], memories[number])


def _plain(info: TensorInfo, memory: Bytes) -> Array | CheckpointError:
    """Verify a plain tensor that was read into ``memory`` and return its array."""
    try:
        _check(info.parts[0], memory[: size_of(info)].data)
    except CheckpointError as error:
        return error
    return as_tensor(info, memory)


def load(info: TensorInfo, source_of: SourceOf, memory: Bytes) -> Array:
    """Fill ``memory`` with a tensor's elements.

    Args:
        info: the tensor, which must not be unsupported.
        source_of: returns the open file at a path.
        memory: (n,) bytes, n at least the tensor's row-major size.

    Returns:
        a read-only view of ``memory``: row-major, little-endian, of the stored dtype and shape.

    Raises:
        CheckpointError: a file is truncated, does not have its declared size when inflated, or was changed.
    """
    dtype, data = numpy_dtype(info.dtype), memory[: size_of(info)]
    # Copied as unsigned integers, so that no bit of a NaN changes and every dtype can be copied.
    carrier = np.dtype(f"u{dtype.itemsize}") if dtype.itemsize <= 8 else np.dtype("c16")
    whole = data.view(carrier).reshape(info.shape)
    for part in info.parts:
        _load_part(part, source_of(part.path), whole)
    if info.big_endian:
        unit = dtype.itemsize // (2 if dtype.kind == "c" else 1)
        data.view(f"u{unit}").byteswap(inplace=True)
    return as_tensor(info, data)


def as_tensor(info: TensorInfo, memory: Bytes) -> Array:
    """Return the elements of a tensor at the beginning of ``memory`` as a read-only array in their shape."""
    array = memory[: size_of(info)].view(numpy_dtype(info.dtype)).reshape(info.shape)
    array.setflags(write=False)  # a user's metric must not change what other metrics read
    return array


def _load_part(part: Part, source: Source, whole: Array) -> None:
    """Copy a part to its place in the whole tensor."""
    start = part.start or (0,) * whole.ndim
    shape = whole.shape if part.shape is None else part.shape
    target = whole[_box(start, shape)]
    if target.size == 0:
        return
    if part.strides is None and target.flags.c_contiguous:
        flat = target.reshape(-1).view(np.uint8).data
        if part.inflated:
            _inflate_into(part, source, flat)
        else:
            source.read_into(part.offset, flat)
            _check(part, flat)
        return
    strides = part.strides or tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))  # row-major
    if part.inflated:
        held = np.empty(part.inflated[1], dtype=np.uint8)
        _inflate_into(part, source, held.data)
        target[...] = _strided(held, whole.dtype, shape, strides)
        return
    for offset, place, size in _blocks(shape, strides, whole.itemsize):
        _copy_block(source, part, offset, target[_box(place, size)], strides)


def _copy_block(source: Source, part: Part, offset: int, target: Array, strides: tuple[int, ...]) -> None:
    """Read and copy one block; it is freed before the next one is read."""
    block = source.read(part.offset + offset, _span(target.shape, strides, target.itemsize))
    if len(block) == part.length:  # several blocks overlap, and are not in the order of the bytes
        _check(part, block)
    target[...] = _strided(np.frombuffer(block, np.uint8), target.dtype, target.shape, strides)


def _box(start: tuple[int, ...], shape: tuple[int, ...]) -> tuple[slice | EllipsisType, ...]:
    """Return an index that gives a view, even of an array without dimensions."""
    return (*(slice(first, first + size) for first, size in zip(start, shape, strict=True)), ...)


def _span(shape: tuple[int, ...], strides: tuple[int, ...], width: int) -> int:
    """Return the number of bytes from the first element to the end of the last."""
    return width * (1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)))


def _strided(data: Bytes, dtype: np.dtype[np.generic], shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    # Unlike as_strided, this constructor rejects strides that reach beyond the data.
    return np.ndarray(shape, dtype, data.data, strides=tuple(stride * dtype.itemsize for stride in strides))


def _blocks(
    shape: tuple[int, ...], strides: tuple[int, ...], width: int, offset: int = 0, place: tuple[int, ...] = ()
) -> Iterator[tuple[int, tuple[int, ...], tuple[int, ...]]]:
    """Cut a box into boxes of at most :data:`BLOCK` bytes: (byte offset, place in the box, shape)."""
    place = place or (0,) * len(shape)
    if _span(shape, strides, width) <= BLOCK:
        yield offset, place, shape
        return
    axis = max(range(len(shape)), key=lambda axis: strides[axis] if shape[axis] > 1 else -1)
    half = shape[axis] // 2
    later = (*place[:axis], place[axis] + half, *place[axis + 1 :])
    yield from _blocks((*shape[:axis], half, *shape[axis + 1 :]), strides, width, offset, place)
    rest = (*shape[:axis], shape[axis] - half, *shape[axis + 1 :])
    yield from _blocks(rest, strides, width, offset + half * strides[axis] * width, later)


def _inflate_into(part: Part, source: Source, out: memoryview) -> None:
    """Inflate a raw deflate stream; it must have exactly the declared size, and no more memory is allocated."""
    assert part.inflated
    skip, take = part.inflated
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    position, fed, pending = -skip, 0, b""
    crc32 = part.checksum.seed if part.checksum else 0
    try:
        while not decoder.eof:
            if not pending and fed < part.length:
                pending = bytes(source.read(part.offset + fed, min(_DEFLATED_BLOCK, part.length - fed)))
                fed += len(pending)
            inflated = decoder.decompress(pending, _DEFLATED_BLOCK)
            pending = decoder.unconsumed_tail
            if position + len(inflated) > take or not (inflated or pending or decoder.eof or fed < part.length):
                break
            crc32 = zlib.crc32(inflated, crc32)
            kept = memoryview(inflated)[max(0, -position) :]
            begin = max(0, position)
            out[begin : begin + len(kept)] = kept
            position += len(inflated)
    except zlib.error as error:
        raise CheckpointError(f"{source.path}: a compressed entry cannot be inflated: {error}") from None
    if not decoder.eof or position != take or pending or decoder.unused_data or fed != part.length:
        raise CheckpointError(
            f"{source.path}: a compressed entry does not inflate to the {skip + take} bytes that are declared for it"
        )
    if part.checksum:
        require(source.path, part.checksum, crc32)


def is_of_all(part: Part) -> bool:
    """Return whether the checksum of a part covers exactly its bytes: the entry contains nothing else."""
    checksum = part.checksum
    return checksum is not None and (part.offset, part.length) == (checksum.offset, checksum.length)


def _check(part: Part, data: bytes | bytearray | memoryview) -> None:
    """Verify a part's bytes, as they are in the file, if a checksum covers exactly them.

    Raises:
        CheckpointError: they were changed after they were written.
    """
    if part.checksum and is_of_all(part) and not part.checksum.deflated:
        require(part.path, part.checksum, zlib.crc32(data, part.checksum.seed))


def require(path: str, checksum: Checksum, crc32: int) -> None:
    """Compare the CRC-32 of an archive entry's bytes with the one that is stored with them.

    Raises:
        CheckpointError: they differ.
    """
    if crc32 != checksum.crc32:
        raise CheckpointError(
            f"{path}: {checksum.entry!r} was changed after it was written: its bytes do not have the checksum that is "
            "stored with them"
        )
