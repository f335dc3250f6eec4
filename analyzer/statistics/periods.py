"""Find the period that two series have in common: a cyclic learning rate, restarts, a season of the data."""

from __future__ import annotations

import numpy as np

from analyzer.model.run import FloatArray, IntArray
from analyzer.statistics.significance import autocorrelations

SHORTEST = 2
SHORTEST_WAVE = 6  # shorter cycles repeat often enough
STRONG_WAVE = 3.3  # times the share of a wave in white noise
BEYOND_CHANCE = 2.2  # standard errors
COUPLED, MOST_COUPLED = 2.5, 2.0  # so much more of a correlated pair, times r², and at most
HARMLESS = 1.2  # divided by √n: so small a common share makes few independent series correlate


def common_periods(first: FloatArray, second: FloatArray) -> IntArray:
    """Return the period (a, b) at which both series of each pair repeat, in points; 0 where there is none.

    How well a series repeats is its mean autocorrelation over the multiples of the period: the share of its variance
    that the phase explains. The geometric mean over both series, by which independent series come to correlate, must be
    above 1.2/√n and above 2.2 standard errors, and 2.5r² of them more, at most 2, for a pair with coefficient r, which
    shares its chance repetitions; the largest in standard errors counts. To ask this of each series alone would
    overlook a weak cycle in one beside a strong one in the other. Periods of half the series and longer are not seen.

    Args:
        first: (a, n) z-scores of stationary series, 0 at missing points.
        second: (b, n) likewise.
    """
    n = first.shape[1]
    period = np.zeros((len(first), len(second)), dtype=np.intp)
    strength = np.zeros(period.shape)
    limit = BEYOND_CHANCE + np.minimum(COUPLED * (first @ second.T / n) ** 2, MOST_COUPLED)
    x, y = (autocorrelations(one, max(n - 1, 1)) for one in (first, second))
    for length in range(SHORTEST, (n + 1) // 2):
        pairs = (n - np.arange(length, n, length)).sum()  # of points that are a multiple of the period apart
        repeated = (np.maximum(n * one[:, length - 1 :: length].sum(axis=1) / pairs, 0.0) for one in (x, y))
        product = pairs * np.multiply.outer(*repeated)
        better = (product > strength) & (product > np.maximum(limit**2, pairs * HARMLESS**2 / n))
        period[better], strength[better] = length, product[better]
    return period


def common_waves(first: FloatArray, second: FloatArray) -> IntArray:
    """Return the period (a, b) of the strongest sine wave that both series of each pair contain; 0 where it is weak.

    A smooth cycle that a run contains three or four times repeats too seldom to be seen by :func:`common_periods`, but
    concentrates in one wave. White noise has 2/n of its variance in each wave; the geometric mean of both shares must
    be above 3.3 times that. Many pairs of noise have such a wave, too, but removing it costs two parameters only.

    Args:
        first: (a, n) z-scores of stationary series, 0 at missing points.
        second: (b, n) likewise.
    """
    n = first.shape[1]
    period, strength = np.zeros((len(first), len(second)), dtype=np.intp), np.zeros((len(first), len(second)))
    for length in range(SHORTEST_WAVE, n // 2 + 1):
        wave = sine_wave(length, np.arange(n))
        wave, _ = np.linalg.qr(wave - wave.mean(axis=0))
        product = np.multiply.outer(*(((series @ wave) ** 2).sum(axis=1) / 2 for series in (first, second)))
        better = (product > strength) & (product > STRONG_WAVE**2)
        period[better], strength[better] = length, product[better]
    return period


def sine_wave(period: int, positions: IntArray) -> FloatArray:
    """Return the cosine and the sine (n, 2) of a period at positions (n,)."""
    angle = 2 * np.pi * positions / period
    return np.column_stack([np.cos(angle), np.sin(angle)])
