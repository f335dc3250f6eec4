"""Correlate every series of one stack with every series of another, by Pearson and Spearman."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyzer.model.run import BoolArray, FloatArray
from analyzer.statistics.bootstrap import LEVEL, intervals
from analyzer.statistics.coefficients import coefficients, ranks, z_scores
from analyzer.statistics.jumps import RobustResiduals, guarded, with_jumps
from analyzer.statistics.power import DETECTABLE, power
from analyzer.statistics.significance import (
    FEWEST_EFFECTIVE,
    autocorrelations,
    effective_counts,
    p_values,
    summed_lags,
)
from analyzer.statistics.trends import Trend

METHODS = ("pearson", "spearman")


@dataclass(frozen=True, slots=True)
class Relations:
    """Numbers for every pair of series and both methods, each (a, b, methods), NaN where there is none.

    ``past`` (a, b, methods, 2) contains the lag-1 autocorrelations of both series of a pair, ``power`` (a, b, methods,
    2) the power at the correlations :data:`DETECTABLE`.
    """

    coefficient: FloatArray
    low: FloatArray
    high: FloatArray
    past: FloatArray
    n_effective: FloatArray
    p_value: FloatArray
    power: FloatArray


def relate(
    first: FloatArray,
    second: FloatArray,
    magnitudes: tuple[FloatArray, FloatArray] | None = None,
    trend: Trend | None = None,
    robust: tuple[RobustResiduals, RobustResiduals] | None = None,
    tested: BoolArray | None = None,
) -> Relations:
    """Compute coefficients of pairs of series and, if they are stationary, intervals and p-values.

    Args:
        first: (a, n) series without gaps.
        second: (b, n) likewise, paired with the first by column.
        magnitudes: (a,) and (b,), the largest magnitudes of the numbers that the series were computed from, relative
            to which a small spread is rounding noise (see :func:`z_scores`); the series' own by default.
        trend: the trend that was removed from both; without it the pairs are only described.
        robust: robust residuals of both. A coefficient that depends on jumps alone is not significant and has no
            interval.
        tested: mask (a, b) of the pairs that get an interval and a p-value; by default all that have a trend.
    """
    first_magnitude, second_magnitude = magnitudes or (None, None)
    scored = zip(_scores(first, first_magnitude), _scores(second, second_magnitude), strict=True)
    tested = np.ones((len(first), len(second)), dtype=bool) if tested is None else tested
    by_method = [
        _of_scores(x, y, trend, robust, tested, method) for method, (x, y) in zip(METHODS, scored, strict=True)
    ]
    return Relations(*(np.stack(numbers, axis=2) for numbers in zip(*by_method, strict=True)))


def _scores(series: FloatArray, magnitude: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Return z-scores of the values and of their ranks; both are NaN if the values are constant but for rounding."""
    values = z_scores(series, magnitude)
    of_ranks = z_scores(ranks(series))
    of_ranks[np.isnan(values).any(axis=1)] = np.nan
    return values, of_ranks


def _of_scores(
    x: FloatArray,
    y: FloatArray,
    trend: Trend | None,
    robust: tuple[RobustResiduals, RobustResiduals] | None,
    tested: BoolArray,
    method: str,
) -> tuple[FloatArray, ...]:
    """Return the fields of :class:`Relations` for one method."""
    coefficient = coefficients(x, y)
    past_x, past_y = (autocorrelations(one, summed_lags(x.shape[1])) for one in (x, y))
    past = np.stack(np.broadcast_arrays(past_x[:, :1], past_y[:, 0]), axis=2)
    n_effective = effective_counts(x.shape[1], past_x, past_y, coefficient)
    low = high = p = np.full(coefficient.shape, np.nan)
    powers = np.full((*coefficient.shape, len(DETECTABLE)), np.nan)
    if trend is not None:
        enough = tested & (n_effective >= FEWEST_EFFECTIVE) & np.isfinite(coefficient)
        low, high = intervals(x, y, enough)
        p = p_values(x, y, coefficient, np.where(enough, n_effective, np.nan), trend.leverage, trend.parameters)
        if robust is not None:
            n_effective, p = guarded(*robust, trend, method, n_effective, p)
            # An interval that excludes zero although p is not significant does so because of the jumps.
            misleading = with_jumps(*robust) & ((low > 0) | (high < 0)) & ~(p < 1 - LEVEL)
            low[misleading] = high[misleading] = np.nan
        counts = np.where(np.isfinite(p), n_effective, np.nan)
        powers = np.stack([power(r, counts, trend.leverage, trend.parameters) for r in DETECTABLE], axis=-1)
    return coefficient, low, high, past, n_effective, p, powers
