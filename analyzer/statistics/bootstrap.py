"""Intervals for coefficients between autocorrelated series, by the stationary bootstrap.

Rows of pairs are drawn in blocks of geometric length. One draw serves all pairs of the same length and block, so a
resampled coefficient needs only weighted sums.

From a few dozen pairs such intervals are too narrow: on simulated independent pairs they exclude zero in 10 to 23 % of
cases instead of 5. They show how stable a coefficient is; use the p-value to judge significance.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, log10, sqrt

import numpy as np

from analyzer.model.run import BoolArray, FloatArray, IntArray

RESAMPLES = 500
SEED = 1994  # the year of the paper; arbitrary but fixed
LEVEL = 0.95
_PAIRS_AT_ONCE = 256  # their resamples fit the cache
_TINY = 1e-12  # least variance; a resample that drew one row repeatedly has none


def block_lengths(series: FloatArray) -> FloatArray:
    """Return the optimal mean block length (a,) of each series (a, n), at least 1 and at most min(3√n, n/3).

    Source: Politis & White, Automatic block-length selection for the dependent bootstrap (2004), with the correction
    by Patton, Politis & White (2009).
    """
    n = series.shape[1]
    centered = series - series.mean(axis=1, keepdims=True)
    run = max(5, int(log10(n)))
    most = min(ceil(sqrt(n)) + run, n - 2)
    covariance = np.empty((most + 1, len(series)))
    correlation = np.empty((most + 1, len(series)))
    for lag in range(most + 1):
        product = (centered[:, lag:] * centered[:, : n - lag]).sum(axis=1)
        covariance[lag] = product / n
        later, earlier = centered[:, lag + 1 :], centered[:, : -(lag + 1)]
        correlation[lag] = np.abs(product) / np.sqrt((later**2).sum(axis=1) * (earlier**2).sum(axis=1))
    small = correlation < 2 * sqrt(log10(n) / n)
    # The first lag from which ``run`` consecutive correlations are insignificant: the memory of the series.
    insignificant = np.lib.stride_tricks.sliding_window_view(small, run, axis=0)[: most - run + 1].all(axis=-1)
    memory = np.where(insignificant.any(axis=0), insignificant.argmax(axis=0), most)
    reach = np.minimum(2 * np.maximum(memory, 1), most)
    lags = np.arange(most + 1)[:, None]
    window = np.where(lags <= reach, np.minimum(1, 2 * (1 - lags / reach)), 0) * np.where(lags > 0, 2, 1)
    slope, variance = (window * lags * covariance).sum(axis=0), (window * covariance).sum(axis=0)
    with np.errstate(divide="ignore"):
        length = np.cbrt((slope / variance) ** 2 * n)
    return np.asarray(np.clip(length, 1, ceil(min(3 * sqrt(n), n / 3))))


@lru_cache(maxsize=64)
def resampled_weights(n: int, block: int) -> FloatArray:
    """Return the weight of each of ``n`` rows in each resample, (:data:`RESAMPLES`, n); each resample sums to 1.

    Source: Politis & Romano, The stationary bootstrap (1994): each drawn row is the circular successor of the one
    before it or, with probability 1 / block, a newly drawn row.
    """
    generator = np.random.default_rng((SEED, n, block))
    drawn = generator.integers(n, size=(RESAMPLES, n))
    starts = generator.random((RESAMPLES, n)) < 1 / block
    starts[:, 0] = True
    columns = np.arange(n)
    since = np.maximum.accumulate(np.where(starts, columns, 0), axis=1)
    return weights_of((np.take_along_axis(drawn, since, axis=1) + columns - since) % n)


def weights_of(indices: IntArray) -> FloatArray:
    """Return the weights (resamples, n) of rows that were drawn by index (resamples, n)."""
    resamples, n = indices.shape
    flat = indices + n * np.arange(resamples)[:, None]
    counts = np.bincount(flat.ravel(), minlength=resamples * n).reshape(resamples, n)
    return np.asarray(counts / n)


def intervals(first: FloatArray, second: FloatArray, wanted: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return 95 % percentile intervals (low, high), each (a, b), of Pearson's r between z-scored series.

    The block length is the longer one of the two series, rounded up to a whole number of rows.

    Args:
        first: (a, n) z-scores of values or of the ranks in the whole series.
        second: (b, n) likewise.
        wanted: (a, b) mask of the pairs to compute; the others are NaN.
    """
    n = first.shape[1]
    low, high = np.full(wanted.shape, np.nan), np.full(wanted.shape, np.nan)
    rows, columns = np.nonzero(wanted)
    if not len(rows):
        return low, high
    needed = np.ceil(np.maximum(block_lengths(first)[rows], block_lengths(second)[columns])).astype(int)
    for block in np.unique(needed):
        weights = resampled_weights(n, int(block))
        pairs = np.flatnonzero(needed == block)
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            batch = pairs[start : start + _PAIRS_AT_ONCE]
            i, j = rows[batch], columns[batch]
            low[i, j], high[i, j] = percentile_interval(resampled(first, second, i, j, weights))
    return low, high


def resampled(first: FloatArray, second: FloatArray, i: IntArray, j: IntArray, weights: FloatArray) -> FloatArray:
    """Return Pearson's r (pairs, resamples) of ``first[i]`` with ``second[j]`` in each resample."""
    unique_first, index_first = np.unique(i, return_inverse=True)
    unique_second, index_second = np.unique(j, return_inverse=True)
    mean_x, scale_x = _moments(first[unique_first], weights)
    mean_y, scale_y = _moments(second[unique_second], weights)
    result = (first[i] * second[j]) @ weights.T
    result -= mean_x[index_first] * mean_y[index_second]
    result *= scale_x[index_first]
    result *= scale_y[index_second]
    return np.asarray(np.clip(result, -1, 1, out=result))


def _moments(series: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean and 1 / standard deviation (series, resamples) in each resample."""
    mean = series @ weights.T
    return mean, 1 / np.sqrt(np.maximum(series**2 @ weights.T - mean**2, _TINY))


def percentile_interval(resamples: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the central 95 % (low, high), each (pairs,), of resampled coefficients (pairs, resamples).

    Sorts ``resamples`` in place.
    """
    resamples.sort(axis=-1)  # twice as fast as the partitions of numpy.quantile
    place = (1 - LEVEL) / 2 * (resamples.shape[-1] - 1)
    below, share = int(place), place % 1
    outer, inner = resamples[:, [below, -below - 1]], resamples[:, [below + 1, -below - 2]]
    low, high = (outer + share * (inner - outer)).T
    return low, high
