"""Write files atomically: under a temporary name, flushed to the disk, then moved into place."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from analyzer.errors import ReportError

STORE_NAME = "measurements.sqlite"  # in a report folder
TEMPORARY = ".weightlapse-{}."
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Make room there, or choose"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Make it writable, or choose"),
}


def write_whole(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``; whoever looks sees the old content or the new, never a part.

    Raises:
        ReportError: the disk is full, the folder is not writable, ...; the old file is unchanged then.

    """
    temporary = None
    with report_errors(path):
        try:
            prefix = TEMPORARY.format(path.name)
            descriptor, temporary = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=path.parent)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())  # noqa: PTH101 - mkstemp makes it private, a report is to be shared
            Path(temporary).replace(path)
        except BaseException:
            if temporary is not None:
                with suppress(OSError):
                    Path(temporary).unlink()
            raise


def sweep(folder: Path, below: bool = True) -> None:
    """Remove what a killed process left of :func:`write_whole` in a folder; nobody may be writing there.

    ``below`` tells whether to look in the folders in it, too.
    """
    pattern = TEMPORARY.format("*") + "*.tmp"
    for path in folder.rglob(pattern) if below else folder.glob(pattern):
        path.unlink(missing_ok=True)


@contextmanager
def report_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a ReportError that names the path and the cause."""
    try:
        yield
    except OSError as error:
        cause = error.strerror or error
        remedy = REMEDIES.get(error.errno or 0, "Choose")
        raise ReportError(f"{path}: cannot be written: {cause}. {remedy} another place.") from error


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
