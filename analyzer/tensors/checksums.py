"""The checksums that zip archives keep of their entries: whether bytes are still those that were written."""

from __future__ import annotations

import zlib

from analyzer.errors import CheckpointError
from analyzer.model.run import Checksum, Part

Buffer = bytes | bytearray | memoryview


def is_of_all(part: Part) -> bool:
    """Whether the bytes of a part are just those that its checksum is of: nothing else lies in the entry."""
    checksum = part.checksum
    return checksum is not None and (part.offset, part.length) == (checksum.offset, checksum.length)


def check(part: Part, data: Buffer) -> None:
    """Compare a part's bytes as they are in the file, if they have a checksum of their own.

    Raises:
        CheckpointError: they were changed after they were written.
    """
    if part.checksum and is_of_all(part) and not part.checksum.deflated:
        require(part.path, part.checksum, zlib.crc32(data, part.checksum.seed))


def require(path: str, checksum: Checksum, crc32: int) -> None:
    """Compare the CRC-32 of an entry's bytes with the one that is kept of them.

    Raises:
        CheckpointError: they differ.
    """
    if crc32 != checksum.crc32:
        raise CheckpointError(
            f"{path}: {checksum.entry!r} was changed after it was written: its bytes do not have the checksum that is "
            "stored with them"
        )
