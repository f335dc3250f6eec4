"""Plain data that the engine observes of a tensor and hands to metrics: sums over elements, and spectra.

Sums can be added up over tensors; what is computed from the total holds for all parameters together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum, nan
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray


@dataclass(frozen=True, slots=True)
class _Sums:
    """Plain sums, which can be added up over tensors."""

    def numbers(self) -> tuple[float, ...]:
        """The fields in order, as they are stored."""
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)

    @classmethod
    def total(cls, rows: Sequence[tuple[float, ...]]) -> Self:
        """Those of all tensors together; each row holds the fields of one tensor's."""
        return cls(*(_exact_sum(column) for column in zip(*rows, strict=True)))


def _exact_sum(numbers: Sequence[float]) -> float:
    """Rounded once, so that the order of the tensors does not matter."""
    if all(isinstance(number, int) for number in numbers):
        return sum(numbers)
    try:
        return fsum(numbers)
    except (ValueError, OverflowError):  # infinities of both signs, or more than a float holds
        return nan


@dataclass(frozen=True, slots=True)
class InnerProducts(_Sums):
    """Inner products ⟨A, B⟩ = Σ a·b of weights and displacements, float64; NaN where one of the two is missing.

    Δ = W_t − W_{t−1}, Δ' = W_{t−1} − W_{t−2}, D = W_t − W_0.
    """

    count: int
    current: float  # ⟨W_t, W_t⟩
    previous: float  # ⟨W_{t−1}, W_{t−1}⟩
    initial: float  # ⟨W_0, W_0⟩
    step: float  # ⟨Δ, Δ⟩
    earlier_step: float  # ⟨Δ', Δ'⟩
    step_earlier_step: float  # ⟨Δ, Δ'⟩
    step_previous: float  # ⟨Δ, W_{t−1}⟩
    drift: float  # ⟨D, D⟩
    current_initial: float  # ⟨W_t, W_0⟩
    rounding: float  # squared displacement that rounding to the stored dtype alone brings about


@dataclass(frozen=True, slots=True)
class ElementSummary(_Sums):
    """Sums over the elements of W_t; ``largest`` is max |w|."""

    count: int
    absolute: float
    largest: float
    zeros: int
    near_zeros: int
    squares: float

    @classmethod
    def total(cls, rows: Sequence[tuple[float, ...]]) -> Self:
        """Those of all tensors together; each row holds the fields of one tensor's."""
        together = super(ElementSummary, cls).total(rows)
        return replace(together, largest=max(row[2] for row in rows))


@dataclass(frozen=True, slots=True)
class FinitenessCount(_Sums):
    """How many elements of W_t there are, how many of them are NaN or infinite, and how many NaN."""

    count: int
    nonfinite: int
    nan: int


@dataclass(frozen=True, slots=True)
class ChangedBits(_Sums):
    """How many elements there are, and in how many the stored bits differ from those in W_{t−1}."""

    count: int
    changed: int


@dataclass(frozen=True, slots=True)
class SignFlips(_Sums):
    """How many elements there are, and how many have the opposite sign in W_{t−1} (zero has none)."""

    count: int
    flipped: int


@dataclass(frozen=True, slots=True)
class DeadLines(_Sums):
    """How many rows and columns of a matrix are entirely zero."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Interval:
    """Optimisation steps between W_{t−1} and W_t; None where the run does not tell."""

    steps: int | None


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Singular values of a rows × columns matrix, falling, float64, shape (min(rows, columns),).

    Of a product of rank r there are only the r that are not zero by construction. ``bound`` bounds the relative error
    of the smallest one where it is more than plain rounding. ``roundoff`` is the unit roundoff u of the stored dtype.
    """

    values: FloatArray
    rows: int
    columns: int
    roundoff: float
    bound: float | None = None


@dataclass(frozen=True, slots=True)
class StepSpectrum:
    """The Spectrum of Δ_t = W_t − W_{t−1}, told apart from that of W_t, which is stored."""

    spectrum: Spectrum


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """p(λ) ∝ λ^−alpha of the ``tail_count`` eigenvalues λ = σ² ≥ ``xmin``, and how far from it they are."""

    alpha: float
    xmin: float
    ks_distance: float
    tail_count: int


@dataclass(frozen=True, slots=True)
class LeadingSubspaces:
    """Orthonormal bases of the top-k singular subspaces: ``left`` (rows, k) and ``right`` (columns, k), float64.

    ``gap`` is (σ_k − σ_{k+1})/σ_k, 0 where σ_k is zero but for rounding. ``rounding`` is the spectral norm of what
    rounding each element to the stored dtype adds at random, over σ_k too: a gap below it may be that of rounding.
    """

    left: FloatArray
    right: FloatArray
    gap: float
    rounding: float


@dataclass(frozen=True, slots=True)
class MagnitudeShares:
    """Shares of ‖W‖² in the largest 10, 50 and 90 % of the entries."""

    largest_10: float
    largest_50: float
    largest_90: float
