"""Check the archive entries that contain the bytes of several tensors, or bytes in another order, for damage.

All others are checked whenever a tensor is read (:mod:`analyzer.tensors.loading`).
"""

from __future__ import annotations

import zlib

from analyzer.errors import CheckpointError
from analyzer.model.run import Checkpoint, Checksum, Part, TensorInfo
from analyzer.sources import open_source
from analyzer.tensors.checksums import is_of_all, require
from analyzer.tensors.kinds import stored_parts

BLOCK = 16 << 20


class Checks:
    """The entries of one checkpoint's archives; each is checked once, however many tensors are in it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._stamps = {stamp.path: stamp for stamp in checkpoint.files}
        self._known: dict[tuple[str, Checksum], str | None] = {}

    def damage(self, info: TensorInfo) -> str | None:
        """Return why a tensor's elements are not those that were written, or None."""
        for part in stored_parts(info):
            if part.checksum is None or part.checksum.deflated or (is_of_all(part) and not part.strides):
                continue
            key = part.path, part.checksum
            if key not in self._known:
                self._known[key] = self._damage(part, part.checksum)
            if reason := self._known[key]:
                return reason
        return None

    def _damage(self, part: Part, checksum: Checksum) -> str | None:
        crc32 = checksum.seed
        try:
            with open_source(part.path, self._stamps.get(part.path)) as source:
                for at in range(0, checksum.length, BLOCK):
                    crc32 = zlib.crc32(source.read(checksum.offset + at, min(BLOCK, checksum.length - at)), crc32)
            require(part.path, checksum, crc32)
        except CheckpointError as error:
            return str(error)
        return None
