"""Read files behind URLs through fsspec: only the ranges that are needed, with a few concurrent requests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from analyzer.errors import CheckpointError
from analyzer.model.run import FileStamp
from analyzer.sources.faults import ShortAnswerError, WholeFileError, with_retries
from analyzer.sources.filesystems import connected, filesystem, read_range
from analyzer.sources.local import changed, too_short
from analyzer.sources.ranges import RangeRequest, requests, share
from analyzer.sources.remote_folders import stamp_of

IN_FLIGHT = 4  # concurrent requests of one source
HEAD = 16 << 10  # the first bytes are read at once: a header's length and usually the header itself


class RemoteSource:
    """A file on a server; it holds no connection between requests, so it also works in a forked child.

    Args:
        path: its URL.
        expected: the file as it was indexed; without it, the server is asked for the current state.

    Raises:
        CheckpointError: there is no such file, or the server cannot be read.
    """

    def __init__(self, path: str, expected: FileStamp | None = None) -> None:
        self.path = path
        self.stamp = expected or stamp_of(path)
        self._head = b""

    def read(self, offset: int, length: int) -> bytearray:
        """Return ``length`` bytes from ``offset`` on; raise CheckpointError if the file ends before."""
        self._require_inside(offset, length)
        buffer = bytearray(length)
        self.read_into(offset, memoryview(buffer))
        return buffer

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` (bytes) from ``offset`` on; raise CheckpointError if the file ends before."""
        end = offset + len(buffer)
        if offset < end <= min(HEAD, self.stamp.size) and end > len(self._head):
            self._head = self._fetch(0, min(HEAD, self.stamp.size))
        known = self._head[offset:end]
        buffer[: len(known)] = known
        for error in self.read_ranges([(offset + len(known), buffer[len(known) :])]):
            if error:
                raise error

    def read_ranges(self, ranges: Sequence[tuple[int, memoryview]]) -> Iterator[CheckpointError | None]:
        """Fill each buffer from its offset on; neighbors share a request, and some requests run concurrently.

        Yields:
            for each range, in the given order, None once its buffer is full, or the error that prevented it.
        """
        errors: list[CheckpointError | None] = [None] * len(ranges)
        for number, (offset, buffer) in enumerate(ranges):
            try:
                self._require_inside(offset, len(buffer))
            except CheckpointError as error:
                errors[number] = error
        lengths = [(offset, 0 if errors[n] else len(buffer)) for n, (offset, buffer) in enumerate(ranges)]

        def answer(request: RangeRequest) -> None:
            try:
                data = self._fetch(request.start, request.end)
            except CheckpointError as error:
                for number in request.ranges:
                    errors[number] = error
                return
            for number in request.ranges:
                share(request, data, *ranges[number])

        _answer_all(requests(lengths), answer, IN_FLIGHT if self._takes_threads() else 1)
        yield from errors

    def verify_unchanged(self) -> None:
        """Raise CheckpointError if the file is no longer the one that was indexed."""
        now = stamp_of(self.path)
        if (now.size, now.modified_ns, now.etag) != (self.stamp.size, self.stamp.modified_ns, self.stamp.etag):
            raise CheckpointError(changed(self.path))

    def close(self) -> None:
        """Discard the cached bytes."""
        self._head = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_inside(self, offset: int, length: int) -> None:
        if offset + length > self.stamp.size:
            raise CheckpointError(too_short(self.path, self.stamp.size, offset + length))

    def _takes_threads(self) -> bool:
        """Check whether threads pay off; a filesystem that is not asynchronous opens a costly connection for each."""
        return bool(filesystem(self.path)[0].async_impl)

    def _fetch(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` up to ``end`` by one request, repeated after transient failures."""

        def request() -> bytes:
            with connected(self.path) as (server, path):
                data = read_range(server, path, start, end)
            if len(data) > end - start:
                raise WholeFileError(f"{len(data)} bytes")
            if len(data) < end - start:
                raise ShortAnswerError(f"{len(data)} bytes")
            return data

        return with_retries(self.path, request)


def _answer_all(waiting: Sequence[RangeRequest], answer: Callable[[RangeRequest], None], at_a_time: int) -> None:
    """Answer all requests, several at a time: one in this thread, the others in threads that end with this call."""
    queue = deque(waiting)

    def work() -> None:
        while True:
            try:
                request = queue.popleft()
            except IndexError:
                return
            answer(request)

    # Daemon threads for this call: a pool's threads would keep an interrupted process alive until the server answers.
    helpers = [threading.Thread(target=work, daemon=True) for _ in range(min(at_a_time, len(waiting)) - 1)]
    for helper in helpers:
        helper.start()
    try:
        work()
        for helper in helpers:
            helper.join()
    finally:
        queue.clear()
