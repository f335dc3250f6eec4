"""Correlation coefficients of one pair of series or of many pairs at once, without p-values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from analyzer.model.run import FloatArray, Status

FEWEST_PAIRS = 3
CONSTANT = 1e-12  # a spread below this share of the largest magnitude is rounding noise


class Coefficient(NamedTuple):
    """A correlation coefficient, None unless ``status`` is ``ok``, and the number of pairs it is based on."""

    value: float | None
    n: int
    status: Status


def z_scores(values: FloatArray, magnitude: FloatArray | None = None) -> FloatArray:
    """Return (x − mean) / standard deviation with ddof 0 along the last axis, in the same shape.

    A constant series becomes NaN throughout. A series whose spread is only rounding noise counts as constant: the
    noise must not be scaled up to a standard deviation of one.

    Args:
        values: series, shape (..., n).
        magnitude: the largest magnitude (...) of the numbers that the series were computed from, which determines
            their rounding noise; the series' own by default.
    """
    if values.shape[-1] == 0:
        return np.full(values.shape, np.nan)
    largest = np.abs(values).max(axis=-1) if magnitude is None else magnitude
    exponent = np.frexp(largest)[1]
    scaled = np.ldexp(values, -exponent[..., None])  # exact; the squares of a diverged loss would overflow
    spread = np.std(scaled, axis=-1, keepdims=True)
    spread[spread <= CONSTANT] = np.nan
    return np.asarray((scaled - np.mean(scaled, axis=-1, keepdims=True)) / spread)


def ranks(values: FloatArray) -> FloatArray:
    """Return ranks from 1 along the last axis, in the same shape; ties get their mean rank.

    Equals scipy.stats.rankdata, whose import alone takes longer than measuring a small run.
    """
    order = np.argsort(values, axis=-1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=-1)
    begins, ends = np.ones(values.shape, dtype=bool), np.ones(values.shape, dtype=bool)
    begins[..., 1:] = ends[..., :-1] = ordered[..., 1:] != ordered[..., :-1]
    places = np.broadcast_to(np.arange(values.shape[-1]), values.shape)
    first = np.maximum.accumulate(np.where(begins, places, 0), axis=-1)
    last = np.minimum.accumulate(np.where(ends, places, values.shape[-1])[..., ::-1], axis=-1)[..., ::-1]
    result = np.empty(values.shape)
    np.put_along_axis(result, order, (first + last) / 2 + 1, axis=-1)
    return result


def pearson(first: FloatArray, second: FloatArray) -> Coefficient:
    """Return Pearson's r of the pairs (n,) in which both are finite.

    The status is ``undefined`` below 3 pairs or where one series is constant.
    """
    both = np.isfinite(first) & np.isfinite(second)
    n = int(np.count_nonzero(both))
    if n < FEWEST_PAIRS:
        return Coefficient(None, n, "undefined")
    r = float(coefficients(z_scores(first[both])[None], z_scores(second[both])[None])[0, 0])
    return Coefficient(r, n, "ok") if np.isfinite(r) else Coefficient(None, n, "undefined")


def coefficients(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return Pearson's r (a, b) of every z-scored series of ``first`` (a, n) with every one of ``second`` (b, n)."""
    n = first.shape[-1]
    if n < FEWEST_PAIRS:
        return np.full((len(first), len(second)), np.nan)
    return np.asarray(np.clip(first @ second.T / n, -1, 1))
