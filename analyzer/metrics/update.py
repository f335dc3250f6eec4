"""Is the update low-rank? Ranks of Δ_t = W_t − W_{t−1} (on request), defined like those of W_t."""

from __future__ import annotations

from analyzer.metrics.motion import PRECISION_MARGIN
from analyzer.metrics.registry import metric
from analyzer.metrics.spectrum import effective_rank, stable_rank
from analyzer.model.observed import InnerProducts, StepSpectrum
from analyzer.model.run import Value


def _of_step(rank: float | Value, matrix_step: InnerProducts) -> float | Value:
    """Return the rank with the status of a step metric; rounding of the stored elements is full-rank noise."""
    if not isinstance(rank, Value) or rank.value is None:
        return rank
    hidden = matrix_step.step < PRECISION_MARGIN**2 * matrix_step.rounding
    return Value(rank.value, "below_precision") if hidden else rank


@metric(
    family="update",
    unit="dimensions",
    definition="‖Δ_t‖_F² / σ₁(Δ_t)²",
    source="Rudelson & Vershynin, Sampling from large matrices (JACM 2007)",
)
def update_stable_rank(step_spectrum: StepSpectrum, matrix_step: InnerProducts) -> float | Value:
    """Return the stable rank of the step; undefined if nothing moved."""
    return _of_step(stable_rank(step_spectrum.spectrum), matrix_step)


@metric(
    family="update",
    unit="dimensions",
    definition="exp(−Σ p ln p), p = σ/Σσ of Δ_t (natural log, not normalized by n)",
    source="Roy & Vetterli, The effective rank (EUSIPCO 2007)",
)
def update_effective_rank(step_spectrum: StepSpectrum, matrix_step: InnerProducts) -> float | Value:
    """Return the effective rank of the step; undefined if nothing moved."""
    return _of_step(effective_rank(step_spectrum.spectrum), matrix_step)
