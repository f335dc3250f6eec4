"""What every kind of source offers: the entries of a folder, and the bytes of a file by range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from analyzer.errors import CheckpointError
from analyzer.model.run import FileStamp


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder; ``is_folder`` and ``is_file`` follow links, anything else (a FIFO, say) is neither."""

    name: str
    path: str
    is_folder: bool
    is_file: bool
    is_link: bool = False


class Source(Protocol):
    """A file opened for reading ranges, local or remote; used by one thread at a time."""

    path: str
    stamp: FileStamp

    def read(self, offset: int, length: int) -> bytearray:
        """``length`` bytes from ``offset`` on; CheckpointError if the file ends before."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` (bytes) from ``offset`` on; CheckpointError if the file ends before."""

    def read_ranges(self, ranges: Sequence[tuple[int, memoryview]]) -> Iterator[CheckpointError | None]:
        """Fill each buffer from its offset on, in the way that costs least.

        Yields:
            for each range, in the order given, None once its buffer is full, or why it could not be filled.
        """

    def verify_unchanged(self) -> None:
        """Raise CheckpointError if the file is no longer the one that was indexed."""

    def close(self) -> None:
        """Release what is held."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
