"""The trend that is removed from differences: smooth in training time, with the lengths of intervals and with periods.

Accuracy and weight motion share drivers (schedule, saturation), so the curves themselves correlate by construction.
Differences remove most of that, but not all: the differences of curves that saturate with little noise still decay
together, a longer interval changes both more, and a periodic schedule moves both alike.
tests/analyzer/statistics/test_calibration.py measures the false positive rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.model.run import BoolArray, FloatArray, IntArray
from analyzer.statistics.curves import score_changes
from analyzer.statistics.periods import sine_wave

KNOT_SPACING = 0.7
WIDE_KNOT_SPACING = 2.1  # beside splines with the other spacing
MOST_LEVERAGE = 0.5
SAME_DIRECTION = 1e-9  # there may be more knots than points among the first checkpoints
SAME_LENGTH = 0.01  # steps per epoch, rounded to whole ones, differ by less


@dataclass(frozen=True, slots=True)
class Trend:
    """A trend over the changes in a run: orthonormal columns (n, parameters) that span it."""

    basis: FloatArray

    @property
    def parameters(self) -> int:
        """The number of fitted parameters."""
        return int(self.basis.shape[1])

    @property
    def kept(self) -> BoolArray:
        """Mask (n,) of the points with leverage of at most ½.

        At the others the trend mostly follows the value itself, as it does at a run's first differences.
        """
        return np.asarray((self.basis**2).sum(axis=1) <= MOST_LEVERAGE)

    @property
    def leverage(self) -> FloatArray:
        """The leverage (kept,), at most ½, of each kept point: the weight of a value in the trend at the same point."""
        return np.asarray((self.basis**2).sum(axis=1)[self.kept])

    def removed(self, series: FloatArray) -> FloatArray:
        """Return the residuals (a, kept) of each series (a, n) after a least-squares fit of the trend.

        Points with leverage above ½ are left out: the trend follows the value there, so the residual is uninformative.
        """
        exponent = np.frexp(np.abs(series).max(axis=1, keepdims=True, initial=0.0))[1]
        scaled = np.ldexp(series, -exponent)  # exact; the sums of a diverged loss would overflow
        residuals = scaled - scaled @ self.basis @ self.basis.T
        return np.asarray(np.ldexp(residuals[:, self.kept], exponent))

    def with_period(self, period: int, positions: IntArray) -> Trend:
        """Return the trend with a mean for each phase of a period.

        Args:
            period: the number of changes in it.
            positions: (n,) the position of each change in the run.
        """
        phases = positions[:, None] % period == np.arange(period)
        return spanned([*self.basis.T, *phases.T.astype(np.float64)])

    def with_wave(self, period: int, positions: IntArray) -> Trend:
        """Return the trend with a sine wave of a period, of any phase; arguments as in :meth:`with_period`."""
        return spanned([*self.basis.T, *sine_wave(period, positions).T])


def spanned(columns: Sequence[FloatArray]) -> Trend:
    """Return the trend that these columns (n,) span; columns that depend on the others count once."""
    lengths = [np.linalg.norm(column) for column in columns]
    scaled = [column / length for column, length in zip(columns, lengths, strict=True) if length > 0]
    left, singular_values, _ = np.linalg.svd(np.column_stack(scaled), full_matrices=False)
    return Trend(left[:, singular_values > SAME_DIRECTION * singular_values[0]])


def trend_over(axis: FloatArray, compared: Sequence[int | None] | None, positions: IntArray) -> Trend:
    """Return the trend of changes between neighboring checkpoints.

    It consists of quadratic splines over p = log₂(1 + t) with a knot about every 0.7. t is the end of a change on the
    axis, counted from the end of the first one, in units of the shortest interval. Weights change fast in the first
    epochs and slowly in the last, so knots are at about equal ratios of training time. What such a spline cannot follow
    stays local, at two or three points, whereas polynomials spread it over the whole run. Denser knots cost power;
    sparser knots make curves that settle at the same time look coupled.

    Where the intervals differ in length, a smooth curve has rough changes. The trend of metrics of states and their
    scores then consists of the changes of cubic splines over p with such knots, t counted from the first checkpoint.
    A metric of intervals is smooth but for a power of their length g, and its scores are differenced twice: the trend
    consists of the quadratic splines, the change of log g, and the second differences of cubic splines with a third of
    the knots.

    Args:
        axis: (checkpoints,) the rising places of the checkpoints.
        compared: for metrics of intervals, the position of the checkpoint that each checkpoint is compared with; None
            for metrics of states, whose intervals lie between neighbors.
        positions: (n,) of the changes, n ≥ 2; change k leads from checkpoint k to checkpoint k + 1.
    """
    time = (axis - axis[0]) / np.diff(axis).min()
    end = time[1:][positions]
    smooth = _splines(np.log2(1 + end - end[0]), 2)
    length = _lengths(time, compared)
    used = np.unique([positions + 1] if compared is None else [positions, positions + 1])
    if np.ptp(length[used]) <= SAME_LENGTH * length[used].max():
        return spanned(smooth)
    place = np.log2(1 + time)
    if compared is None:
        return spanned([np.diff(curve)[positions] for curve in _splines(place, 3)[1:]])  # a constant does not change
    scores = score_changes(np.array(_splines(place, 3, WIDE_KNOT_SPACING)[1:]), compared)
    return spanned([*smooth, np.diff(np.log(length))[positions], *np.diff(scores)[:, positions]])


def _splines(place: FloatArray, degree: int, spacing: float = KNOT_SPACING) -> list[FloatArray]:
    """Return columns (n,) that span the splines over places from 0, with a knot about every ``spacing``."""
    knots = np.linspace(0, place[-1], max(1, round(place[-1] / spacing)) + 1)[1:-1]
    powers = [place**power for power in range(degree + 1)]
    return [*powers, *(np.maximum(place - knot, 0) ** degree for knot in knots)]


def _lengths(time: FloatArray, compared: Sequence[int | None] | None) -> FloatArray:
    """Return the length (checkpoints,) of the interval that ends at each checkpoint, NaN where there is none."""
    if compared is None:
        return np.diff(time, prepend=np.nan)
    return np.array([np.nan if k is None else now - time[k] for now, k in zip(time, compared, strict=True)])
