"""The types that local and remote sources share: an entry of a folder, and a file that is read by range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from analyzer.errors import CheckpointError
from analyzer.model.run import FileStamp


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder; ``is_folder`` and ``is_file`` follow links, and both are False for, say, a FIFO."""

    name: str
    path: str
    is_folder: bool
    is_file: bool
    is_link: bool = False


class Source(Protocol):
    """A local or remote file opened for reading ranges; used by one thread at a time."""

    path: str
    stamp: FileStamp

    def read(self, offset: int, length: int) -> bytearray:
        """Return ``length`` bytes from ``offset`` on; raise CheckpointError if the file ends before."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` (bytes) from ``offset`` on; raise CheckpointError if the file ends before."""

    def read_ranges(self, ranges: Sequence[tuple[int, memoryview]]) -> Iterator[CheckpointError | None]:
        """Fill each buffer from its offset on, in the cheapest way.

        Yields:
            for each range, in the given order, None once its buffer is full, or the error that prevented it.
        """

    def verify_unchanged(self) -> None:
        """Raise CheckpointError if the file is no longer the one that was indexed."""

    def close(self) -> None:
        """Release the file's resources."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
