"""Find where runs with the same initial weights diverge: the first checkpoint and layers whose bytes differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from analyzer.comparing.aligning import in_common
from analyzer.model.comparison import Comparison, Divergence, StoredRun, TensorDivergence

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray


_UNKNOWN = (None, None)


def divergences(comparison: Comparison) -> tuple[Divergence, ...]:
    """Return every pair of runs whose tensors all have the same names and bytes at their first common position."""
    return tuple(_divergence(comparison, *pair) for pair in _pairs(comparison))


def _pairs(comparison: Comparison) -> Iterator[tuple[StoredRun, StoredRun, FloatArray]]:
    """Yield pairs of runs with the same start and their common positions: at least two, the first being the start."""
    for one, two in combinations(comparison.runs, 2):
        common = in_common([comparison.places[run.name] for run in (one, two)])
        if len(common) > 1:
            first, second = (_contents(comparison, run, float(common[0])) for run in (one, two))
            if first and first == second:
                yield one, two, common


def _divergence(comparison: Comparison, one: StoredRun, two: StoredRun, common: FloatArray) -> Divergence:
    start, end = float(common[0]), float(common[-1])
    order = {row.name: number for number, row in enumerate(one.tables.tensors)}
    names = sorted(_contents(comparison, one, start), key=lambda name: order.get(name, len(order)))
    diverged: dict[str, float] = {}
    for place in common[1:]:
        first, second = (_contents(comparison, run, float(place)) for run in (one, two))
        for name in names:
            # Bytes that are unknown in one of the runs (a gap, a damaged file) do not count as different.
            if name in first and name in second and first[name] != second[name]:
                diverged.setdefault(name, float(place))
        if len(diverged) == len(names):
            break
    tensors = tuple(
        TensorDivergence(name, None, None, None)
        if name not in diverged
        else TensorDivergence(name, diverged[name], *_bounds(comparison, one, two, ("tensor", name), diverged[name]))
        for name in names
    )
    whole = _bounds(comparison, one, two, ("total", ""), end) if diverged else _UNKNOWN
    return Divergence(one.name, two.name, start, min(diverged.values(), default=None), end, tensors, *whole)


def _bounds(
    comparison: Comparison, one: StoredRun, two: StoredRun, what: tuple[str, str], place: float
) -> tuple[float, float] | tuple[None, None]:
    """Return bounds on ‖W¹ − W²‖ / ‖W_0‖ at a position, by the triangle inequality.

    They are unknown unless both runs begin with the shared weights.
    """
    start = comparison.places[one.name][0]
    if comparison.places[two.name][0] != start:
        return _UNKNOWN
    first, second = (_value(comparison, run, (*what, "initial_distance"), place) for run in (one, two))
    norm = _value(comparison, one, (*what, "frobenius_norm"), float(start))
    if not (np.isfinite([first, second, norm]).all() and norm > 0):
        return _UNKNOWN
    return abs(first - second) / norm, (first + second) / norm


def _value(comparison: Comparison, run: StoredRun, curve: tuple[str, str, str], place: float) -> float:
    found = run.tables.curves.get(curve)
    return np.nan if found is None else float(found.values[_position(comparison.places[run.name], place)])


def _contents(comparison: Comparison, run: StoredRun, place: float) -> Mapping[str, str]:
    position = _position(comparison.places[run.name], place)
    return run.contents.get(run.tables.checkpoints[position].name, {})


def _position(places: FloatArray, place: float) -> int:
    """Return the index of the checkpoint at a position that the run has."""
    return int(np.searchsorted(places, place))
