"""How heavy the tail of the eigenvalues λ = σ² is: a power law p(λ) ∝ λ^−alpha above xmin.

Conventions: eigenvalues of WᵀW, not divided by a dimension; alpha of the density (that of the cumulative distribution
is one less); no upper cut-off (WeightWatcher fits with xmax = λ_max, which moves alpha) and no upper limit of alpha
(powerlaw 2.0 drops fits of alpha ≥ 3 unless ``parameter_ranges={"alpha": [1, None]}`` says otherwise).
"""

from __future__ import annotations

from math import inf, log10

import numpy as np
import numpy.typing as npt

from analyzer.metrics.registry import metric
from analyzer.model.observed import PowerLaw, Spectrum
from analyzer.model.run import Value

CLAUSET = "Clauset, Shalizi & Newman, Power-law distributions in empirical data (SIAM Review 2009), eq. 3.1 and 3.9"
MARTIN = "Martin, Peng & Mahoney, Predicting trends in the quality of state-of-the-art networks (Nat. Commun. 2021)"
UNDEFINED = Value(None, "undefined")
EPSILON = float(np.finfo(np.float64).eps)
SHORTEST_TAIL = 3  # distinct eigenvalues; with two, every tail is equally far from its power law
FEWEST_CANDIDATES = 2  # for xmin: less is no choice
SAMPLES = 48  # points of a tail that the first look at its distance takes
CHUNK = 16  # candidates whose distance is taken at a time: 16 · 4096 · 8 bytes

Vector = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


def fit_power_law(spectrum: Spectrum) -> PowerLaw | None:
    """Fit a power law to the upper eigenvalues: maximum likelihood for each xmin, and that xmin of least KS distance.

    Candidates for xmin are all distinct eigenvalues but the two largest, as in the package ``powerlaw``. An eigenvalue
    counts as zero, and is left out, where σ ≤ max(rows, columns) · eps(float64) · σ₁, the rule for ``singular``; an
    xmin is left out where the tail above it spreads by no more than that, for then alpha would describe rounding.

    Returns:
        None where fewer than four distinct eigenvalues remain, or no xmin.
    """
    largest = float(spectrum.values[0])
    rounding = max(spectrum.rows, spectrum.columns) * EPSILON
    rising = spectrum.values[::-1]
    rising = rising[rising > rounding * largest]
    if len(rising) == 0:
        return None
    # ln(λ/λ_max): logarithms neither overflow nor vanish, and near the upper end they keep their digits.
    tail = _Tail(2 * np.log(rising / largest))
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


class _Tail:
    """Every tail of a sample, each with its power law.

    ``logs`` (d,) are the distinct logarithms, rising, ``below`` (d,) how many of the sample lie below each;
    ``exponents`` (d − 2,) are alpha − 1 of the tails that start at all but the last two.
    """

    def __init__(self, sample: Vector) -> None:
        self.size = len(sample)
        self.logs, self.below = np.unique(sample, return_index=True)
        above = (self.size - self.below).astype(np.float64)
        # Σ ln(x/xmin) over each tail, summed up from its gaps: all positive, so that nothing cancels.
        excess = np.cumsum((above[1:] * np.diff(self.logs))[::-1])[::-1]
        self.exponents = above[: -(SHORTEST_TAIL - 1)] / excess[: len(excess) - (SHORTEST_TAIL - 2)]

    def least_distance(self, usable: npt.NDArray[np.bool_]) -> tuple[int, float]:
        """The tail of least KS distance (the longest of equals) and the distance; infinite where none is usable.

        A few points of each tail bound its distance from below; most tails are out of the running by that.
        """
        starts = np.flatnonzero(usable)
        last = len(self.logs) - 1
        shares = np.linspace(0, 1, SAMPLES)
        bounds = self._distances(starts, starts[:, None] + ((last - starts[:, None]) * shares).astype(np.intp))
        found = np.full(len(self.exponents), inf)
        order = np.argsort(bounds, kind="stable")
        for place in range(0, len(order), CHUNK):
            if bounds[order[place]] > found.min() * (1 + 8 * EPSILON):
                break
            some = starts[order[place : place + CHUNK]]
            found[some] = self._distances(some, np.arange(some.min(), last + 1)[None, :])
        best = int(np.argmin(found))
        return best, float(found[best])

    def _distances(self, starts: Indices, points: Indices) -> Vector:
        """Max |F(x) − F_n(x)| for tails from ``starts`` (k,), at ``points`` (k or 1, p); F_n counts what is below x."""
        excess = np.maximum(self.logs[points] - self.logs[starts, None], 0.0)
        theory = -np.expm1(-self.exponents[starts, None] * excess)
        below = np.maximum(self.below[points] - self.below[starts, None], 0)
        distances = np.abs(theory - below / (self.size - self.below[starts, None])).max(axis=1)
        return np.asarray(distances, dtype=np.float64)


@metric(
    family="tail",
    unit="1",
    definition="alpha of p(λ) ∝ λ^−alpha for λ = σ² ≥ xmin: 1 + n/Σ ln(λ/xmin), no upper cut-off; undefined with "
    "fewer than 4 distinct λ",
    source=CLAUSET,
)
def alpha(power_law: PowerLaw | None) -> Value:
    """Exponent of the eigenvalues' density in the tail: the smaller, the heavier."""
    return UNDEFINED if power_law is None else Value(power_law.alpha)


@metric(
    family="tail",
    unit="weight units²",
    definition="the eigenvalue λ = σ² (not divided by a dimension) where the fitted tail begins",
    source=CLAUSET,
)
def alpha_xmin(power_law: PowerLaw | None) -> Value:
    """Where the tail begins: the distinct eigenvalue of least KS distance; undefined below what float64 can hold."""
    return UNDEFINED if power_law is None or power_law.xmin == 0 else Value(power_law.xmin)


@metric(
    family="tail",
    unit="1",
    definition="max |F(λ) − F_n(λ)| over the tail; F_n is the share strictly below λ, as in plfit and powerlaw",
    source=CLAUSET,
)
def alpha_ks_distance(power_law: PowerLaw | None) -> Value:
    """Kolmogorov–Smirnov distance between the tail and its power law; above about 0.1, alpha says little."""
    return UNDEFINED if power_law is None else Value(power_law.ks_distance)


@metric(family="tail", unit="eigenvalues", definition="number of λ ≥ xmin", source=CLAUSET)
def alpha_tail_count(power_law: PowerLaw | None) -> Value:
    """How many eigenvalues alpha rests on; its standard error is (alpha − 1)/√count."""
    return UNDEFINED if power_law is None else Value(float(power_law.tail_count))


@metric(
    family="tail",
    unit="1",
    definition="alpha · log₁₀ λ_max, λ = σ² in squared weight units (decadic logarithm, not divided by a dimension)",
    source=MARTIN,
)
def alpha_weighted(power_law: PowerLaw | None, spectrum: Spectrum) -> Value:
    """Alpha weighted with the order of magnitude of the largest eigenvalue; depends on the scale of the weights."""
    return UNDEFINED if power_law is None else Value(power_law.alpha * 2 * log10(float(spectrum.values[0])))
