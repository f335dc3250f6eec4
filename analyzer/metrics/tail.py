"""How heavy the tail of the eigenvalues λ = σ² is: a power law p(λ) ∝ λ^−alpha above xmin.

Conventions: eigenvalues of WᵀW, not divided by a dimension; alpha is the exponent of the density (that of the
cumulative distribution is one less); no upper cutoff (WeightWatcher fits with xmax = λ_max, which shifts alpha) and no
upper limit on alpha (powerlaw 2.0 rejects fits with alpha ≥ 3 unless given ``parameter_ranges={"alpha": [1, None]}``).
"""

from __future__ import annotations

from functools import partial
from math import log10

from analyzer.metrics.registry import metric
from analyzer.model.observed import PowerLaw, Spectrum
from analyzer.model.run import UNDEFINED, Value
from analyzer.numerics.power_law import hill_exponent

tail_metric = partial(metric, family="tail")
CLAUSET = "Clauset, Shalizi & Newman, Power-law distributions in empirical data (SIAM Review 2009), eq. 3.1 and 3.9"
HILL = (
    "He et al., AlphaDecay: module-wise weight decay for heavy-tailed balancing in LLMs (arXiv 2506.14562), sec. 3; "
    "Hill, A simple general approach to inference about the tail of a distribution (Ann. Stat. 1975)"
)
MARTIN = "Martin, Peng & Mahoney, Predicting trends in the quality of state-of-the-art networks (Nat. Commun. 2021)"


@tail_metric(
    unit="1",
    definition="alpha of p(λ) ∝ λ^−alpha for λ = σ² ≥ xmin: 1 + n/Σ ln(λ/xmin), no upper cutoff; undefined with "
    "fewer than 4 distinct λ",
    source=CLAUSET,
)
def alpha(power_law: PowerLaw | None) -> Value:
    """Return the exponent of the eigenvalue density in the tail: the smaller, the heavier."""
    return UNDEFINED if power_law is None else Value(power_law.alpha)


@tail_metric(
    unit="weight units²",
    definition="the eigenvalue λ = σ² (not divided by a dimension) where the fitted tail begins",
    source=CLAUSET,
)
def alpha_xmin(power_law: PowerLaw | None) -> Value:
    """Return the distinct eigenvalue of least KS distance; undefined if its square underflows in float64."""
    return UNDEFINED if power_law is None or power_law.xmin == 0 else Value(power_law.xmin)


@tail_metric(
    unit="1",
    definition="max |F(λ) − F_n(λ)| over the tail; F_n is the share strictly below λ, as in plfit and powerlaw",
    source=CLAUSET,
)
def alpha_ks_distance(power_law: PowerLaw | None) -> Value:
    """Return the Kolmogorov–Smirnov distance between tail and power law; above about 0.1, alpha means little."""
    return UNDEFINED if power_law is None else Value(power_law.ks_distance)


@tail_metric(unit="eigenvalues", definition="number of λ ≥ xmin", source=CLAUSET)
def alpha_tail_count(power_law: PowerLaw | None) -> Value:
    """Return the number of eigenvalues behind alpha; its standard error is (alpha − 1)/√count."""
    return UNDEFINED if power_law is None else Value(float(power_law.tail_count))


@tail_metric(
    unit="1",
    definition="alpha · log₁₀ λ_max, λ = σ² in squared weight units (base-10 logarithm, not divided by a dimension)",
    source=MARTIN,
)
def alpha_weighted(power_law: PowerLaw | None, spectrum: Spectrum) -> Value:
    """Return alpha weighted by the log of the largest eigenvalue; it depends on the scale of the weights."""
    return UNDEFINED if power_law is None else Value(power_law.alpha * 2 * log10(float(spectrum.values[0])))


@tail_metric(
    unit="1",
    definition="1 + k/Σ_{i≤k} ln(λ_i/λ_{k+1}) over the k = ⌊n/2⌋ largest of n nonzero eigenvalues λ = σ²; "
    "undefined with fewer than 4",
    source=HILL,
)
def alpha_hill(spectrum: Spectrum) -> Value:
    """Return the exponent of the upper half of the eigenvalues, which needs no fit of where the tail begins."""
    exponent = hill_exponent(spectrum)
    return UNDEFINED if exponent is None else Value(exponent)
