"""Power-law fits to the eigenvalues λ = σ² of a spectrum.

Clauset, Shalizi & Newman, Power-law distributions in empirical data (SIAM Review 2009), eq. 3.1 and 3.9.
"""

from __future__ import annotations

from math import inf

import numpy as np

from analyzer.model.observed import PowerLaw, Spectrum
from analyzer.model.run import BoolArray, FloatArray, IntArray
from analyzer.numerics.rounding import EPSILON

SHORTEST_TAIL = 3  # distinct eigenvalues; with two, every tail has the same distance from its power law
FEWEST_CANDIDATES = 2  # for xmin: with fewer there is no choice
FEWEST_EIGENVALUES = 4  # of which two are the upper half
SAMPLES = 48  # points of a tail at which its distance is estimated first
CANDIDATES = 16  # tails whose distance is computed at a time: 16 · 4096 · 8 bytes


def fit_power_law(spectrum: Spectrum) -> PowerLaw | None:
    """Fit a power law to the upper eigenvalues: maximum likelihood for each xmin, then the xmin of least KS distance.

    Candidates for xmin are all distinct eigenvalues except the two largest, as in the package ``powerlaw``. An
    eigenvalue counts as zero, and is omitted, if σ ≤ max(rows, columns) · eps(float64) · σ₁, the rule for ``singular``;
    an xmin is omitted if the tail above it spreads by no more than that, since alpha would then describe rounding.

    Returns:
        the fit; None if fewer than four distinct eigenvalues remain, or no xmin.
    """
    rounding, rising = _nonzero(spectrum)
    if len(rising) == 0:
        return None
    # ln(λ/λ_max): logarithms neither overflow nor underflow, and near the upper end they keep their digits.
    tail = _Tail(2 * np.log(rising / rising[-1]))
    if len(tail.logs) < SHORTEST_TAIL - 1 + FEWEST_CANDIDATES:
        return None
    best, distance = tail.least_distance(usable=1 / tail.exponents > rounding)
    if distance == inf:
        return None
    first = int(tail.below[best])
    return PowerLaw(
        alpha=1 + float(tail.exponents[best]),
        xmin=float(rising[first]) ** 2,
        ks_distance=distance,
        tail_count=len(rising) - first,
    )


def hill_exponent(spectrum: Spectrum) -> float | None:
    """Return 1 + k/Σ ln(λ_i/λ_{k+1}) over the k = ⌊n/2⌋ largest of the n eigenvalues that are not zero.

    Returns:
        the exponent; None with fewer than :data:`FEWEST_EIGENVALUES`, or if the upper half spreads by no more than
        rounding.
    """
    rounding, rising = _nonzero(spectrum)
    count = len(rising) // 2
    if len(rising) < FEWEST_EIGENVALUES:
        return None
    excess = float(2 * np.log(rising[-count:] / rising[-count - 1]).sum())
    return 1 + count / excess if excess / count > rounding else None


def _nonzero(spectrum: Spectrum) -> tuple[float, FloatArray]:
    """Return the relative error of rounding, and the singular values above it in ascending order."""
    rounding = max(spectrum.rows, spectrum.columns) * EPSILON
    rising = spectrum.values[::-1]
    return rounding, rising[rising > rounding * float(spectrum.values[0])]


class _Tail:
    """All tails of a sample, each with its power law.

    ``logs`` (d,) are the distinct logarithms in ascending order, ``below`` (d,) the number of sample points below each,
    ``exponents`` (d − 2,) alpha − 1 of the tails that start at each but the last two.
    """

    def __init__(self, sample: FloatArray) -> None:
        self.size = len(sample)
        self.logs, self.below = np.unique(sample, return_index=True)
        above = (self.size - self.below).astype(np.float64)
        # Σ ln(x/xmin) over each tail as a sum of its gaps: all positive, so nothing cancels.
        excess = np.cumsum((above[1:] * np.diff(self.logs))[::-1])[::-1]
        self.exponents = above[: -(SHORTEST_TAIL - 1)] / excess[: len(excess) - (SHORTEST_TAIL - 2)]

    def least_distance(self, usable: BoolArray) -> tuple[int, float]:
        """Return the tail of least KS distance (the longest of equals) and the distance; infinite if none is usable.

        A few points of each tail bound its distance from below, which rules out most tails.
        """
        starts = np.flatnonzero(usable)
        last = len(self.logs) - 1
        shares = np.linspace(0, 1, SAMPLES)
        bounds = self._distances(starts, starts[:, None] + ((last - starts[:, None]) * shares).astype(np.intp))
        found = np.full(len(self.exponents), inf)
        order = np.argsort(bounds, kind="stable")
        for place in range(0, len(order), CANDIDATES):
            if bounds[order[place]] > found.min() * (1 + 8 * EPSILON):
                break
            some = starts[order[place : place + CANDIDATES]]
            found[some] = self._distances(some, np.arange(some.min(), last + 1)[None, :])
        best = int(np.argmin(found))
        return best, float(found[best])

    def _distances(self, starts: IntArray, points: IntArray) -> FloatArray:
        """Return max |F(x) − F_n(x)| for tails from ``starts`` (k,) at ``points`` (k or 1, p); F_n counts x_i < x."""
        excess = np.maximum(self.logs[points] - self.logs[starts, None], 0.0)
        theory = -np.expm1(-self.exponents[starts, None] * excess)
        below = np.maximum(self.below[points] - self.below[starts, None], 0)
        distances = np.abs(theory - below / (self.size - self.below[starts, None])).max(axis=1)
        return np.asarray(distances, dtype=np.float64)
