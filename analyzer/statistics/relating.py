"""Two stacks of series, every one of the first against every one of the second, by both methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analyzer.statistics.bootstrap import LEVEL, intervals
from analyzer.statistics.coefficients import coefficients, ranks, z_scores
from analyzer.statistics.moments import Usual, guard, with_jumps
from analyzer.statistics.significance import FEWEST_EFFECTIVE, autocorrelations, effective_counts, p_values
from analyzer.statistics.stationary import Trend

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

METHODS = ("pearson", "spearman")


@dataclass(frozen=True, slots=True)
class Relations:
    """Numbers for every pair of series and both methods, each (a, b, methods), NaN where there is none.

    ``past`` (a, b, methods, 2) holds the lag-1 autocorrelations of either series of a pair.
    """

    coefficient: FloatArray
    low: FloatArray
    high: FloatArray
    past: FloatArray
    n_effective: FloatArray
    p_value: FloatArray


def relate(
    first: FloatArray,
    second: FloatArray,
    magnitudes: tuple[FloatArray, FloatArray] | None = None,
    trend: Trend | None = None,
    usual: tuple[Usual, Usual] | None = None,
) -> Relations:
    """Describe pairs of series; where they are stationary, also give intervals and p-values.

    Args:
        first: (a, n) series without gaps.
        second: (b, n) likewise, paired with the first by column.
        magnitudes: (a,) and (b,), the largest magnitudes of what the series were computed from, beside which a small
            spread is rounding noise (see :func:`z_scores`); the series' own by default.
        trend: what was taken out of both; without it they are only described.
        usual: both without their jumps: what holds with the jumps alone is not significant, and has no interval.
    """
    its = magnitudes or (None, None)
    scored = zip(_scores(first, its[0]), _scores(second, its[1]), strict=True)
    by_method = [_of_scores(x, y, trend, usual, method) for method, (x, y) in zip(METHODS, scored, strict=True)]
    return Relations(*(np.stack(numbers, axis=2) for numbers in zip(*by_method, strict=True)))


def _scores(series: FloatArray, magnitude: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """z-scores of the values and of their ranks: what is constant but for rounding noise has neither."""
    values = z_scores(series, magnitude)
    of_ranks = z_scores(ranks(series))
    of_ranks[np.isnan(values).any(axis=1)] = np.nan
    return values, of_ranks


def _of_scores(
    x: FloatArray, y: FloatArray, trend: Trend | None, usual: tuple[Usual, Usual] | None, method: str
) -> tuple[FloatArray, ...]:
    """The fields of :class:`Relations`, for one method."""
    coefficient = coefficients(x, y)
    past_x, past_y = autocorrelations(x), autocorrelations(y)
    past = np.stack(np.broadcast_arrays(past_x[:, None], past_y), axis=2)
    n_effective = effective_counts(x.shape[1], past_x, past_y)
    low = high = p = np.full(coefficient.shape, np.nan)
    if trend is not None:
        enough = (n_effective >= FEWEST_EFFECTIVE) & np.isfinite(coefficient)
        low, high = intervals(x, y, enough)
        p = p_values(x, y, coefficient, n_effective, trend.leverage, trend.parameters)
        if usual is not None:
            n_effective, p = guard(*usual, trend, method, n_effective, p)
            # An interval that leaves out zero where p does not stand for that owes it to the jumps.
            owed = with_jumps(*usual) & ((low > 0) | (high < 0)) & ~(p < 1 - LEVEL)
            low[owed] = high[owed] = np.nan
    return coefficient, low, high, past, n_effective, p
