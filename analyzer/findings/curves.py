"""Curves of metrics as the rules read them, without the numbers that no finding may rest on."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analyzer.findings.wording import number
from analyzer.model.run import Status
from analyzer.model.tables import Curve, Tables, TensorRow

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

MATRICES = frozenset({"matrix", "stack"})
PARAMETERS = frozenset({"matrix", "stack", "vector", "scalar"})
EVERYTHING = frozenset({*PARAMETERS, "buffer"})
NORM_FACTOR = 10  # no norm grew by this factor in a healthy run
DEVIATION_PER_CHANGE = 1.4826 / sqrt(2)  # standard deviation of independent normal values per median absolute change
LARGEST, SMALLEST = 1e100, 1e-100  # far outside the range of float32


@dataclass(frozen=True, slots=True)
class ReliableCurve:
    """One metric of one tensor at the n checkpoints that have a row for it.

    Checkpoints that were skipped on purpose have no row and leave no gap.

    Attributes:
        tensor: the tensor.
        places: (n,) positions among the run's checkpoints.
        values: (n,) NaN wherever the status is not ``ok``, so that no finding rests on a number that storage precision
            limits, and wherever a ratio of the value could overflow.
        stored: (n,) the values as measured.
        statuses: (n,) the status of each value.
        references: (n,) names of the checkpoints that the values compare with, or None.
    """

    tensor: TensorRow
    places: npt.NDArray[np.intp]
    values: FloatArray
    stored: FloatArray
    statuses: tuple[Status | None, ...]
    references: tuple[str | None, ...]

    def ends(self) -> tuple[int, int] | None:
        """Return the indices of the first and last finite value, or None if there are fewer than two."""
        known = np.flatnonzero(np.isfinite(self.values))
        return (int(known[0]), int(known[-1])) if len(known) > 1 else None


def curves_of(tables: Tables, metric: str, kinds: Collection[str] = MATRICES) -> Iterator[ReliableCurve]:
    """Yield the curve of a metric for every tensor of the given kinds, in the order of the network."""
    for row in tables.tensors:
        curve = tables.curves.get(("tensor", row.name, metric)) if row.kind in kinds else None
        if curve is not None:
            yield _reliable(row, curve)


def count_of(tables: Tables, metric: str) -> int:
    """Count the matrices that have a curve of a metric, including those that an event explains."""
    rows = (*tables.tensors, *tables.explained)
    return sum(row.kind in MATRICES and ("tensor", row.name, metric) in tables.curves for row in rows)


def total_curve(tables: Tables, metric: str) -> ReliableCurve | None:
    """Return the curve of all parameters together, or None if the run has none."""
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
    """Return a mask of the values that are zero, or whose ratios stay in the range of float64."""
    sizes = np.abs(values)
    known: npt.NDArray[np.bool_] = (sizes == 0) | ((sizes > SMALLEST) & (sizes < LARGEST))
    return known


def starts(tables: Tables, series: ReliableCurve) -> npt.NDArray[np.intp]:
    """Return the positions (n,) of the checkpoints that the values compare with.

    A value without a reference has the position of its own checkpoint.
    """
    position = {row.name: place for place, row in enumerate(tables.checkpoints)}
    pairs = zip(series.references, series.places, strict=True)
    return np.array([position.get(reference or "", place) for reference, place in pairs], dtype=np.intp)


def interval_lengths(tables: Tables, series: ReliableCurve) -> FloatArray:
    """Return the lengths (n,) of the intervals that the values cover, in epochs (or steps, or checkpoints)."""
    lengths: FloatArray = tables.axis[series.places] - tables.axis[starts(tables, series)]
    return lengths


def per_unit(tables: Tables, series: ReliableCurve) -> FloatArray:
    """Return the values (n,) per epoch (or step, or checkpoint).

    Without this, widely spaced checkpoints would look like fast motion and narrowly spaced ones like slow motion.
    """
    lengths = interval_lengths(tables, series)
    rates = np.full(len(lengths), np.nan)
    np.divide(series.values, lengths, out=rates, where=lengths > 0)
    return rates


def usual_step(tables: Tables, names: Collection[str], first: int, last: int) -> str:
    """Return `` (steps of 0.0233)``: the median step distance from a checkpoint to another one, as its figure shows it.

    It is that of some tensors or, without names, of the mean over the layers; empty where none is known.
    """
    keys = [("tensor", name, "step_distance") for name in names] or [("mean", "", "step_distance")]
    known = [tables.curves[key].values[first + 1 : last + 1] for key in keys if key in tables.curves]
    steps = np.concatenate([*known, np.zeros(0)])
    steps = steps[np.isfinite(steps)]
    what = "steps of" if names else "mean step"
    return f" ({what} {number(float(np.median(steps)))})" if len(steps) else ""


def stretches(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the first and last index of every run of consecutive True values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(first), int(after) - 1) for first, after in edges.reshape(-1, 2)]


def longest_stretch(mask: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Return the first and last index of the longest run of True values, (0, -1) if there is none."""
    return max(stretches(mask), key=lambda ends: ends[1] - ends[0], default=(0, -1))


def norm_at(tables: Tables, name: str, position: int) -> float:
    """Return the norm of a tensor at a checkpoint as its figure shows it; rules compare root mean squares."""
    curve = tables.curves["tensor", name, "rms"]
    (row,) = (row for row in tables.tensors if row.name == name)
    return float(curve.values[position]) * root_of_size(row)


def root_of_size(tensor: TensorRow) -> float:
    """Return what turns a root mean square into a norm."""
    return sqrt(float(np.prod(tensor.shape, dtype=np.float64)))


def without_returns(values: FloatArray) -> FloatArray:
    """Return norms (n,) with NaN where a norm jumps and returns, as at a damaged checkpoint.

    Such a norm is more than ten times both of its neighbors, or less than a tenth of both.
    """
    kept = values.copy()
    known = np.flatnonzero(np.isfinite(values))
    middle, around = values[known[1:-1]], np.stack((values[known[:-2]], values[known[2:]]))
    odd = (middle > NORM_FACTOR * around.max(axis=0)) | (NORM_FACTOR * middle < around.min(axis=0))
    kept[known[1:-1][odd]] = np.nan
    return kept


def norm_jumps_at(series: ReliableCurve) -> npt.NDArray[np.intp]:
    """Return the positions of the checkpoints at which a norm jumps and returns; see :func:`without_returns`."""
    return series.places[np.isfinite(series.values) & np.isnan(without_returns(series.values))]


def smoothed(values: FloatArray) -> FloatArray:
    """Return the running median of three (n,), so that a single odd checkpoint does not decide.

    Both ends take the value of their neighbor. Requires n ≥ 3.
    """
    middle = np.median(np.lib.stride_tricks.sliding_window_view(values, 3), axis=1)
    return np.concatenate((middle[:1], middle, middle[-1:]))


def deviation(values: FloatArray) -> float:
    """Return the standard deviation of a score (n,) about its trend, from its median absolute change; n ≥ 2."""
    return float(np.median(np.abs(np.diff(values)))) * DEVIATION_PER_CHANGE


def largest_recovered_fall(merit: FloatArray) -> float:
    """Return how far values (n,) fell at most below their best so far and became better than it again later, else 0.

    Such falls are a score's usual swings: noise, or a learning rate that goes up and down.
    """
    best = np.maximum.accumulate(merit)
    until = int(np.argmax(merit))
    return float((best - merit)[: until + 1].max())


def at_the_end(values: FloatArray) -> float:
    """Return the median of the last tenth of the finite values, and of at least three of them.

    A single odd checkpoint does not decide. The result may differ from the value at the last checkpoint, so sentences
    write "about" before it.
    """
    known = values[np.isfinite(values)]
    return float(np.median(known[-max(3, round(0.1 * len(known))) :])) if len(known) else float("nan")
