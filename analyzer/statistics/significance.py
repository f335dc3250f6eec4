"""Effective numbers of pairs, p-values of coefficients, and q-values over many of them."""

from __future__ import annotations

import numpy as np

from analyzer.model.run import FloatArray, IntArray

FEWEST_EFFECTIVE = 10.0
PAIRS_AT_ONCE = 4096
_MOST_LEVERAGE = 0.99  # a point that determines the slope alone has an infinite error


def autocorrelations(series: FloatArray, most: int) -> FloatArray:
    """Return the autocorrelations Σ z_t z_{t+j} / n at lags j = 1 to ``most``, shape (a, most), of z-scores (a, n)."""
    n = max(series.shape[1], 1)
    spectrum = np.fft.rfft(series, n + most, axis=1)  # so long that nothing wraps around
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2, n + most, axis=1)[:, 1 : most + 1] / n)


def summed_lags(n: int) -> int:
    """Return at how many lags autocorrelations of ``n`` points are summed: the later ones are mostly noise."""
    return max(n // 2, 1)


def effective_counts(n: int, first: FloatArray, second: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Return the effective number (a, b) of ``n`` pairs from autocorrelations (a, lags), (b, lags) and r (a, b).

    It is at most n, and 1/n* = 1/n + (2/n) Σ_j (1 − j/n) (r_x(j) r_y(j) − r²/n). Of two series without memory that are
    correlated, the autocorrelations are correlated, too: r²/n is the mean of their product.

    Source: Pyper & Peterman, Comparison of methods to account for autocorrelation in correlation analyses of fish data
    (1998).
    """
    remaining = 1 - np.arange(1, first.shape[1] + 1) / max(n, 1)
    summed = (first * remaining) @ second.T - remaining.sum() * coefficients**2 / max(n, 1)
    return np.asarray(n / np.maximum(1 + 2 * summed, 1))


def effective_counts_of(x: FloatArray, y: FloatArray, n: IntArray, coefficients: FloatArray) -> FloatArray:
    """Return the effective number (pairs,), as above, of x and y (pairs, points), which are 0 except at n points."""
    lags = summed_lags(x.shape[1])
    products = autocorrelations(x, lags) * autocorrelations(y, lags) * (x.shape[1] / np.maximum(n, 1)[:, None]) ** 2
    remaining = np.maximum(1 - np.arange(1, lags + 1) / np.maximum(n, 1)[:, None], 0)
    summed = (remaining * (products - (coefficients**2 / np.maximum(n, 1))[:, None])).sum(axis=1)
    return np.asarray(n / np.maximum(1 + 2 * summed, 1))


def p_values(
    first: FloatArray,
    second: FloatArray,
    coefficients: FloatArray,
    n_effective: FloatArray,
    leverage: FloatArray,
    parameters: int,
) -> FloatArray:
    """Return two-sided p-values (a, b) of coefficients between stationary series; NaN below 10 effective pairs.

    A coefficient is the slope of a regression between z-scores and is tested as one. The standard error does not assume
    equal noise at the beginning and the end of training: HC2 for the trend, HC3 for the slope. Of the two regression
    directions the larger error counts. The degrees of freedom are the effective number of pairs, less the parameters
    of the trend and one for the slope.

    Source: MacKinnon & White, Some heteroskedasticity-consistent covariance matrix estimators (1985).

    Args:
        first: (a, n) z-scores with the trend removed.
        second: (b, n) likewise.
        coefficients: (a, b) Pearson's r of the two.
        n_effective: (a, b).
        leverage: (n,) of the removed trend.
        parameters: the number of parameters of the trend.
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
    n: IntArray,
    leverage: FloatArray,
    parameters: int,
) -> FloatArray:
    """Return the p-values (pairs,) of :func:`p_values` for x and y (pairs, points), which are 0 except at n points."""
    from scipy.special import stdtr

    error = np.maximum(_standard_error(x, y, slope, n, leverage), _standard_error(y, x, slope, n, leverage))
    with np.errstate(divide="ignore"):  # a perfect fit
        t = np.abs(slope) / error * np.sqrt(n_effective / n)
    return np.asarray(2 * stdtr(n_effective - 1 - parameters, -t))


def _standard_error(x: FloatArray, y: FloatArray, slope: FloatArray, n: IntArray, leverage: FloatArray) -> FloatArray:
    """Return the robust standard error (pairs,) of the slope of y on x, both (pairs, points) z-scores.

    A squared residual is divided by 1 − leverage of the trend (HC2), which makes it unbiased, and by (1 − share)² for
    the share of the remaining leverage that x itself has (HC3), which protects against single large changes.
    """
    own = x**2 / n[..., None]
    left = 1 - leverage
    residual = (y - slope[:, None] * x) / (1 - np.minimum(own / left, _MOST_LEVERAGE))
    return np.asarray(np.sqrt((x**2 * residual**2 / left).sum(axis=1)) / n)


def benjamini_hochberg(p: FloatArray) -> FloatArray:
    """Return q-values along the first axis, in the same shape: the least false discovery rate that includes each test.

    NaN stays NaN and does not count as a test.

    Source: Benjamini & Hochberg (1995), with the step-up made monotone.
    """
    order = np.argsort(p, axis=0)  # NaN last
    ordered = np.take_along_axis(p, order, axis=0)
    tests = np.count_nonzero(np.isfinite(p), axis=0)
    rank = np.arange(1, len(p) + 1).reshape(-1, *[1] * (p.ndim - 1))
    scaled = np.where(np.isfinite(ordered), ordered * tests / rank, np.inf)
    monotone = np.minimum(np.minimum.accumulate(scaled[::-1], axis=0)[::-1], 1)
    result = np.empty_like(p)
    np.put_along_axis(result, order, np.where(np.isfinite(ordered), monotone, np.nan), axis=0)
    return result
