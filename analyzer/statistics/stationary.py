"""Make drifting curves stationary: logarithms, differences, and the removal of a smooth trend.

Accuracy and weight motion share drivers (schedule, saturation), so the curves themselves correlate by construction.
Differences remove most of that, but not all: the differences of curves that saturate with little noise still decay
together. tests/analyzer/statistics/test_calibration.py measures the false positive rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from analyzer.model.run import BoolArray, FloatArray

# Positive scales, on which equal ratios are equal changes. Angles, shares, cosines and counts are not.
POSITIVE_SCALES = frozenset(
    {
        *("step_distance", "relative_step_distance", "distance_rate", "initial_distance", "path_length", "tortuosity"),
        *("rotation", "frobenius_norm", "mean_absolute", "rms", "max_absolute"),
        *("spectral_norm", "smallest_singular_value", "nuclear_norm", "condition_number"),
        *("stable_rank", "effective_rank", "participation_ratio", "update_stable_rank", "update_effective_rank"),
        *("alpha_xmin", "mp_scale", "mp_edge"),
    }
)
KNOT_SPACING = 0.7
MOST_LEVERAGE = 0.5
SAME_DIRECTION = 1e-9  # there may be more knots than points among the first checkpoints


def logarithms(values: FloatArray) -> FloatArray:
    """Return natural logarithms, NaN where a value is not positive."""
    positive = np.where(values > 0, values, np.nan)
    return np.asarray(np.log(positive))


@dataclass(frozen=True, slots=True)
class Trend:
    """A smooth trend over positions in a run: orthonormal columns (n, parameters) that span it."""

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
        residuals = series - series @ self.basis @ self.basis.T
        return np.asarray(residuals[:, self.kept])


@lru_cache(maxsize=256)
def trend_over(positions: tuple[int, ...]) -> Trend:
    """Return quadratic splines over log₂(1 + position), with a knot about every 0.7.

    Weights change fast in the first epochs and slowly in the last, so knots are at about equal ratios of training
    time. What such a spline cannot follow stays local, at two or three points, whereas polynomials spread it over the
    whole run. Denser knots cost power; sparser knots make curves that settle at the same time look coupled.

    Args:
        positions: (n,) the checkpoints' positions in the run, rising, n ≥ 2.
    """
    x = np.log2(1 + np.array(positions, dtype=np.float64) - positions[0])
    knots = np.linspace(0, x[-1], max(1, round(x[-1] / KNOT_SPACING)) + 1)[1:-1]
    powers = [x**0, x, x**2, *(np.maximum(x - knot, 0) ** 2 for knot in knots)]
    left, singular_values, _ = np.linalg.svd(np.column_stack(powers), full_matrices=False)
    return Trend(left[:, singular_values > SAME_DIRECTION * singular_values[0]])
