"""Combine ranges of a file into requests: neighbors share one, large ranges are split into several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

GAP = 16 << 10  # a request takes about as long as transferring this many bytes, so reading a smaller gap is cheaper
LONGEST = 8 << 20  # long enough that a request's overhead is negligible, short enough that a retry is cheap


@dataclass(frozen=True, slots=True)
class RangeRequest:
    """Bytes to request at once, and the indices of the ranges that need some of them."""

    start: int
    end: int
    ranges: tuple[int, ...]


def requests(ranges: Sequence[tuple[int, int]], gap: int = GAP, longest: int = LONGEST) -> list[RangeRequest]:
    """Return requests that cover all ranges, in the order of the file.

    Args:
        ranges: (offset, length), in any order; they may overlap. Empty ones need no request.
        gap: ranges that are at most this many bytes apart share a request.
        longest: the maximum length of a request in bytes.
    """
    spans = [(offset, offset + length, number) for number, (offset, length) in enumerate(ranges) if length]
    combined: list[RangeRequest] = []
    for neighbors in _neighbors(sorted(spans), gap):
        start, end = neighbors[0][0], max(end for _, end, _ in neighbors)
        for begin in range(start, end, longest):
            stop = min(begin + longest, end)
            served = tuple(number for first, last, number in neighbors if first < stop and last > begin)
            combined.append(RangeRequest(begin, stop, served))
    return combined


def _neighbors(spans: Sequence[tuple[int, int, int]], gap: int) -> Iterator[list[tuple[int, int, int]]]:
    """Group sorted spans (start, end, number); groups are more than ``gap`` apart."""
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
    """Copy the part of a request's data that belongs to one of its ranges into the buffer of that range."""
    begin, stop = max(request.start, offset), min(request.end, offset + len(buffer))
    buffer[begin - offset : stop - offset] = data[begin - request.start : stop - request.start]
