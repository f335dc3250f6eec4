"""Test coefficients without the jumps of the series.

A sharp jump early in a run outweighs all other changes, and a smooth trend rings around it. Two series that jump
independently then look coupled: up to two thirds of such pairs, for the ranks of curves with little noise. A
coefficient must therefore also be significant without the jumps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from analyzer.model.run import BoolArray, FloatArray
from analyzer.statistics.coefficients import ranks
from analyzer.statistics.significance import FEWEST_EFFECTIVE, PAIRS_AT_ONCE, effective_counts_of, slope_p_values
from analyzer.statistics.trends import MOST_LEVERAGE, Trend

OUT_OF_LINE = 6.0  # robust standard deviations of the point's residual
TO_DEVIATION = 1.4826  # standard deviation over median magnitude of normal numbers
ROUNDS, LAST_ROUNDS = 12, 4  # more change nothing
_HEAVIEST = 20.0  # weight of a point on the fit; a point one deviation away has weight 1
_RIDGE = 1e-10  # for trends whose parameters the remaining points do not determine
_TINY = 1e-300


class RobustResiduals(NamedTuple):
    """Residuals (a, n) of a trend fitted without jumps, up to scale, and the points (a, n) that are no jumps."""

    residuals: FloatArray
    regular: BoolArray


def robust_residuals(trend: Trend, series: FloatArray) -> RobustResiduals:
    """Fit the trend to each series (a, all points) by least absolute residuals, then by least squares without jumps.

    A trend follows each point by its leverage h, so residuals are compared with the deviation times √(1 − h): among
    the first checkpoints, where knots are dense, a smaller one is a jump.

    Source: Rousseeuw & Leroy, Robust regression and outlier detection (1987), reweighted least squares; Cook &
    Weisberg, Residuals and influence in regression (1982), studentized residuals.
    """
    series = np.ldexp(series, -np.frexp(np.abs(series).max(axis=1, keepdims=True))[1])  # prevents overflow of squares
    left = np.maximum(1 - (trend.basis**2).sum(axis=1), 1 - MOST_LEVERAGE)
    weights = np.ones_like(series)
    for _ in range(ROUNDS):
        residuals, deviation = _fitted(trend, series, weights)
        weights = np.minimum(deviation / np.maximum(np.abs(residuals), _TINY), _HEAVIEST)
    for _ in range(LAST_ROUNDS):
        regular = np.abs(residuals) <= OUT_OF_LINE * deviation * np.sqrt(left)
        residuals, deviation = _fitted(trend, series, regular.astype(np.float64))
    regular = np.abs(residuals) <= OUT_OF_LINE * deviation * np.sqrt(left)
    return RobustResiduals(residuals[:, trend.kept], regular[:, trend.kept])


def _fitted(trend: Trend, series: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return residuals (a, n) of weighted least squares, and their robust standard deviation (a, 1)."""
    basis = trend.basis
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), -1)
    squares = (weights @ products).reshape(-1, trend.parameters, trend.parameters)
    ridge = _RIDGE * np.eye(trend.parameters)
    found = np.linalg.solve(squares + ridge, ((weights * series) @ basis)[..., None])[..., 0]
    residuals = series - found @ basis.T
    return residuals, np.maximum(TO_DEVIATION * np.median(np.abs(residuals), axis=1, keepdims=True), _TINY)


def with_jumps(first: RobustResiduals, second: RobustResiduals) -> BoolArray:
    """Return which pairs (a, b) have a jump in either series."""
    return np.asarray(~np.logical_and.outer(first.regular.all(axis=1), second.regular.all(axis=1)))


def guarded(
    first: RobustResiduals,
    second: RobustResiduals,
    trend: Trend,
    method: str,
    n_effective: FloatArray,
    p: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return the smaller effective number of pairs and the larger p-value (a, b) of with and without jumps.

    Args:
        first: robust residuals of the first series (a, n).
        second: robust residuals of the second series (b, n).
        trend: the trend that was removed from them.
        method: ``pearson`` or ``spearman``.
        n_effective: (a, b), of all points.
        p: (a, b) likewise.
    """
    n_effective, p = n_effective.copy(), p.copy()
    rows, columns = np.nonzero(with_jumps(first, second) & np.isfinite(p))
    x, y = (_values(one, method) for one in (first, second))
    for start in range(0, len(rows), PAIRS_AT_ONCE):
        i, j = rows[start : start + PAIRS_AT_ONCE], columns[start : start + PAIRS_AT_ONCE]
        regular = first.regular[i] & second.regular[j]
        count, p_without = _without_jumps(_scored(x[i], regular), _scored(y[j], regular), regular, trend)
        n_effective[i, j] = np.minimum(n_effective[i, j], count)
        p[i, j] = np.maximum(p[i, j], p_without)  # NaN if too few points remain
    return n_effective, p


def _values(robust: RobustResiduals, method: str) -> FloatArray:
    values = np.where(robust.regular, robust.residuals, 0.0)
    return ranks(values) if method == "spearman" else values


def _scored(values: FloatArray, regular: BoolArray) -> FloatArray:
    """Return z-scores (pairs, n) over the regular points of each pair, 0 elsewhere and where nothing varies."""
    count = np.maximum(regular.sum(axis=1, keepdims=True), 1)
    centered = np.where(regular, values - (values * regular).sum(axis=1, keepdims=True) / count, 0.0)
    spread = np.sqrt((centered**2).sum(axis=1, keepdims=True) / count)
    scores: FloatArray = np.divide(centered, spread, out=np.zeros_like(centered), where=spread > _TINY)
    return scores


def _without_jumps(x: FloatArray, y: FloatArray, regular: BoolArray, trend: Trend) -> tuple[FloatArray, FloatArray]:
    """Return effective number of pairs and p-value (pairs,) at the regular points; 0 and NaN if too few remain."""
    n = regular.sum(axis=1)
    r = np.clip((x * y).sum(axis=1) / np.maximum(n, 1), -1, 1)
    count = np.where(x.any(axis=1) & y.any(axis=1), effective_counts_of(x, y, n, r), 0.0)
    p = np.full(len(n), np.nan)
    enough = count >= FEWEST_EFFECTIVE
    of_pairs = x[enough], y[enough], r[enough], count[enough], n[enough]
    p[enough] = slope_p_values(*of_pairs, trend.leverage, trend.parameters)
    return count, p
