"""What metrics can ask for by naming a parameter, and the plain data that they are handed.

Additive needs can be summed over tensors; what is computed from the sum holds for all parameters together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum, nan
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

# Root-mean-square relative displacement of a number rounded to nearest, in units of the unit roundoff, for
# significands spread as Benford's law has them (METRICS "Storage rounding").
ROUNDING_DISPLACEMENT = 0.4245
LEADING = 8  # k: how many leading singular directions the family ``subspace`` compares


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
    """How many elements of W_t there are, and how many of them are NaN or infinite."""

    count: int
    nonfinite: int


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


@dataclass(frozen=True, slots=True)
class Need:
    """Something that the engine computes for metrics.

    ``roles`` are the states of the tensor that it looks at; a metric has no row where one of them does not exist, and
    the status ``nonfinite`` where one holds NaN or Inf, unless ``any_bits`` says that this does not matter.
    """

    name: str
    roles: frozenset[str]
    meaning: str
    additive: bool = False
    matrix_only: bool = False
    any_bits: bool = False
    any_dtype: bool = False


def _need(name: str, roles: str, meaning: str, **flags: bool) -> tuple[str, Need]:
    return name, Need(name, frozenset(roles.split()), meaning, **flags)


NEEDS: Mapping[str, Need] = dict(
    [
        _need("current", "current", "W_t, numpy array as stored"),
        _need("previous", "previous", "W_{t−1}, numpy array as stored"),
        _need("initial", "initial", "W_0, numpy array as stored"),
        _need("matrix", "current", "W_t as (rows, columns), stored dtype", matrix_only=True),
        _need("weights", "current", "InnerProducts of W_t with itself", additive=True),
        _need("step", "current previous", "InnerProducts with Δ", additive=True),
        _need(
            "consecutive_steps",
            "current previous before_previous",
            "InnerProducts with Δ and Δ'",
            additive=True,
        ),
        _need("drift", "current initial", "InnerProducts with D", additive=True),
        _need("interval", "current previous", "Interval between the two checkpoints", additive=True),
        _need("elements", "current", "ElementSummary of W_t", additive=True),
        _need("finiteness", "current", "FinitenessCount of W_t", additive=True, any_bits=True),
        _need("changed_bits", "current previous", "ChangedBits", additive=True, any_bits=True, any_dtype=True),
        _need("sign_flips", "current previous", "SignFlips", additive=True),
        _need("dead_lines", "current", "DeadLines of W_t", additive=True, matrix_only=True),
        _need("spectrum", "current", "Spectrum of W_t", matrix_only=True),
        _need("singular_values", "current", "float64 singular values of W_t, falling", matrix_only=True),
        _need("power_law", "current", "PowerLaw of W_t, None where it has too few eigenvalues", matrix_only=True),
        _need("previous_matrix", "previous", "W_{t−1} as (rows, columns), stored dtype", matrix_only=True),
        _need("matrix_step", "current previous", "InnerProducts with Δ of this matrix alone", matrix_only=True),
        _need("step_spectrum", "current previous", "StepSpectrum", matrix_only=True),
        _need("leading_subspaces", "current", f"LeadingSubspaces of W_t, None up to {LEADING} σ", matrix_only=True),
        _need("previous_subspaces", "previous", "LeadingSubspaces of W_{t−1}, or None", matrix_only=True),
        _need("initial_subspaces", "initial", "LeadingSubspaces of W_0, or None", matrix_only=True),
        _need("magnitude_shares", "current", "MagnitudeShares of W_t, None for the zero matrix", matrix_only=True),
    ]
)
