"""What is left of series when the moments at which they leave their own course are set aside.

A sharp jump early in a run outweighs all other changes, and a smooth trend rings around it. Two series that jump for
reasons of their own then seem to go together: by up to two thirds of such pairs, on the ranks of curves with little
noise. So a coefficient must also hold without those moments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.statistics.coefficients import ranks
from analyzer.statistics.significance import FEWEST_EFFECTIVE, PAIRS_AT_ONCE, bartlett, slope_p_values
from analyzer.statistics.stationary import Trend

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzer.model.run import FloatArray

OUT_OF_LINE = 6.0  # robust standard deviations: of a thousand series of 50 normal numbers six have such a place
TO_DEVIATION = 1.4826  # from the median size of normal numbers
ROUNDS, LAST_ROUNDS = 12, 4  # more change nothing
_HEAVIEST = 20.0  # weight of what lies on the fit, where 1 lies a deviation away
_STEADIER = 1e-10  # where the places that are left do not tell all of a trend's numbers
_TINY = 1e-300


class Usual(NamedTuple):
    """Residuals (a, n) of a trend that jumps do not bend, to any scale, and the places (a, n) that are no jumps."""

    residuals: FloatArray
    places: npt.NDArray[np.bool_]


def without_jumps(trend: Trend, series: FloatArray) -> Usual:
    """Fit the trend to each series (a, all places) by least absolute residuals, then without what is out of line.

    Source: Rousseeuw & Leroy, Robust regression and outlier detection (1987), reweighted least squares.
    """
    series = np.ldexp(series, -np.frexp(np.abs(series).max(axis=1, keepdims=True))[1])  # or squares would overflow
    weights = np.ones_like(series)
    for _ in range(ROUNDS):
        residuals, deviation = _fitted(trend, series, weights)
        weights = np.minimum(deviation / np.maximum(np.abs(residuals), _TINY), _HEAVIEST)
    for _ in range(LAST_ROUNDS):
        usual = np.abs(residuals) <= OUT_OF_LINE * deviation
        residuals, deviation = _fitted(trend, series, usual.astype(np.float64))
    usual = np.abs(residuals) <= OUT_OF_LINE * deviation
    return Usual(residuals[:, trend.kept], usual[:, trend.kept])


def _fitted(trend: Trend, series: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Residuals (a, n) of weighted least squares, and their robust standard deviation (a, 1)."""
    basis = trend.basis
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), -1)
    squares = (weights @ products).reshape(-1, trend.parameters, trend.parameters)
    steadier = _STEADIER * np.eye(trend.parameters)
    found = np.linalg.solve(squares + steadier, ((weights * series) @ basis)[..., None])[..., 0]
    residuals = series - found @ basis.T
    return residuals, np.maximum(TO_DEVIATION * np.median(np.abs(residuals), axis=1, keepdims=True), _TINY)


def with_jumps(first: Usual, second: Usual) -> npt.NDArray[np.bool_]:
    """Which pairs (a, b) have a jump in either series."""
    return np.asarray(~np.logical_and.outer(first.places.all(axis=1), second.places.all(axis=1)))


def guard(
    first: Usual,
    second: Usual,
    trend: Trend,
    method: str,
    n_effective: FloatArray,
    p: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """The lesser effective number of pairs and the larger p-value (a, b), of all places and of those without jumps.

    Args:
        first: of the first series (a, n).
        second: of the second series (b, n).
        trend: what was taken out of them.
        method: ``pearson`` or ``spearman``.
        n_effective: (a, b), of all places.
        p: (a, b) likewise.
    """
    n_effective, p = n_effective.copy(), p.copy()
    rows, columns = np.nonzero(with_jumps(first, second) & np.isfinite(p))
    x, y = (_values(one, method) for one in (first, second))
    for start in range(0, len(rows), PAIRS_AT_ONCE):
        i, j = rows[start : start + PAIRS_AT_ONCE], columns[start : start + PAIRS_AT_ONCE]
        places = first.places[i] & second.places[j]
        count, its = _of_places(_scored(x[i], places), _scored(y[j], places), places, trend)
        n_effective[i, j] = np.minimum(n_effective[i, j], count)
        p[i, j] = np.maximum(p[i, j], its)  # NaN where too few are left
    return n_effective, p


def _values(usual: Usual, method: str) -> FloatArray:
    values = np.where(usual.places, usual.residuals, 0.0)
    return ranks(values) if method == "spearman" else values


def _scored(values: FloatArray, places: npt.NDArray[np.bool_]) -> FloatArray:
    """z-scores (pairs, n) over the places of each pair, 0 elsewhere and where nothing varies."""
    count = np.maximum(places.sum(axis=1, keepdims=True), 1)
    centred = np.where(places, values - (values * places).sum(axis=1, keepdims=True) / count, 0.0)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / count)
    scores: FloatArray = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > _TINY)
    return scores


def _of_places(
    x: FloatArray, y: FloatArray, places: npt.NDArray[np.bool_], trend: Trend
) -> tuple[FloatArray, FloatArray]:
    """Effective number of pairs and p-value (pairs,) of z-scores at some places; 0 and NaN where too few are left."""
    n = places.sum(axis=1)
    pasts = [(one[:, 1:] * one[:, :-1]).sum(axis=1) / np.maximum(n, 1) for one in (x, y)]
    count = np.where(x.any(axis=1) & y.any(axis=1), bartlett(n, pasts[0] * pasts[1]), 0.0)
    p = np.full(len(n), np.nan)
    told = count >= FEWEST_EFFECTIVE
    x, y, n = x[told], y[told], n[told]
    r = np.clip((x * y).sum(axis=1) / n, -1, 1)
    p[told] = slope_p_values(x, y, r, count[told], n, trend.leverage, trend.parameters)
    return count, p
