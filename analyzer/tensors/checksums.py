"""Compare bytes with the checksums that zip archives contain for their entries."""

from __future__ import annotations

import zlib

from analyzer.errors import CheckpointError
from analyzer.model.run import Checksum, Part

Buffer = bytes | bytearray | memoryview


def is_of_all(part: Part) -> bool:
    """Return whether the checksum of a part covers exactly its bytes: the entry contains nothing else."""
    checksum = part.checksum
    return checksum is not None and (part.offset, part.length) == (checksum.offset, checksum.length)


def check(part: Part, data: Buffer) -> None:
    """Verify a part's bytes, as they are in the file, if a checksum covers exactly them.

    Raises:
        CheckpointError: they were changed after they were written.
    """
    if part.checksum and is_of_all(part) and not part.checksum.deflated:
        require(part.path, part.checksum, zlib.crc32(data, part.checksum.seed))


def require(path: str, checksum: Checksum, crc32: int) -> None:
    """Compare the CRC-32 of an entry's bytes with the stored one.

    Raises:
        CheckpointError: they differ.
    """
    if crc32 != checksum.crc32:
        raise CheckpointError(
            f"{path}: {checksum.entry!r} was changed after it was written: its bytes do not have the checksum that is "
            "stored with them"
        )
