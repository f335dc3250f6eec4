"""Files that are whole or absent: written beside their name, flushed to the disk, then moved into place."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from analyzer.errors import ReportError


def write_whole(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``; whoever looks sees the old content or the new, never a part.

    Raises:
        ReportError: the disk is full, the folder is not writable, ...; the old file is unchanged then.

    """
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # noqa: PTH101 - mkstemp makes it private, a report is to be shared
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            with suppress(OSError):
                Path(temporary).unlink()
        raise ReportError(f"{path}: cannot be written: {error.strerror}. Free some space or choose --out.") from error


def flush_folder(path: Path) -> None:
    """Make the names in a folder survive a power loss, where the system has a way to."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
