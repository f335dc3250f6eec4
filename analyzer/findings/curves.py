"""The numbers that rules look at: one metric of one tensor, without what is not to be relied on."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analyzer.model.run import Curve, Status, Tables, TensorRow

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

MATRICES = frozenset({"matrix", "stack"})
PARAMETERS = frozenset({"matrix", "stack", "vector", "scalar"})
NORM_FACTOR = 10  # by which no norm grew in a healthy run
DEVIATION_PER_CHANGE = 1.4826 / sqrt(2)  # of independent normal values, from the median size of their differences
LARGEST, SMALLEST = 1e100, 1e-100  # beyond float32 by far
EVERYTHING = frozenset({*PARAMETERS, "buffer"})


@dataclass(frozen=True, slots=True)
class ReliableCurve:
    """One metric of one tensor at the n checkpoints where it has rows; checkpoints left out on purpose are no gap.

    ``places`` (n,) are positions among the run's checkpoints. ``values`` (n,) are NaN wherever the status is not
    ``ok``: nothing rests on a number that storage precision limits; nor on one whose ratios could overflow.
    ``stored`` (n,) are the numbers as measured.
    """

    tensor: TensorRow
    places: npt.NDArray[np.intp]
    values: FloatArray
    stored: FloatArray
    statuses: tuple[Status | None, ...]
    references: tuple[str | None, ...]

    def ends(self) -> tuple[int, int] | None:
        """Indices of the first and the last number; None where there are fewer than two."""
        known = np.flatnonzero(np.isfinite(self.values))
        return (int(known[0]), int(known[-1])) if len(known) > 1 else None


def curves_of(tables: Tables, metric: str, kinds: Collection[str] = MATRICES) -> Iterator[ReliableCurve]:
    """The series of a metric for every tensor of these kinds, in the order of the network."""
    for row in tables.tensors:
        curve = tables.curves.get(("tensor", row.name, metric)) if row.kind in kinds else None
        if curve is not None:
            yield _reliable(row, curve)


def count_of(tables: Tables, metric: str) -> int:
    """How many matrices have a series of a metric, those included of which nothing more is to be said."""
    rows = (*tables.tensors, *tables.explained)
    return sum(row.kind in MATRICES and ("tensor", row.name, metric) in tables.curves for row in rows)


def total_curve(tables: Tables, metric: str) -> ReliableCurve | None:
    """The series of all parameters together."""
    curve = tables.curves.get(("total", "", metric))
    row = TensorRow("", "", "total", (), None, "", "")
    return None if curve is None else _reliable(row, curve)


def _reliable(row: TensorRow, curve: Curve) -> ReliableCurve:
    places = [place for place, status in enumerate(curve.statuses) if status is not None]
    usable = np.array([curve.statuses[place] == "ok" for place in places], dtype=bool)
    stored = np.asarray(curve.values, dtype=np.float64)[places]
    return ReliableCurve(
        row,
        np.array(places, dtype=np.intp),
        np.where(usable & sane(stored), stored, np.nan),
        stored,
        tuple(curve.statuses[place] for place in places),
        tuple(curve.references[place] for place in places),
    )


def sane(values: FloatArray) -> npt.NDArray[np.bool_]:
    """Which values are zero or so large that neither they nor their ratios leave the range of float64."""
    sizes = np.abs(values)
    known: npt.NDArray[np.bool_] = (sizes == 0) | ((sizes > SMALLEST) & (sizes < LARGEST))
    return known


def starts(tables: Tables, series: ReliableCurve) -> npt.NDArray[np.intp]:
    """Positions (n,) of the checkpoints that the rows compare with; the checkpoint itself where there is none."""
    position = {row.name: place for place, row in enumerate(tables.checkpoints)}
    pairs = zip(series.references, series.places, strict=True)
    return np.array([position.get(reference or "", place) for reference, place in pairs], dtype=np.intp)


def per_unit(tables: Tables, series: ReliableCurve) -> FloatArray:
    """Values (n,) per epoch (or step, or checkpoint), so that uneven spacing does not look like slower motion."""
    lengths = tables.axis[series.places] - tables.axis[starts(tables, series)]
    rates = np.full(len(lengths), np.nan)
    np.divide(series.values, lengths, out=rates, where=lengths > 0)
    return rates


def stretches(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(first), int(after) - 1) for first, after in edges.reshape(-1, 2)]


def without_returns(values: FloatArray) -> FloatArray:
    """Norms (n,) without those that are ten times both of their neighbours, or a tenth: damaged checkpoints."""
    kept = values.copy()
    known = np.flatnonzero(np.isfinite(values))
    middle, around = values[known[1:-1]], np.stack((values[known[:-2]], values[known[2:]]))
    odd = (middle > NORM_FACTOR * around.max(axis=0)) | (NORM_FACTOR * middle < around.min(axis=0))
    kept[known[1:-1][odd]] = np.nan
    return kept


def norm_jumps_at(series: ReliableCurve) -> npt.NDArray[np.intp]:
    """Positions of the checkpoints at which a norm is ten times both of its neighbours, or a tenth of them."""
    return series.places[np.isfinite(series.values) & np.isnan(without_returns(series.values))]


def smoothed(values: FloatArray) -> FloatArray:
    """Running median of three (n,), the two ends as their neighbours: one odd checkpoint does not decide; n ≥ 3."""
    middle = np.median(np.lib.stride_tricks.sliding_window_view(values, 3), axis=1)
    return np.concatenate((middle[:1], middle, middle[-1:]))


def deviation(values: FloatArray) -> float:
    """Standard deviation of a score (n,) about its course, from the median size of its changes; n ≥ 2."""
    return float(np.median(np.abs(np.diff(values)))) * DEVIATION_PER_CHANGE


def at_the_end(values: FloatArray, share: float = 0.1, least: int = 3) -> float:
    """Median of the last tenth of the numbers, of three at least: one odd checkpoint does not decide.

    It need not be the number at the last checkpoint, so sentences say "about" of it.
    """
    known = values[np.isfinite(values)]
    return float(np.median(known[-max(least, round(share * len(known))) :])) if len(known) else float("nan")
