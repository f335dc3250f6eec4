"""How large and how low-rank is the update? Norm and ranks of Δ_t = W_t − W_{t−1} (on request), as those of W_t.

Rounding of the stored elements is full-rank noise, so a step below the precision has a rank that says little.
"""

from __future__ import annotations

from analyzer.metrics.motion import of_step
from analyzer.metrics.registry import metric
from analyzer.metrics.spectrum import effective_rank_of, stable_rank_of
from analyzer.model.observed import InnerProducts, StepSpectrum
from analyzer.model.run import Value


@metric(
    family="update",
    unit="weight units",
    definition="σ₁ of Δ_t",
    source="Jordan et al., Muon: an optimizer for hidden layers (2024); Yang, Simon & Bernstein, A spectral condition "
    "for feature learning (arXiv 2310.17813): √(rows/columns) is the scale that fits the shape",
)
def update_spectral_norm(step_spectrum: StepSpectrum, matrix_step: InnerProducts) -> Value:
    """Return the largest singular value of the step; 0 if nothing moved."""
    return of_step(float(step_spectrum.values[0]), matrix_step)


@metric(
    family="update",
    unit="dimensions",
    definition="‖Δ_t‖_F² / σ₁(Δ_t)²",
    source="Rudelson & Vershynin, Sampling from large matrices (JACM 2007)",
)
def update_stable_rank(step_spectrum: StepSpectrum, matrix_step: InnerProducts) -> Value:
    """Return the stable rank of the step; undefined if nothing moved."""
    return of_step(stable_rank_of(step_spectrum.values).value, matrix_step)


@metric(
    family="update",
    unit="dimensions",
    definition="exp(−Σ p ln p), p = σ/Σσ of Δ_t (natural log, not normalized by n)",
    source="Roy & Vetterli, The effective rank (EUSIPCO 2007)",
)
def update_effective_rank(step_spectrum: StepSpectrum, matrix_step: InnerProducts) -> Value:
    """Return the effective rank of the step; undefined if nothing moved."""
    return of_step(effective_rank_of(step_spectrum.values).value, matrix_step)
