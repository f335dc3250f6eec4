"""Plain data that the engine computes from a tensor and passes to metrics: sums over elements, spectra, subspaces.

Sums can be added up over tensors; what is computed from the total describes all parameters together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import fsum, nan
from typing import Self

from analyzer.model.run import FloatArray


class Role(StrEnum):
    """The part that a state of a tensor plays for one checkpoint, in the order in which fingerprints name them."""

    CURRENT = "current"  # W_t
    PREVIOUS = "previous"  # W_{t−1}
    BEFORE_PREVIOUS = "before_previous"  # W_{t−2}
    INITIAL = "initial"  # W_0


ROLES = tuple(Role)
# Python 3.11 takes a tenth of a microsecond and more to look up a member of an enum: hot loops use these names.
CURRENT, PREVIOUS, BEFORE_PREVIOUS, INITIAL = ROLES
_SQUARES = {CURRENT: "current", PREVIOUS: "previous", INITIAL: "initial", BEFORE_PREVIOUS: "earlier_step"}


@dataclass(frozen=True, slots=True)
class MatrixView:
    """A matrix inside a tensor: the whole tensor, or the ``index``-th matrix along its first axis."""

    name: str
    index: int | None
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True)
class AdditiveSums:
    """Plain sums over elements, which can be added up over tensors."""

    def numbers(self) -> tuple[float, ...]:
        """Return the fields in order, as they are stored."""
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)

    @classmethod
    def total(cls, rows: Sequence[tuple[float, ...]]) -> Self:
        """Return the sums of several tensors together; each row contains the fields of one tensor."""
        return cls(*(_exact_sum(column) for column in zip(*rows, strict=True)))


def _exact_sum(numbers: Sequence[float]) -> float:
    """Return the sum, rounded once, so that the order of the tensors does not matter."""
    if all(isinstance(number, int) for number in numbers):
        return sum(numbers)
    try:
        return fsum(numbers)
    except (ValueError, OverflowError):  # infinities of both signs, or a sum beyond the range of a float
        return nan


@dataclass(frozen=True, slots=True)
class InnerProducts(AdditiveSums):
    """Inner products ⟨A, B⟩ = Σ a·b of weights and displacements in float64; NaN if one of the two is missing.

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
    rounding: float  # expected squared displacement from rounding to the stored dtype alone

    def squares(self, role: Role) -> float:
        """Return the sum of squares that shows whether a state is finite: of W_{t−2} it is that of Δ'."""
        squares: float = getattr(self, _SQUARES[role])
        return squares


@dataclass(frozen=True, slots=True)
class ElementSummary(AdditiveSums):
    """Sums over the elements of W_t; ``largest`` is max |w|."""

    count: int
    absolute: float
    largest: float
    zeros: int
    near_zeros: int
    squares: float

    @classmethod
    def total(cls, rows: Sequence[tuple[float, ...]]) -> Self:
        """Return the sums of several tensors together; ``largest`` is the maximum over them."""
        together = super(ElementSummary, cls).total(rows)
        return replace(together, largest=max(row[2] for row in rows))


@dataclass(frozen=True, slots=True)
class FinitenessCount(AdditiveSums):
    """Number of elements of W_t, how many of them are NaN or infinite, and how many of these are NaN."""

    count: int
    nonfinite: int
    nan: int


@dataclass(frozen=True, slots=True)
class ChangedBits(AdditiveSums):
    """Number of elements, and how many have stored bits that differ from those in W_{t−1}."""

    count: int
    changed: int


@dataclass(frozen=True, slots=True)
class SignFlips(AdditiveSums):
    """Number of elements, and how many have the opposite sign in W_{t−1} (zero has no sign)."""

    count: int
    flipped: int


@dataclass(frozen=True, slots=True)
class DeadLines(AdditiveSums):
    """Number of rows and columns of a matrix that are entirely zero."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Interval:
    """Optimization steps between W_{t−1} and W_t; None if the run does not record them."""

    steps: int | None


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Singular values of a rows × columns matrix in descending order, float64, shape (min(rows, columns),).

    A product of rank r has only the r values that are not zero by construction. ``bound`` bounds the relative error of
    the smallest value, if that is more than plain rounding. ``noise`` is the largest value that rounding the elements
    to the stored dtype could have made by itself.
    """

    values: FloatArray
    rows: int
    columns: int
    noise: float
    bound: float | None = None


@dataclass(frozen=True, slots=True)
class StepSpectrum:
    """The singular values of Δ_t = W_t − W_{t−1} in descending order, float64, shape (min(rows, columns),)."""

    values: FloatArray


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """The fit p(λ) ∝ λ^−alpha to the ``tail_count`` eigenvalues λ = σ² ≥ ``xmin``, with its KS distance."""

    alpha: float
    xmin: float
    ks_distance: float
    tail_count: int


@dataclass(frozen=True, slots=True)
class LeadingSubspaces:
    """Orthonormal bases of the top-k singular subspaces: ``left`` (rows, k) and ``right`` (columns, k), float64.

    ``gap`` is (σ_k − σ_{k+1})/σ_k, or 0 if σ_k is zero up to rounding. ``rounding`` is the spectral norm of the random
    perturbation that rounding each element to the stored dtype causes, also relative to σ_k: a smaller gap may be
    rounding.
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
