"""Bytes of checkpoint files: opened safely, read by range, and checked not to have changed on the way.

Plain reads instead of mmap: a file that shrinks under an mmap kills the process.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from analyzer.errors import CheckpointError
from analyzer.run import FileStamp


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder; ``is_folder`` and ``is_file`` follow links, anything else (a FIFO, say) is neither."""

    name: str
    path: str
    is_folder: bool
    is_file: bool


def list_folder(path: str) -> list[Entry]:
    """The entries of a folder sorted by name, dangling and looping links included as neither file nor folder.

    Raises:
        CheckpointError: the folder cannot be read.
    """
    try:
        with os.scandir(path) as entries:
            return sorted((_entry(entry) for entry in entries), key=lambda entry: entry.name)
    except OSError as error:
        raise CheckpointError(f"{path}: the folder cannot be read: {error.strerror}") from error


def _entry(entry: os.DirEntry[str]) -> Entry:
    try:
        return Entry(entry.name, entry.path, entry.is_dir(), entry.is_file())
    except OSError:  # a link that loops
        return Entry(entry.name, entry.path, False, False)


def join(folder: str, *names: str) -> str:
    """The path of a name inside a folder."""
    return str(Path(folder, *names))


def is_file(path: str) -> bool:
    """Whether a path is a regular file, links followed; False where it cannot be told."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: str) -> bool:
    """Whether a path is a folder, links followed; False where it cannot be told."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def open_source(path: str, expected: FileStamp | None = None) -> LocalSource:
    """The bytes of a file, to be read by range.

    Raises:
        CheckpointError: not a regular file, unreadable, or not the file that ``expected`` describes.
    """
    return LocalSource(path, expected)


class LocalSource:
    """A regular file opened for reading ranges, with a handle of its own, so that threads never share a position.

    Raises:
        CheckpointError: not a regular file, unreadable, or not the file that ``expected`` describes.
    """

    def __init__(self, path: str, expected: FileStamp | None = None) -> None:
        # O_NONBLOCK: opening a FIFO that nobody writes to would hang.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._descriptor = os.open(path, flags)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be opened: {error.strerror}") from error
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
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, FIFO or socket"
            raise CheckpointError(f"{self.path}: is {what}, not a regular file; move it elsewhere")
        return FileStamp(self.path, status.st_size, status.st_mtime_ns)

    def read(self, offset: int, length: int) -> bytearray:
        """``length`` bytes from ``offset`` on; CheckpointError if the file ends before."""
        buffer = bytearray(length)
        self.read_into(offset, memoryview(buffer))
        return buffer

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` (bytes) from ``offset`` on; CheckpointError if the file ends before."""
        filled = 0
        while filled < len(buffer):
            try:
                count = _read_at(self._descriptor, offset + filled, buffer[filled:])
            except OSError as error:
                raise CheckpointError(f"{self.path}: reading failed: {error.strerror}") from error
            if count == 0:
                raise CheckpointError(
                    f"{self.path}: ends at byte {offset + filled}, before byte {offset + len(buffer)} that its "
                    "header promised; it was truncated or is still being written. Copy it again."
                )
            filled += count

    def verify_unchanged(self) -> None:
        """Raise CheckpointError if the file is no longer the one that was indexed."""
        now = self._stamp()
        expected = self._expected or self.stamp
        if (now.size, now.modified_ns) != (expected.size, expected.modified_ns):
            raise CheckpointError(
                f"{self.path}: changed while it was being read. Wait until nothing writes to it, then run again."
            )

    def close(self) -> None:
        """Release the handle."""
        os.close(self._descriptor)

    def __enter__(self) -> LocalSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read_at(descriptor: int, offset: int, buffer: memoryview) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer], offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows: the handle is this source's alone
    data = os.read(descriptor, len(buffer))
    buffer[: len(data)] = data
    return len(data)


def read_text(path: str, limit: int = 256 << 20) -> str:
    """A small sidecar file (JSON, CSV) as UTF-8 text.

    Raises:
        CheckpointError: not a regular file, larger than ``limit`` bytes, or not UTF-8.
    """
    with LocalSource(path) as source:
        if source.stamp.size > limit:
            raise CheckpointError(f"{path}: {source.stamp.size} bytes are more than a sidecar file can have")
        data = source.read(0, source.stamp.size)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: is not UTF-8 text (byte {error.start})") from error


def folder_name(path: str) -> str:
    """The last part of a folder's path, also for ``.`` and a trailing slash."""
    return Path(path).resolve().name or "run"
