"""From drifting curves to stationary ones: logs, differences, and what is left when a smooth trend is taken out.

Accuracy and weight motion share drivers (schedule, saturation), so the curves themselves correlate by construction.
Differences remove most of that, but not all: of curves that saturate with little noise, the differences still decay
together. tests/analyzer/statistics/test_calibration.py shows the rates of false positives with and without each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzer.model.run import FloatArray

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
SAME_DIRECTION = 1e-9  # among the first checkpoints there may be more knots than places


def logarithms(values: FloatArray) -> FloatArray:
    """Natural logarithms, NaN where a value is not positive."""
    positive = np.where(values > 0, values, np.nan)
    return np.asarray(np.log(positive))


@dataclass(frozen=True, slots=True)
class Trend:
    """A smooth trend over places in a run, as orthonormal columns (n, parameters) that span it."""

    basis: FloatArray

    @property
    def parameters(self) -> int:
        """How many numbers are fitted."""
        return int(self.basis.shape[1])

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """At which places (n,) it does not mostly follow the value itself, as it does at a run's first differences."""
        return np.asarray((self.basis**2).sum(axis=1) <= MOST_LEVERAGE)

    @property
    def leverage(self) -> FloatArray:
        """How much (kept,), at most ½, the trend at each place that is kept follows the very value there."""
        return np.asarray((self.basis**2).sum(axis=1)[self.kept])

    def removed(self, series: FloatArray) -> FloatArray:
        """The residuals (a, kept) of each series (a, n) when the trend is fitted to it by least squares.

        Places at which the trend mostly follows the value itself (leverage above ½) tell of nothing else and are left
        out.
        """
        residuals = series - series @ self.basis @ self.basis.T
        return np.asarray(residuals[:, self.kept])


@lru_cache(maxsize=256)
def trend_over(positions: tuple[int, ...]) -> Trend:
    """Quadratic splines over log₂(1 + position), with a knot about every 0.7.

    The first epochs change fast and the last ones slowly, so knots stand at about equal ratios of training time. What
    such a spline cannot follow stays where it is, in two or three places, whereas polynomials were seen to spread it
    over the whole run. Denser knots cost power; sparser ones let curves that settle at the same time pass for coupled.

    Args:
        positions: (n,) the checkpoints' places in the run, rising, n ≥ 2.
    """
    place = np.log2(1 + np.array(positions, dtype=np.float64) - positions[0])
    knots = np.linspace(0, place[-1], max(1, round(place[-1] / KNOT_SPACING)) + 1)[1:-1]
    powers = [place**0, place, place**2, *(np.maximum(place - knot, 0) ** 2 for knot in knots)]
    left, singular_values, _ = np.linalg.svd(np.column_stack(powers), full_matrices=False)
    return Trend(left[:, singular_values > SAME_DIRECTION * singular_values[0]])
