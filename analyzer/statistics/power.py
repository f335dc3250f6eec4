"""Compute the power of a test: how likely it is to detect a moderate or a strong correlation."""

from __future__ import annotations

from math import ceil

import numpy as np

from analyzer.model.run import FloatArray

DETECTABLE = (0.5, 0.7)  # |r| between the changes
LEVEL = 0.05
LEAST_FREEDOM = 0.05  # below, nothing is ever detected


def power(r: float, n_effective: FloatArray, leverage: FloatArray, parameters: int) -> FloatArray:
    """Return the probability that a correlation of ``r`` has p < 5 %, in the shape of ``n_effective``.

    The test's t then has a noncentral t distribution with noncentrality r √(n* m / ((1 − r²) (1 + 6/n))). m is the mean
    of 1 − leverage: the trend takes this share of the pairs' information. 1 + 6/n is how much HC3 widens the squared
    error of a slope between normal numbers. NaN where there is no effective number or no degree of freedom.

    Source: Cohen, Statistical power analysis for the behavioral sciences (1988), for the noncentral t.

    Args:
        r: the correlation.
        n_effective: the effective number of pairs, of any shape.
        leverage: (n,) of the removed trend.
        parameters: the number of parameters of the trend.
    """
    from scipy.special import nctdtr, stdtrit

    fewest = parameters + 1.0
    most = max(np.nanmax(n_effective, initial=fewest), fewest)
    counts = np.linspace(fewest, most, 2 + 8 * ceil(most - fewest))  # a table: there may be a million pairs
    freedom = np.maximum(counts - fewest, LEAST_FREEDOM)
    critical = stdtrit(freedom, 1 - LEVEL / 2)
    shift = r * np.sqrt(counts * np.mean(1 - leverage) / ((1 - r**2) * (1 + 6 / len(leverage))))
    missed = nctdtr(freedom, shift, critical) - np.nan_to_num(nctdtr(freedom, shift, -critical))
    found = 1 - np.nan_to_num(missed)  # scipy returns NaN for some probabilities too small to represent
    return np.asarray(np.interp(n_effective, counts, found, left=np.nan))
