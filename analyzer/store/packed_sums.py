"""Pack the additive sums of a tensor at a checkpoint: one blob, and a format that many of them share."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import groupby

Sums = Mapping[str, tuple[float, ...]]  # numbers by need


def pack(sums: Sums) -> tuple[str, bytes]:
    """Return the format of sums, as JSON, and their numbers: 64-bit integers and floats, little-endian.

    Needs that are served by the very same tuple share its numbers. A format is a list of (needs, types), where the
    types are those of :mod:`struct`.
    """
    ordered = sorted(sums, key=lambda need: (id(sums[need]), need))
    groups = sorted([*needs] for _, needs in groupby(ordered, key=lambda need: id(sums[need])))
    parts = [(needs, "".join("q" if isinstance(one, int) else "d" for one in sums[needs[0]])) for needs in groups]
    numbers = (number for needs, _ in parts for number in sums[needs[0]])
    return json.dumps(parts), struct.pack(f"<{''.join(types for _, types in parts)}", *numbers)


def unpack(described: str, data: bytes) -> dict[str, tuple[float, ...]]:
    """Return the numbers by need."""
    unpacked, places = _parsed(described)
    numbers = unpacked.unpack(data)
    sums = {}
    for needs, part in places:
        shared = numbers[part]
        sums.update(dict.fromkeys(needs, shared))
    return sums


@cache
def _parsed(described: str) -> tuple[struct.Struct, tuple[tuple[tuple[str, ...], slice], ...]]:
    """Return what unpacks the numbers of a format, and the needs that each part of them serves."""
    places, start, types = [], 0, ""
    for needs, its in json.loads(described):
        places.append((tuple(needs), slice(start, start + len(its))))
        start, types = start + len(its), types + its
    return struct.Struct(f"<{types}"), tuple(places)


def pack_json(rows: Iterable[tuple[str, str]]) -> tuple[str, bytes]:
    """Pack what schema 3 kept as (need, JSON); needs that have the same text share its numbers."""
    parsed = cache(lambda text: tuple(json.loads(text)))
    return pack({need: parsed(text) for need, text in rows})
