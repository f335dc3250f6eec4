"""Runs on one axis: by epoch where all of them have it, else by step, else in order; and along the path travelled.

Final values are those of the last epoch or step that all runs have. The order of checkpoints tells no time, so where
runs have nothing else in common, the last checkpoint of the shortest is the middle of a longer one: each then ends at
its own last checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from analyzer.model.comparison import Band, Comparison, Group, Quantity, StoredRun
from analyzer.model.run import CheckpointRow

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzer.model.run import FloatArray

IN_ORDER = "checkpoint (in order)"
ALONG_PATH = "path_length"
ON_PATH = 101  # places from the start to as far as all of a group's runs went


def common_axis(runs: Sequence[StoredRun]) -> tuple[str, dict[str, FloatArray], FloatArray]:
    """What the axis counts, where each run's checkpoints stand on it, and the places that all runs have.

    An axis on which runs have two places in common, the last of which is an end, goes before one that all of them
    merely know; none of its places are common then.
    """
    known_to_all = []
    for label in ("epoch", "step"):
        places = {run.name: _places(run.tables.checkpoints, label) for run in runs}
        known = {name: row for name, row in places.items() if row is not None}
        if len(known) == len(runs):
            common = in_common(list(known.values()))
            if len(common) >= min(2, *map(len, known.values())) and _is_end(common[-1], list(known.values())):
                return label, known, common
            known_to_all.append((label, known, np.zeros(0)))
    if known_to_all:
        return known_to_all[0]
    orders = {run.name: np.arange(len(run.tables.checkpoints), dtype=np.float64) for run in runs}
    return IN_ORDER, orders, in_common(list(orders.values()))


def _is_end(last: float, places: Sequence[FloatArray]) -> bool:
    """Whether a place can stand for the end of these runs: neither where one begins nor before half of the shortest."""
    return all(len(its) == 1 or last > its[0] for its in places) and last >= min(float(its[-1]) for its in places) / 2


def ends(label: str, places: Mapping[str, FloatArray], common: FloatArray) -> dict[str, float]:
    """Where each run's final values are: at the last common epoch or step, else at its own last checkpoint."""
    is_matched = len(common) > 0 and label != IN_ORDER
    return {run: float((common if is_matched else its)[-1]) for run, its in places.items()}


def _places(checkpoints: Sequence[CheckpointRow], label: str) -> FloatArray | None:
    known = [row.epoch if label == "epoch" else row.step for row in checkpoints]
    values = np.array([np.nan if value is None else value for value in known], dtype=np.float64)
    return values if np.isfinite(values).all() and (np.diff(values) > 0).all() else None


def in_common(places: Sequence[FloatArray]) -> FloatArray:
    """The places that all of these have, rising."""
    return np.asarray(reduce(np.intersect1d, places), dtype=np.float64)


def bands(comparison: Comparison) -> tuple[Band, ...]:
    """The mean and the range of each group in each quantity, on the common axis and along the path."""
    return tuple(
        band
        for quantity in comparison.quantities
        for group in comparison.groups
        for band in (*_on_axis(comparison, group, quantity), *_on_path(comparison, group, quantity))
    )


def _on_axis(comparison: Comparison, group: Group, quantity: Quantity) -> Iterator[Band]:
    places = [comparison.places[run] for run in group.independent]
    common = in_common(places)
    if not quantity.is_score:
        common = common[_measured(comparison, group, quantity, common)]
    rows = [
        comparison.courses[run, quantity.name].values[np.isin(its, common)]
        for run, its in zip(group.independent, places, strict=True)
    ]
    yield _band(group, quantity, comparison.axis_label, common, np.stack(rows))


def _measured(comparison: Comparison, group: Group, quantity: Quantity, places: FloatArray) -> npt.NDArray[np.bool_]:
    """Which places any run was measured at: what was left out on purpose (--spectra-every) is no gap."""
    measured = np.zeros(len(places), dtype=bool)
    for run in group.independent:
        there = np.isin(comparison.places[run], places)
        asked = np.array([status != "missing" for status in comparison.courses[run, quantity.name].statuses])
        measured |= asked[there]
    return measured


def _on_path(comparison: Comparison, group: Group, quantity: Quantity) -> Iterator[Band]:
    """The same against the path length, linear between checkpoints, as far as the shortest path of the group."""
    paths = []
    for run in group.independent:
        course = comparison.courses.get((run, ALONG_PATH))
        path = course.values if course else np.zeros(0)
        # After a step of unknown length, nobody knows how far it is.
        known = len(path) if np.isfinite(path).all() else int(np.argmin(np.isfinite(path)))
        paths.append(path[:known])
    if quantity.name == ALONG_PATH or min(len(path) for path in paths) < 2:
        return
    places = np.linspace(0, min(path[-1] for path in paths), ON_PATH)
    rows = [
        np.interp(places, path, comparison.courses[run, quantity.name].values[: len(path)])
        for run, path in zip(group.independent, paths, strict=True)
    ]
    yield _band(group, quantity, ALONG_PATH, places, np.stack(rows))


def _band(group: Group, quantity: Quantity, along: str, places: FloatArray, rows: FloatArray) -> Band:
    """The band of values (runs, places); a NaN in one run makes the place a gap."""
    return Band(
        group=group.name,
        quantity=quantity.name,
        along=along,
        positions=places,
        mean=mean_of(rows, ratio=quantity.ratio),
        low=rows.min(axis=0),
        high=rows.max(axis=0),
        n=len(rows),
    )


def mean_of(rows: FloatArray, *, ratio: bool) -> FloatArray:
    """The arithmetic mean (n,) of (runs, n), geometric where ``ratio``: 0 where one of them is 0."""
    if not ratio:
        return np.asarray(rows.mean(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.exp(np.log(rows).mean(axis=0)))
