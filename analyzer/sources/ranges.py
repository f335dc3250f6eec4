"""Ranges of a file as requests: neighbours come in one, what is large in several that are under way together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

GAP = 16 << 10  # a request costs about as much time as this many bytes: to read over a smaller gap is cheaper
PIECE = 8 << 20  # so large that the requests' own cost does not count, so small that a cut does not cost much


@dataclass(frozen=True, slots=True)
class RangeRequest:
    """Bytes to be asked for at once, and the ranges, by number, that some of them belong to."""

    start: int
    end: int
    ranges: tuple[int, ...]


def requests(ranges: Sequence[tuple[int, int]], gap: int = GAP, piece: int = PIECE) -> list[RangeRequest]:
    """The requests that bring all of some ranges, in the order of the file.

    Args:
        ranges: (offset, length), in any order; they may overlap. Empty ones need no request.
        gap: ranges that are at most this far apart share a request.
        piece: no request is longer.
    """
    spans = [(offset, offset + length, number) for number, (offset, length) in enumerate(ranges) if length]
    made: list[RangeRequest] = []
    for neighbours in _neighbours(sorted(spans), gap):
        start, end = neighbours[0][0], max(end for _, end, _ in neighbours)
        for begin in range(start, end, piece):
            stop = min(begin + piece, end)
            its = tuple(number for first, last, number in neighbours if first < stop and last > begin)
            made.append(RangeRequest(begin, stop, its))
    return made


def _neighbours(spans: Sequence[tuple[int, int, int]], gap: int) -> Iterator[list[tuple[int, int, int]]]:
    """Sorted spans (start, end, number) in groups that are more than ``gap`` apart."""
    group: list[tuple[int, int, int]] = []
    reached = 0
    for span in spans:
        if group and span[0] > reached + gap:
            yield group
            group = []
        reached = max(reached, span[1]) if group else span[1]
        group.append(span)
    if group:
        yield group


def share(request: RangeRequest, data: bytes, offset: int, buffer: memoryview) -> None:
    """Copy what a request brought into the buffer of one of its ranges, as far as it belongs there."""
    begin, stop = max(request.start, offset), min(request.end, offset + len(buffer))
    buffer[begin - offset : stop - offset] = data[begin - request.start : stop - request.start]
