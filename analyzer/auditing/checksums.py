"""Whether what archives hold is what was written: the checksums that zip archives keep of their entries."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.errors import CheckpointError
from analyzer.run import Checkpoint, Checksum, Part, TensorInfo
from analyzer.sources import Source, open_source
from analyzer.tensors import stored_parts

BLOCK = 16 << 20

Array = npt.NDArray[Any]


class Checks:
    """The entries of one checkpoint's archives, each checked once however many tensors lie in it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._stamps = {stamp.path: stamp for stamp in checkpoint.files}
        self._known: dict[tuple[str, Checksum], str | None] = {}

    def damage(self, info: TensorInfo, array: Array) -> str | None:
        """Why a tensor's elements are not those that were written; None where nothing says so.

        Args:
            info: the tensor.
            array: its elements, which save reading an entry that they fill a second time.
        """
        for part in stored_parts(info):
            if part.checksum is None:
                continue
            key = part.path, part.checksum
            if key not in self._known:
                self._known[key] = self._damage(part, part.checksum, _as_stored(info, part, part.checksum, array))
            if reason := self._known[key]:
                return reason
        return None

    def _damage(self, part: Part, checksum: Checksum, data: Array | None) -> str | None:
        if data is not None:
            crc32 = zlib.crc32(data.data, checksum.seed)
        else:
            try:
                with open_source(part.path, self._stamps.get(part.path)) as source:
                    crc32 = checksum.seed
                    for piece in _pieces(source, checksum):
                        crc32 = zlib.crc32(piece, crc32)
            except CheckpointError as error:
                return str(error)
            except zlib.error as error:
                return f"{part.path}: {checksum.entry!r} cannot be inflated: {error}"
        if crc32 == checksum.crc32:
            return None
        return (
            f"{part.path}: {checksum.entry!r} was changed after it was written: its bytes do not have the checksum "
            "that is stored with them"
        )


def _as_stored(info: TensorInfo, part: Part, checksum: Checksum, array: Array) -> Array | None:
    """The bytes that a checksum is of, taken from a tensor's elements; None where they are not all of them."""
    is_all = (part.offset, part.length) == (checksum.offset, checksum.length)
    if not is_all or checksum.deflated or part.strides or info.big_endian or info.product:
        return None
    shape = info.shape if part.shape is None else part.shape
    start = part.start or (0,) * len(shape)
    box = tuple(slice(first, first + size) for first, size in zip(start, shape, strict=True))
    return np.ascontiguousarray(array[box]).reshape(-1).view(np.uint8)


def _pieces(source: Source, checksum: Checksum) -> Iterator[bytes]:
    """What an entry holds, inflated where it is deflated; a block at a time."""
    decoder = zlib.decompressobj(-zlib.MAX_WBITS) if checksum.deflated else None
    for at in range(0, checksum.length, BLOCK):
        piece = bytes(source.read(checksum.offset + at, min(BLOCK, checksum.length - at)))
        while decoder and piece:
            yield decoder.decompress(piece, BLOCK)
            piece = decoder.unconsumed_tail
        yield piece
    if decoder:
        yield decoder.flush()
