"""Whether a coefficient may be chance: the effective number of pairs, p-values, and q-values over many of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzer.model.run import FloatArray

FEWEST_EFFECTIVE = 10.0
PAIRS_AT_ONCE = 4096
_MOST_LEVERAGE = 0.99  # a place that decides the slope alone has an infinite error


def autocorrelations(series: FloatArray) -> FloatArray:
    """Lag-1 autocorrelation Σ z_t z_{t+1} / Σ z_t² of each z-scored series (a, n), shape (a,), where Σ z_t² is n."""
    return np.asarray((series[:, 1:] * series[:, :-1]).sum(axis=1) / max(series.shape[1], 1))


def effective_counts(n: int, first: FloatArray, second: FloatArray) -> FloatArray:
    """n(1 − r₁r₂)/(1 + r₁r₂), shape (a, b), from the lag-1 autocorrelations (a,) and (b,) of n paired values.

    Source: Bartlett, Some aspects of the time-correlation problem (1935). Above n where one series alternates and the
    other persists.
    """
    return bartlett(np.array(n), np.multiply.outer(first, second))


def bartlett(n: npt.NDArray[np.int64], product: FloatArray) -> FloatArray:
    """The effective number of ``n`` pairs of series whose lag-1 autocorrelations have this product."""
    return np.asarray(n * (1 - product) / (1 + product))


def p_values(
    first: FloatArray,
    second: FloatArray,
    coefficients: FloatArray,
    n_effective: FloatArray,
    leverage: FloatArray,
    parameters: int,
) -> FloatArray:
    """Two-sided p-values (a, b) of coefficients between stationary series; NaN below 10 effective pairs.

    The coefficient is a regression slope between z-scores, so it is tested as one: with a standard error that does not
    assume equal noise at the beginning and the end of training (HC3; the larger p of either direction), on the
    effective number of pairs (never more than there are), less what the trend has used up.

    Source: MacKinnon & White, Some heteroskedasticity-consistent covariance matrix estimators (1985).

    Args:
        first: (a, n) z-scores, the trend taken out.
        second: (b, n) likewise.
        coefficients: (a, b) Pearson's r of the two.
        n_effective: (a, b).
        leverage: (n,) of the trend that was taken out.
        parameters: how many the trend has.
    """
    result = np.full(coefficients.shape, np.nan)
    rows, columns = np.nonzero((n_effective >= FEWEST_EFFECTIVE) & np.isfinite(coefficients))
    n = np.array(first.shape[1])
    for start in range(0, len(rows), PAIRS_AT_ONCE):
        i, j = rows[start : start + PAIRS_AT_ONCE], columns[start : start + PAIRS_AT_ONCE]
        of_pairs = first[i], second[j], coefficients[i, j]
        result[i, j] = slope_p_values(*of_pairs, n_effective[i, j], n, leverage, parameters)
    return result


def slope_p_values(
    x: FloatArray,
    y: FloatArray,
    slope: FloatArray,
    n_effective: FloatArray,
    n: npt.NDArray[np.int64],
    leverage: FloatArray,
    parameters: int,
) -> FloatArray:
    """The p-values (pairs,) of :func:`p_values`, x and y (pairs, places) being 0 but at ``n`` (pairs,) places."""
    from scipy.special import stdtr

    error = np.maximum(_standard_error(x, y, slope, n, leverage), _standard_error(y, x, slope, n, leverage))
    count = np.minimum(n_effective, n)
    with np.errstate(divide="ignore"):  # a perfect fit
        t = np.abs(slope) / error * np.sqrt(count / n)
    return np.asarray(2 * stdtr(count - 1 - parameters, -t))


def _standard_error(
    x: FloatArray, y: FloatArray, slope: FloatArray, n: npt.NDArray[np.int64], leverage: FloatArray
) -> FloatArray:
    """HC3 standard error (pairs,) of the slope of y on x, both (pairs, places) z-scores."""
    share = np.minimum(leverage + x**2 / n[..., None], _MOST_LEVERAGE)
    residual = (y - slope[:, None] * x) / (1 - share)
    return np.asarray(np.sqrt(((x * residual) ** 2).sum(axis=1)) / n)


def benjamini_hochberg(p: FloatArray) -> FloatArray:
    """q-values along the first axis, shape as given: the least false-discovery rate at which each is found.

    NaN stays NaN and counts for nothing. Source: Benjamini & Hochberg (1995), with their step-up made monotone.
    """
    order = np.argsort(p, axis=0)  # NaN last
    ordered = np.take_along_axis(p, order, axis=0)
    tests = np.count_nonzero(np.isfinite(p), axis=0)
    place = np.arange(1, len(p) + 1).reshape(-1, *[1] * (p.ndim - 1))
    scaled = np.where(np.isfinite(ordered), ordered * tests / place, np.inf)
    monotone = np.minimum(np.minimum.accumulate(scaled[::-1], axis=0)[::-1], 1)
    result = np.empty_like(p)
    np.put_along_axis(result, order, np.where(np.isfinite(ordered), monotone, np.nan), axis=0)
    return result
