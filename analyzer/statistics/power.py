"""What a test could have detected: the power at moderate and strong correlations."""

from __future__ import annotations

from math import ceil

import numpy as np

from analyzer.model.run import FloatArray

DETECTABLE = (0.5, 0.7)  # |r| between the changes
LEVEL = 0.05


def power(r: float, n_effective: FloatArray, leverage: FloatArray, parameters: int) -> FloatArray:
    """Return the probability that a correlation of ``r`` has p < 5 %, in the shape of ``n_effective``.

    The test's t then has a noncentral t distribution with noncentrality r √(n* / ((1 − r²) m)), where m is the mean of
    1 / (1 − leverage): by so much HC3 widens the error of a slope between series with a trend removed. NaN where there
    is no effective number or no degree of freedom.

    Source: Cohen, Statistical power analysis for the behavioral sciences (1988), for the noncentral t.
    """
    from scipy.special import nctdtr, stdtrit

    fewest = parameters + 2.0
    most = max(np.nanmax(n_effective, initial=fewest), fewest)
    counts = np.linspace(fewest, most, 2 + ceil(most - fewest))  # a table: there may be a million pairs
    freedom = counts - 1 - parameters
    critical = stdtrit(freedom, 1 - LEVEL / 2)
    shift = r * np.sqrt(counts / (1 - r**2) * np.mean(1 - leverage))
    found = 1 - nctdtr(freedom, shift, critical) + nctdtr(freedom, shift, -critical)
    return np.asarray(np.interp(n_effective, counts, found, left=np.nan))
