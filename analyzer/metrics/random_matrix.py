"""How far a spectrum is from that of pure noise: the Marchenko–Pastur bulk, fitted by the median singular value.

Conventions: m = max(rows, columns), n = min(rows, columns); the bulk of an m × n matrix of independent entries of
standard deviation s ends at σ = s(√m + √n), that is at λ = σ² = s²m(1 + √β)² with β = n/m.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from math import cos, pi, sqrt

import numpy as np

from analyzer.metrics.registry import metric
from analyzer.model.observed import Spectrum
from analyzer.model.run import UNDEFINED, Value
from analyzer.numerics.rounding import EPSILON

random_matrix_metric = partial(metric, family="random_matrix")
GAVISH = "Gavish & Donoho, The optimal hard threshold for singular values is 4/√3 (IEEE Trans. Inf. Theory 2014), III.E"
MARCHENKO = "Marchenko & Pastur, Distribution of eigenvalues for some sets of random matrices (1967)"
JOHNSTONE = "Johnstone, On the distribution of the largest eigenvalue in PCA (Ann. Stat. 2001), thm. 1.1"
MARTIN = "Martin & Mahoney, Implicit self-regularization in deep neural networks (JMLR 2021), sec. 3.3"
TRACY_WIDOM_95 = 0.9793161  # 95 % quantile of the Tracy–Widom law with β = 1
QUADRATURE_NODES, HALVINGS = 80, 60


@dataclass(frozen=True, slots=True)
class _Bulk:
    """The bulk of singular values: standard deviation of an entry, upper edge, and where outliers begin."""

    scale: float
    edge: float
    outliers_from: float


@lru_cache(maxsize=1024)
def marchenko_pastur_median(ratio: float) -> float:
    """Return the median μ_β of the Marchenko–Pastur law with unit variance, for β = ``ratio`` in (0, 1].

    With λ = 1 + β + 2√β cos θ the density becomes 2 sin²θ / (π λ), which is smooth on the upper half of the law, so
    Gauss–Legendre quadrature is accurate to rounding; θ is found by bisection.
    """
    nodes, weights = np.polynomial.legendre.leggauss(QUADRATURE_NODES)
    low, high = 0.0, pi
    for _ in range(HALVINGS):
        angle = (low + high) / 2
        t = angle / 2 * (nodes + 1)
        above = angle / 2 * float(weights @ (2 * np.sin(t) ** 2 / (pi * (1 + ratio + 2 * sqrt(ratio) * np.cos(t)))))
        low, high = (angle, high) if above < 0.5 else (low, angle)
    return 1 + ratio + 2 * sqrt(ratio) * cos((low + high) / 2)


def _bulk(spectrum: Spectrum) -> _Bulk | None:
    """Return the bulk with the spectrum's median; None if the median is zero up to rounding, or W is a product."""
    m, n = max(spectrum.rows, spectrum.columns), min(spectrum.rows, spectrum.columns)
    if len(spectrum.values) < n:
        return None
    median = float(spectrum.values[(n - 1) // 2] + spectrum.values[n // 2]) / 2
    if median <= m * EPSILON * float(spectrum.values[0]):
        return None
    scale = median / sqrt(m * marchenko_pastur_median(n / m))
    root = sqrt(m - 1) + sqrt(n)
    margin = TRACY_WIDOM_95 * root * (1 / sqrt(m - 1) + 1 / sqrt(n)) ** (1 / 3)
    return _Bulk(scale, scale * (sqrt(m) + sqrt(n)), scale * sqrt(root**2 + margin))


@random_matrix_metric(
    unit="weight units",
    definition="s = median(σ)/√(m·μ_β): standard deviation of an entry of the noise; m = max(rows, columns), μ_β the "
    "median of the Marchenko–Pastur law for β = n/m",
    source=GAVISH,
)
def mp_scale(spectrum: Spectrum) -> Value:
    """Return the standard deviation of noise with this median; undefined if half of the σ are zero."""
    bulk = _bulk(spectrum)
    return UNDEFINED if bulk is None else Value(bulk.scale)


@random_matrix_metric(
    unit="weight units",
    definition="s(√m + √n): upper edge of the bulk as a singular value (other tools report λ = σ², or λ/m)",
    source=MARCHENKO,
)
def mp_edge(spectrum: Spectrum) -> Value:
    """Return the largest singular value of noise of scale s, for large matrices."""
    bulk = _bulk(spectrum)
    return UNDEFINED if bulk is None else Value(bulk.edge)


@random_matrix_metric(
    unit="singular values",
    definition="number of σ² > s²(μ + 0.9793·τ), μ = (√(m−1)+√n)², τ = (√(m−1)+√n)(1/√(m−1)+1/√n)^⅓: edge + 95 % "
    "of Tracy–Widom β=1, so one pure-noise matrix in twenty has one; for n < 50, where the median is uncertain, up "
    "to one in six",
    source=JOHNSTONE,
)
def mp_outlier_count(spectrum: Spectrum) -> Value:
    """Return how many singular values are too large to be noise."""
    bulk = _bulk(spectrum)
    return UNDEFINED if bulk is None else Value(float(np.count_nonzero(spectrum.values > bulk.outliers_from)))


@random_matrix_metric(
    unit="1",
    definition="mp_edge²/σ₁² = λ₊/λ_max: about 1 for noise, small if a few directions stand out",
    source=MARTIN,
)
def mp_soft_rank(spectrum: Spectrum) -> Value:
    """Return the edge of the noise divided by the largest eigenvalue."""
    bulk = _bulk(spectrum)
    return UNDEFINED if bulk is None else Value((bulk.edge / float(spectrum.values[0])) ** 2)
