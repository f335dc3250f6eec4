"""Metrics of the singular values σ₁ ≥ … ≥ σ_n of a weight matrix; n = min(rows, columns).

Conventions: singular values (not eigenvalues λ = σ²), natural logarithms, no normalization by n.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from analyzer.metrics.registry import metric
from analyzer.model.observed import Spectrum
from analyzer.model.run import UNDEFINED, FloatArray, Value
from analyzer.numerics.rounding import EPSILON

spectrum_metric = partial(metric, family="spectrum")
TEXTBOOK = "Golub & Van Loan, Matrix Computations, 4th ed., sec. 2.4 and 2.6.2"


def _smallest(spectrum: Spectrum) -> Value:
    """Return σ_n with the status that it and the condition number share."""
    largest, smallest = float(spectrum.values[0]), float(spectrum.values[-1])
    if largest == 0:
        return UNDEFINED
    if smallest <= _singular_below(spectrum):
        return Value(None, "singular")
    # If σ_n is below the noise of rounding to the stored dtype, the σ_n before rounding is unknown.
    return Value(smallest, "precision_limited" if smallest < spectrum.noise else "ok", spectrum.bound)


def _singular_below(spectrum: Spectrum) -> float:
    """Return max(m, n)·eps·σ₁, at or below which a singular value is mere rounding of float64 arithmetic."""
    return max(spectrum.rows, spectrum.columns) * EPSILON * float(spectrum.values[0])


@spectrum_metric(unit="weight units", definition="σ₁", source=TEXTBOOK)
def spectral_norm(spectrum: Spectrum) -> float:
    """Return the largest singular value."""
    return float(spectrum.values[0])


@spectrum_metric(unit="weight units", definition="σ_n, n = min(rows, columns)", source=TEXTBOOK, version=2)
def smallest_singular_value(spectrum: Spectrum) -> Value:
    """Return the smallest singular value; ``singular`` if it is only rounding, ``undefined`` for the zero matrix."""
    return _smallest(spectrum)


@spectrum_metric(unit="weight units", definition="Σσ", source=TEXTBOOK)
def nuclear_norm(spectrum: Spectrum) -> float:
    """Return the sum of the singular values."""
    return float(spectrum.values.sum())


@spectrum_metric(
    unit="1", definition="κ₂ = σ₁/σ_n (2-norm, no clamping; λ-based tools report κ²)", source=TEXTBOOK, version=2
)
def condition_number(spectrum: Spectrum) -> Value:
    """Return how much more the matrix stretches one direction than another."""
    smallest = _smallest(spectrum)
    if smallest.value is None:
        return smallest
    return Value(float(spectrum.values[0]) / smallest.value, smallest.status, smallest.bound)


@spectrum_metric(
    unit="dimensions",
    definition="‖W‖_F² / σ₁²",
    source="Rudelson & Vershynin, Sampling from large matrices (JACM 2007)",
)
def stable_rank(spectrum: Spectrum) -> Value:
    """Return a rank that small singular values hardly affect; undefined for the zero matrix."""
    return stable_rank_of(spectrum.values)


@spectrum_metric(
    unit="dimensions",
    definition="exp(−Σ p ln p), p = σ/Σσ (natural log, not normalized by n)",
    source="Roy & Vetterli, The effective rank (EUSIPCO 2007)",
)
def effective_rank(spectrum: Spectrum) -> Value:
    """Return the exponential of the spectrum's entropy; undefined for the zero matrix."""
    return effective_rank_of(spectrum.values)


@spectrum_metric(
    unit="dimensions",
    definition="(Σσ²)² / Σσ⁴",
    source="Bell & Dean, Atomic vibrations in vitreous silica (1970); of the eigenvalues λ = σ²",
)
def participation_ratio(spectrum: Spectrum) -> Value:
    """Return how many directions share the energy; undefined for the zero matrix."""
    relative = _relative(spectrum.values)
    if relative is None:
        return UNDEFINED
    squares = np.square(relative)
    return Value(float(squares.sum() ** 2 / np.square(squares).sum()))


@spectrum_metric(
    unit="dimensions",
    definition="number of σ > max(max(rows, columns) · eps(float64) · σ₁, 0.42466 · u · (largest row norm + largest "
    "column norm)), u = unit roundoff of the stored dtype (of a product: of its factors)",
    source="Golub & Van Loan, Matrix Computations, 4th ed., sec. 5.4.1; Bandeira & van Handel, Sharp nonasymptotic "
    "bounds on the norm of random matrices with independent entries (Ann. Probab. 2016), for the noise of rounding",
    version=2,
)
def numerical_rank(spectrum: Spectrum) -> float:
    """Return the rank if singular values that rounding to the stored dtype could have made by itself count as zero."""
    return float(np.count_nonzero(spectrum.values > max(_singular_below(spectrum), spectrum.noise)))


def stable_rank_of(values: FloatArray) -> Value:
    """Return Σσ²/σ₁² of singular values (n,) in descending order; undefined if all are zero."""
    shares = _relative(values)
    return UNDEFINED if shares is None else Value(float(np.square(shares).sum()))


def effective_rank_of(values: FloatArray) -> Value:
    """Return exp(−Σ p ln p), p = σ/Σσ, of singular values (n,) in descending order; undefined if all are zero."""
    relative = _relative(values)
    if relative is None:
        return UNDEFINED
    shares = relative / relative.sum()
    shares = shares[shares > 0]
    return Value(float(np.exp(-(shares * np.log(shares)).sum())))


def _relative(values: FloatArray) -> FloatArray | None:
    """Return σ/σ₁, whose squares neither overflow nor underflow; None if all are zero."""
    largest = float(values[0])
    return None if largest == 0 else values / largest


def _energy_rank(spectrum: Spectrum, share: float) -> Value:
    relative = _relative(spectrum.values)
    if relative is None:
        return UNDEFINED
    energy = np.cumsum(np.square(relative))
    return Value(float(np.searchsorted(energy, share * energy[-1]) + 1))


ENERGY = "truncated SVD: Eckart & Young (1936)"


@spectrum_metric(unit="dimensions", definition="least k with Σ_{i≤k} σ² ≥ 0.90 ‖W‖_F²", source=ENERGY)
def energy_rank_90(spectrum: Spectrum) -> Value:
    """Return the rank of the smallest truncated SVD that keeps 90 % of the energy."""
    return _energy_rank(spectrum, 0.90)


@spectrum_metric(unit="dimensions", definition="least k with Σ_{i≤k} σ² ≥ 0.95 ‖W‖_F²", source=ENERGY)
def energy_rank_95(spectrum: Spectrum) -> Value:
    """Return the rank of the smallest truncated SVD that keeps 95 % of the energy."""
    return _energy_rank(spectrum, 0.95)


@spectrum_metric(unit="dimensions", definition="least k with Σ_{i≤k} σ² ≥ 0.99 ‖W‖_F²", source=ENERGY)
def energy_rank_99(spectrum: Spectrum) -> Value:
    """Return the rank of the smallest truncated SVD that keeps 99 % of the energy."""
    return _energy_rank(spectrum, 0.99)
