"""Read local files: open them safely, read ranges, and check that they do not change meanwhile.

Uses plain reads instead of mmap: a file that shrinks while it is mapped kills the process.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from analyzer.errors import CheckpointError
from analyzer.model.run import FileStamp
from analyzer.sources.source import Entry


def list_folder(path: str) -> list[Entry]:
    """Return the entries of a folder sorted by name; dangling and looping links are neither files nor folders.

    Raises:
        CheckpointError: the folder cannot be read.
    """
    try:
        with os.scandir(path) as entries:
            return sorted((_entry(entry) for entry in entries), key=lambda entry: entry.name)
    except OSError as error:
        raise CheckpointError(
            f"{path}: the folder cannot be read: {error.strerror}; check its path and permissions"
        ) from error


def _entry(entry: os.DirEntry[str]) -> Entry:
    try:
        return Entry(entry.name, entry.path, entry.is_dir(), entry.is_file(), entry.is_symlink())
    except OSError:  # a link that loops
        return Entry(entry.name, entry.path, False, False, True)


def containing_folder(path: str) -> str:
    """Return the folder that contains a path."""
    return str(Path(path).parent)


def is_inside(folder: str, path: str) -> bool:
    """Check whether a path, with links followed, is inside the folder; False if that cannot be determined."""
    try:
        return Path(path).resolve().is_relative_to(Path(folder).resolve())
    except (OSError, ValueError, RuntimeError):  # a link that loops
        return False


def is_file(path: str) -> bool:
    """Check whether a path is a regular file, with links followed; False if it cannot be examined."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: str) -> bool:
    """Check whether a path is a folder, with links followed; False if it cannot be examined."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


class LocalSource:
    """A regular file opened for reading ranges; each instance has its own handle, so threads never share a position.

    Raises:
        CheckpointError: not a regular file, unreadable, or not the file that ``expected`` describes.
    """

    def __init__(self, path: str, expected: FileStamp | None = None) -> None:
        # Without O_NONBLOCK, opening a FIFO that nobody writes to would hang.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._descriptor = os.open(path, flags)
        except OSError as error:
            raise CheckpointError(
                f"{path}: cannot be opened: {error.strerror}; check its path and permissions"
            ) from error
        self.path = path
        self._expected = expected
        try:
            self.stamp = self._stamp()
            self.verify_unchanged()
        except BaseException:
            self.close()
            raise

    def _stamp(self) -> FileStamp:
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, FIFO or socket"
            raise CheckpointError(f"{self.path}: is {kind}, not a regular file; move it elsewhere")
        return FileStamp(self.path, status.st_size, status.st_mtime_ns)

    def read(self, offset: int, length: int) -> bytearray:
        """Return ``length`` bytes from ``offset`` on; raise CheckpointError if the file ends before."""
        buffer = bytearray(length)
        self.read_into(offset, memoryview(buffer))
        return buffer

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` (bytes) from ``offset`` on; raise CheckpointError if the file ends before."""
        filled = 0
        while filled < len(buffer):
            try:
                count = _read_at(self._descriptor, offset + filled, buffer[filled:])
            except OSError as error:
                raise CheckpointError(
                    f"{self.path}: reading failed: {error.strerror}; check the disk, or copy the file again"
                ) from error
            if count == 0:
                raise CheckpointError(too_short(self.path, offset + filled, offset + len(buffer)))
            filled += count

    def read_ranges(self, ranges: Sequence[tuple[int, memoryview]]) -> Iterator[CheckpointError | None]:
        """Read each range only when the caller asks for it, so that its bytes are still in the cache when used."""
        for offset, buffer in ranges:
            try:
                self.read_into(offset, buffer)
            except CheckpointError as error:
                yield error
            else:
                yield None

    def verify_unchanged(self) -> None:
        """Raise CheckpointError if the file is no longer the one that was indexed."""
        now = self._stamp()
        expected = self._expected or self.stamp
        if (now.size, now.modified_ns) != (expected.size, expected.modified_ns):
            raise CheckpointError(changed(self.path))

    def close(self) -> None:
        """Release the handle."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def too_short(path: str, end: int, declared: int) -> str:
    """Return the message about a file that is shorter than its header declares."""
    return (
        f"{path}: ends at byte {end}, but its header declares data up to byte {declared}; it was truncated or is still "
        "being written. Copy it again."
    )


def changed(path: str) -> str:
    """Return the message about a file that changed after it was indexed."""
    return f"{path}: changed while it was being read. Wait until nothing writes to it, then run again."


def _read_at(descriptor: int, offset: int, buffer: memoryview) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer], offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # on Windows; safe because each source has its own handle
    data = os.read(descriptor, len(buffer))
    buffer[: len(data)] = data
    return len(data)
