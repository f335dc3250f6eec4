"""Needs: what metrics can request by naming a parameter, each defined once with all that the engine has to know of it.

An additive need can be summed over tensors; a metric computed from the sum describes all parameters together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial, reduce
from math import isfinite
from operator import or_
from typing import Any, Protocol, TypeVar

from analyzer.model.network import TOKEN_ROWS
from analyzer.model.observed import (
    AdditiveSums,
    ChangedBits,
    DeadLines,
    ElementSummary,
    FinitenessCount,
    InnerProducts,
    Interval,
    LeadingSubspaces,
    MatrixView,
    Role,
    SignFlips,
    Spectrum,
    StepSpectrum,
)
from analyzer.model.run import Array
from analyzer.numerics import elementwise
from analyzer.numerics.magnitudes import magnitude_shares
from analyzer.numerics.power_law import fit_power_law
from analyzer.numerics.singular_values import difference_values
from analyzer.numerics.subspaces import leading_subspaces
from analyzer.numerics.sums import NO_COUNTS, Counts, ElementSums

LEADING = 8  # k: how many leading singular directions the family ``subspace`` compares

ResultT = TypeVar("ResultT")


class Observed(Protocol):
    """One tensor at one checkpoint with its earlier states, as the engine provides it to the needs."""

    @property
    def interval(self) -> Interval:
        """Optimization steps since the previous checkpoint."""

    @property
    def counts(self) -> Counts:
        """The counts that sums take in addition to inner products, for all metrics together."""

    @property
    def is_floating(self) -> bool:
        """Whether the elements are floating-point numbers, so that there are sums."""

    def array(self, role: Role) -> Array:
        """Return a state in its stored dtype and shape."""

    def matrix(self, role: Role, view: MatrixView) -> Array:
        """Return a matrix of a state, (rows, columns), in its stored dtype."""

    def sums(self) -> ElementSums:
        """Return all requested sums, computed in one walk over all states."""

    def spectrum(self, view: MatrixView) -> Spectrum:
        """Compute the spectrum of a matrix of W_t."""

    def need(self, need: Need, view: MatrixView | None) -> Any:
        """Return another need, computed once."""

    def of_state(self, role: Role, view: MatrixView, function: Callable[[Array], ResultT]) -> ResultT:
        """Return a function of a matrix of a state, computed once for all roles that the state plays."""


class ServedBy(Enum):
    """The least that a need is computed from; all but ``WHOLE`` allow to read a tensor in chunks and not to keep it."""

    SUMS = auto()  # sums over the elements, and what is counted in the same walk
    BLOCKS = auto()  # a look at each block of rows of W_t, one after the other
    GRAM = auto()  # the singular values of W_t, from its Gram matrix, accumulated from blocks; they are stored
    WHOLE = auto()  # whole states


Compute = Callable[[Observed, Any], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Need:
    """Something that the engine computes for metrics, at most once per tensor or matrix and checkpoint.

    Attributes:
        name: the name of a metric's parameter that requests it.
        roles: the states of the tensor that it depends on. A metric has no row if one of them does not exist, and the
            status ``nonfinite`` if one contains NaN or Inf, unless all its needs have ``any_bits``.
        meaning: what a metric receives.
        compute: computes it for one tensor, or for one matrix if ``matrix_only``.
        served_by: the least that it is computed from.
        sums: the class that adds it up over tensors; None if it is not additive.
        of_checkpoints: whether it depends on the checkpoints alone and so is the same for all tensors together.
        matrix_only: whether it exists for each matrix of a tensor rather than for the tensor.
        any_bits: whether it is defined for NaN and Inf too.
        any_dtype: whether it is defined for integers too.
        decomposes: whether it costs a Gram matrix or more.
        counts: what the walk over the elements has to count for it.
        imports: modules to import before workers start. A BLAS loaded later would use as many threads as there are
            cores.
        tensor_roles: the roles in the network (`model/network.py`) that a tensor must have; all if empty.
    """

    name: str
    roles: frozenset[Role]
    meaning: str
    compute: Compute
    served_by: ServedBy = ServedBy.WHOLE
    sums: type[AdditiveSums] | None = None
    of_checkpoints: bool = False
    matrix_only: bool = False
    any_bits: bool = False
    any_dtype: bool = False
    decomposes: bool = False
    counts: Counts = NO_COUNTS
    imports: tuple[str, ...] = ()
    tensor_roles: frozenset[str] = frozenset()

    @property
    def is_additive(self) -> bool:
        """Whether it also exists for all parameters together."""
        return self.sums is not None or self.of_checkpoints

    @property
    def is_spectral(self) -> bool:
        """Whether it follows from the singular values of W_t, which are stored."""
        return self.served_by is ServedBy.GRAM


def counts_of(needs: Iterable[Need]) -> Counts:
    """Return what a walk over the elements has to count for all these needs."""
    return reduce(or_, (need.counts for need in needs if need.counts), NO_COUNTS)


NEEDS: dict[str, Need] = {}
_CURRENT = frozenset({Role.CURRENT})
_STEP = frozenset({Role.CURRENT, Role.PREVIOUS})
_TWO_STEPS = frozenset({Role.CURRENT, Role.PREVIOUS, Role.BEFORE_PREVIOUS})


def _define(name: str, roles: Iterable[Role], meaning: str, compute: Compute, **options: Any) -> Need:
    need = NEEDS[name] = Need(name, frozenset(roles), meaning, compute, **options)
    return need


def _array(role: Role) -> Compute:
    return lambda observed, _: observed.array(role)


def _matrix(role: Role) -> Compute:
    return lambda observed, view: observed.matrix(role, view)


def _products(observed: Observed, _: MatrixView | None) -> InnerProducts:
    return observed.sums().products


def _elements(observed: Observed, _: MatrixView | None) -> ElementSummary:
    """Summarize magnitudes; near zeros are counted in another walk if the first one could not keep them."""
    sums = observed.sums()
    near_zeros, squares = sums.near_zeros, sums.products.current
    if near_zeros is None:
        near_zeros = elementwise.count_near_zeros(observed.array(Role.CURRENT), squares)
    return ElementSummary(sums.products.count, sums.absolute, sums.largest, sums.zeros, near_zeros, squares)


def _finiteness(observed: Observed, _: MatrixView | None) -> FinitenessCount:
    """Count NaN and Inf; elements are inspected only if their sum of squares is not finite."""
    products = observed.sums().products
    if isfinite(products.current):
        return FinitenessCount(products.count, 0, 0)
    return FinitenessCount(products.count, *elementwise.count_nonfinite(observed.array(Role.CURRENT)))


def _changed_bits(observed: Observed, _: MatrixView | None) -> ChangedBits:
    counted = observed.sums().changed if observed.is_floating else None
    return counted or elementwise.changed_bits(observed.array(Role.CURRENT), observed.array(Role.PREVIOUS))


def _dead_lines(observed: Observed, view: MatrixView) -> DeadLines:
    """Count zero rows and columns; the matrix is not inspected if the tensor has too few zeros for a single one."""
    if view.index is None and Counts.ELEMENTS in observed.counts and observed.sums().zeros < min(view.shape):
        return DeadLines(0, 0)
    return elementwise.dead_lines(observed.matrix(Role.CURRENT, view))


def _matrix_step(observed: Observed, view: MatrixView) -> InnerProducts:
    if view.index is None:
        return observed.sums().products
    current, previous = observed.matrix(Role.CURRENT, view), observed.matrix(Role.PREVIOUS, view)
    return elementwise.element_sums(current, previous).products


def _step_spectrum(observed: Observed, view: MatrixView) -> StepSpectrum:
    current, previous = observed.matrix(Role.CURRENT, view), observed.matrix(Role.PREVIOUS, view)
    return StepSpectrum(difference_values(current, previous))


def _leading(matrix: Array) -> LeadingSubspaces | None:
    return leading_subspaces(matrix, LEADING)


def _leading_of(role: Role) -> Compute:
    return lambda observed, view: observed.of_state(role, view, _leading)


_of_sums = partial(_define, served_by=ServedBy.SUMS)
_of_matrix = partial(_define, matrix_only=True)
_of_spectrum = partial(_of_matrix, served_by=ServedBy.GRAM, decomposes=True)
_of_subspaces = partial(_of_matrix, decomposes=True, imports=("scipy.linalg",))

_define("current", _CURRENT, "W_t, numpy array as stored", _array(Role.CURRENT))
_define("previous", {Role.PREVIOUS}, "W_{t−1}, numpy array as stored", _array(Role.PREVIOUS))
_define("initial", {Role.INITIAL}, "W_0, numpy array as stored", _array(Role.INITIAL))
_of_matrix("matrix", _CURRENT, "W_t as (rows, columns), stored dtype", _matrix(Role.CURRENT))
_of_sums("weights", _CURRENT, "InnerProducts of W_t with itself", _products, sums=InnerProducts)
_of_sums("step", _STEP, "InnerProducts with Δ", _products, sums=InnerProducts)
_of_sums("consecutive_steps", _TWO_STEPS, "InnerProducts with Δ and Δ'", _products, sums=InnerProducts)
STEP_SKETCH = _of_sums("step_sketch", _STEP, "StepSketch of Δ", lambda observed, _: observed.sums().sketch)
_of_sums("drift", {Role.CURRENT, Role.INITIAL}, "InnerProducts with D", _products, sums=InnerProducts)
_of_sums(
    "interval",
    _STEP,
    "Interval between the two checkpoints",
    lambda observed, _: observed.interval,
    of_checkpoints=True,
)
_of_sums("elements", _CURRENT, "ElementSummary of W_t", _elements, sums=ElementSummary, counts=Counts.ELEMENTS)
_of_sums("finiteness", _CURRENT, "FinitenessCount of W_t", _finiteness, sums=FinitenessCount, any_bits=True)
_of_sums(
    "changed_bits",
    _STEP,
    "ChangedBits",
    _changed_bits,
    sums=ChangedBits,
    any_bits=True,
    any_dtype=True,
    counts=Counts.CHANGED_BITS,
)
_of_sums(
    "sign_flips",
    _STEP,
    "SignFlips",
    lambda observed, _: observed.sums().flips,
    sums=SignFlips,
    counts=Counts.SIGN_FLIPS,
)
UNMOVED_ROWS = _of_matrix(
    "unmoved_rows",
    {Role.CURRENT, Role.INITIAL},
    "number of rows of an embedding or head whose stored bits are those in W_0",
    lambda observed, view: elementwise.unmoved_rows(*(observed.matrix(r, view) for r in (Role.CURRENT, Role.INITIAL))),
    served_by=ServedBy.SUMS,
    any_bits=True,
    tensor_roles=TOKEN_ROWS,
)
DEAD_LINES = _of_matrix(
    "dead_lines", _CURRENT, "DeadLines of W_t", _dead_lines, sums=DeadLines, served_by=ServedBy.BLOCKS
)
SPECTRUM = _of_spectrum("spectrum", _CURRENT, "Spectrum of W_t", lambda observed, view: observed.spectrum(view))
_of_spectrum(
    "singular_values",
    _CURRENT,
    "float64 singular values of W_t in descending order",
    lambda observed, view: observed.need(SPECTRUM, view).values,
)
_of_spectrum(
    "power_law",
    _CURRENT,
    "PowerLaw of W_t, None if it has too few eigenvalues",
    lambda observed, view: fit_power_law(observed.need(SPECTRUM, view)),
)
_of_matrix("previous_matrix", {Role.PREVIOUS}, "W_{t−1} as (rows, columns), stored dtype", _matrix(Role.PREVIOUS))
_of_matrix("matrix_step", _STEP, "InnerProducts with Δ of this matrix alone", _matrix_step)
_of_matrix("step_spectrum", _STEP, "StepSpectrum", _step_spectrum, decomposes=True)
_of_subspaces(
    "leading_subspaces",
    _CURRENT,
    f"LeadingSubspaces of W_t, None if it has at most {LEADING} σ",
    _leading_of(Role.CURRENT),
)
_of_subspaces("previous_subspaces", {Role.PREVIOUS}, "LeadingSubspaces of W_{t−1}, or None", _leading_of(Role.PREVIOUS))
_of_subspaces("initial_subspaces", {Role.INITIAL}, "LeadingSubspaces of W_0, or None", _leading_of(Role.INITIAL))
_of_matrix(
    "magnitude_shares",
    _CURRENT,
    "MagnitudeShares of W_t, None for the zero matrix",
    lambda observed, view: magnitude_shares(observed.matrix(Role.CURRENT, view)),
)
