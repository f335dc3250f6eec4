"""Align runs on one axis, by epoch, step or tokens if all runs have them, else in order; and along their path length.

Final values are from the last place on that axis that all runs have. The order of checkpoints does not measure time:
the last checkpoint of the shortest run may be in the middle of a longer one. Runs that are matched in order therefore
end at their own last checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from analyzer.model.comparison import Band, Comparison, Group, Quantity, StoredRun
from analyzer.model.describing import places_in
from analyzer.model.tables import UNITS

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzer.model.run import FloatArray

IN_ORDER = "checkpoint (in order)"
ALONG_PATH = "path_length"
ON_PATH = 101  # points from the start to the end of the shortest path in a group


def common_axis(runs: Sequence[StoredRun]) -> tuple[str, dict[str, FloatArray], FloatArray]:
    """Return the label of the axis, each run's positions on it, and the positions that all runs have.

    An axis on which the runs have two positions in common, the last of which can be an end, takes precedence over one
    that all runs merely know; in the latter case no positions count as common.
    """
    known_to_all = []
    for label in UNITS:
        places = {run.name: places_in(label, run.tables.checkpoints) for run in runs}
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
    """Return whether a position can be the end of these runs.

    It must not be the start of any run, nor before the middle of the shortest run.
    """
    return all(len(run) == 1 or last > run[0] for run in places) and last >= min(float(run[-1]) for run in places) / 2


def ends(label: str, places: Mapping[str, FloatArray], common: FloatArray) -> dict[str, float]:
    """Return the position of each run's final values: the last common epoch or step, else its own last checkpoint."""
    is_matched = len(common) > 0 and label != IN_ORDER
    return {run: float((common if is_matched else own)[-1]) for run, own in places.items()}


def in_common(places: Sequence[FloatArray]) -> FloatArray:
    """Return the positions that all of these have, rising."""
    return np.asarray(reduce(np.intersect1d, places), dtype=np.float64)


def bands(comparison: Comparison) -> tuple[Band, ...]:
    """Return the mean and the range of each group in each quantity, on the common axis and along the path."""
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
        comparison.courses[run, quantity.name].values[np.isin(own, common)]
        for run, own in zip(group.independent, places, strict=True)
    ]
    yield _band(group, quantity, comparison.axis_label, common, np.stack(rows))


def _measured(comparison: Comparison, group: Group, quantity: Quantity, places: FloatArray) -> npt.NDArray[np.bool_]:
    """Return a mask of the positions at which any run was measured: ``--spectra-every`` leaves no gaps."""
    measured = np.zeros(len(places), dtype=bool)
    for run in group.independent:
        common = np.isin(comparison.places[run], places)
        present = np.array([status != "missing" for status in comparison.courses[run, quantity.name].statuses])
        measured |= present[common]
    return measured


def _on_path(comparison: Comparison, group: Group, quantity: Quantity) -> Iterator[Band]:
    """Yield the band over the path length, linear between checkpoints, up to the shortest path of the group."""
    paths = []
    for run in group.independent:
        course = comparison.courses.get((run, ALONG_PATH))
        path = course.values if course else np.zeros(0)
        # After a step of unknown length the path length is unknown.
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
    """Return the band of values (runs, positions); a NaN in one run makes the position a gap."""
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
    """Return the arithmetic mean (n,) of (runs, n), or the geometric mean if ``ratio`` (0 where one value is 0)."""
    if not ratio:
        return np.asarray(rows.mean(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.exp(np.log(rows).mean(axis=0)))
