"""One tensor at one checkpoint beside its earlier states, and what metrics need of them, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.engine.states import State
from analyzer.metrics.needs import LEADING, NEEDS, Need
from analyzer.metrics.pruning import magnitude_shares
from analyzer.metrics.registry import Metric
from analyzer.metrics.tail import fit_power_law
from analyzer.model.observed import (
    ChangedBits,
    DeadLines,
    InnerProducts,
    Interval,
    LeadingSubspaces,
    Spectrum,
    StepSpectrum,
)
from analyzer.model.run import Status, TensorInfo
from analyzer.numerics import elementwise
from analyzer.numerics.singular_values import spectrum
from analyzer.numerics.subspaces import leading_subspaces
from analyzer.numerics.sums import LEAST_SQUARE, Sums
from analyzer.numerics.update_spectrum import difference_spectrum
from analyzer.tensors.kinds import MatrixView, matrices, unsupported_reason
from analyzer.tensors.low_rank import product_spectrum

Array = npt.NDArray[Any]
Decompose = Callable[[Sequence[Array]], Sequence[Spectrum]]
SPECTRAL = frozenset({"spectrum", "singular_values", "power_law"})  # needs that follow from the singular values


@dataclass(frozen=True, slots=True)
class Seen:
    """What a frame leaves to those of later checkpoints.

    ``sums`` are None where none were taken; ``of_matrix`` are its spectra and their power laws by need and matrix.
    """

    state: State
    sums: Sums | None
    of_matrix: Mapping[tuple[str, str], Any]


class Frame:
    """One tensor at one checkpoint beside its other states; computes each need once, when it is first asked for.

    Args:
        info: the tensor.
        states: by role; a role that does not exist is absent, one that could not be read is None.
        interval: optimisation steps since the previous checkpoint.
        wanted: the names of the needs that metrics will ask for, so that one walk serves them all.
        earlier: what the frames of the other states left, by role, as far as there were any.
        decompose: gives the spectra of several matrices elsewhere than on the CPU.
    """

    def __init__(
        self,
        info: TensorInfo,
        states: Mapping[str, State | None],
        interval: Interval,
        wanted: Collection[str],
        earlier: Mapping[str, Seen],
        decompose: Decompose | None = None,
    ) -> None:
        current = states["current"]
        assert current is not None  # a frame is made only of what was read
        self.state = current
        self.states = states
        self.views = matrices(info)
        self.interval = interval
        self._wanted = wanted
        self._earlier = earlier
        self._supported = unsupported_reason(info) is None
        self._sums = current.taken.sums if current.taken else None
        self._decompose = decompose
        self._cache: dict[tuple[str, str], Any] = self._known_already(current)
        self._obstacles: dict[tuple[frozenset[str], bool, bool], Status | None] = {}
        self._in_range: dict[str, Status | None] = {}

    def obstacle(self, metric: Metric) -> Status | None:
        """Why a metric cannot be computed from these states, as a status."""
        key = (metric.roles, metric.any_bits, metric.any_dtype)
        if key not in self._obstacles:
            self._obstacles[key] = self._obstacle(*key)
        return self._obstacles[key]

    def _obstacle(self, roles: frozenset[str], any_bits: bool, any_dtype: bool) -> Status | None:
        if not self._supported and not any_dtype:
            return "unsupported"
        if not roles <= self.states.keys():
            return "undefined"  # what it compares with has no elements
        states = [self.states[role] for role in roles]
        if None in states:
            return "error"  # what it compares with could not be read
        current = self.state.array
        if any(one.array.shape != current.shape for one in states if one):
            return "undefined"  # the tensor changed its shape: no broadcasting
        if any_bits:
            return "undefined" if any(one.array.dtype != current.dtype for one in states if one) else None
        found = {self._obstacle_in_range(role) for role in roles}
        return "unsupported" if "unsupported" in found else "nonfinite" if "nonfinite" in found else None

    def _obstacle_in_range(self, role: str) -> Status | None:
        """Whether one state's squares can be summed up."""
        if role not in self._in_range:
            products = self.sums().products
            square = getattr(products, "earlier_step" if role == "before_previous" else role)
            if self._is_out_of_range(role, square):
                self._in_range[role] = "unsupported"  # float64 weights whose squares float64 cannot hold
            else:
                self._in_range[role] = None if isfinite(square) else "nonfinite"
        return self._in_range[role]

    def _is_out_of_range(self, role: str, square: float) -> bool:
        """Whether a sum of squares overflowed, or lost digits below the normal range; only float64 can come to that."""
        if self.state.array.dtype != np.float64 or LEAST_SQUARE <= square < inf:
            return False
        state = self.states[role]
        if role == "before_previous" or state is None:  # its square is that of a step, which may well be zero
            return False
        largest = float(np.abs(state.array).max())
        return 0 < largest < inf

    def need(self, need: Need, view: MatrixView | None) -> Any:
        """What a metric's parameter of this name is handed."""
        key = (need.name, view.name if view else "")
        if key not in self._cache:
            self._cache[key] = self._compute(need.name, view)
        return self._cache[key]

    def _compute(self, name: str, view: MatrixView | None) -> Any:
        if name in ("current", "previous", "initial"):
            return self._array(name)
        if view is not None and NEEDS[name].matrix_only:
            return self._of_matrix(name, view)
        if name in ("weights", "step", "consecutive_steps", "drift"):
            return self.sums().products
        if name == "interval":
            return self.interval
        if name == "elements":
            return elementwise.element_summary(self.state.array, self.sums())
        if name == "finiteness":
            return elementwise.finiteness(self.state.array, self.sums().products.current)
        return self.sums().flips if name == "sign_flips" else self._changed_bits()

    def _changed_bits(self) -> ChangedBits:
        taken = self.sums().changed if self._supported else None
        return taken or elementwise.changed_bits(self.state.array, self._array("previous"))

    def _of_matrix(self, name: str, view: MatrixView) -> Any:
        if name == "matrix":
            return (self.state.array if view.index is None else self.state.array[view.index]).reshape(view.shape)
        if name == "spectrum" and self.state.factors:
            return product_spectrum(self.state.factors)
        if name == "singular_values":
            return self.need(NEEDS["spectrum"], view).values
        if name == "spectrum" and self._decompose:
            return self._elsewhere(self._decompose)[view.name]
        if name == "power_law":
            return fit_power_law(self.need(NEEDS["spectrum"], view))
        if name in ("leading_subspaces", "previous_subspaces", "initial_subspaces"):
            return self._leading(name, view)
        if name in ("previous_matrix", "matrix_step", "step_spectrum"):
            return self._of_two_matrices(name, view)
        if name == "dead_lines" and view.index is None and self._has_too_few_zeros(view):
            return DeadLines(0, 0)
        compute: dict[str, Callable[[Array], Any]] = {
            "dead_lines": elementwise.dead_lines,
            "spectrum": spectrum,
            "magnitude_shares": magnitude_shares,
        }
        return compute[name](self.need(NEEDS["matrix"], view))

    def _elsewhere(self, decompose: Decompose) -> Mapping[str, Spectrum]:
        """The spectra of all the tensor's matrices by name, kept: small ones are decomposed together."""
        spectra = decompose([self.need(NEEDS["matrix"], view) for view in self.views])
        found = {view.name: one for view, one in zip(self.views, spectra, strict=True)}
        self._cache |= {("spectrum", name): one for name, one in found.items()}
        return found

    def _has_too_few_zeros(self, view: MatrixView) -> bool:
        """Whether there cannot be a row or column of zeros; told by what was counted already."""
        return "elements" in self._wanted and self.sums().zeros < min(view.shape)

    def _matrix_of(self, role: str, view: MatrixView) -> Array:
        array = self._array(role)
        return (array if view.index is None else array[view.index]).reshape(view.shape)

    def _leading(self, name: str, view: MatrixView) -> LeadingSubspaces | None:
        """The leading subspaces of one state, once for all the roles that it plays: W_0 is also W_t or W_{t−1}."""
        state = self.states[{"leading_subspaces": "current"}.get(name, name.partition("_")[0])]
        role = next(role for role in ("initial", "previous", "current") if self.states.get(role) is state)
        key = (f"leading subspaces of {role}", view.name)
        if key not in self._cache:
            self._cache[key] = leading_subspaces(self._matrix_of(role, view), LEADING)
        found: LeadingSubspaces | None = self._cache[key]
        return found

    def _of_two_matrices(self, name: str, view: MatrixView) -> Array | InnerProducts | StepSpectrum:
        previous = self._matrix_of("previous", view)
        if name == "previous_matrix":
            return previous
        current: Array = self.need(NEEDS["matrix"], view)
        if name == "step_spectrum":
            return StepSpectrum(difference_spectrum(current, previous))
        return self.sums().products if view.index is None else elementwise.walk_sums(current, previous).products

    def _array(self, role: str) -> Array:
        state = self.states[role]
        assert state is not None  # obstacle() has seen to it
        return state.array

    def sums(self) -> Sums:
        """All sums that are wanted, in one walk over the states of the same shape."""
        if self._sums is None:
            usable = {
                role: one.array
                for role, one in self.states.items()
                if one is not None and one.array.shape == self.state.array.shape
            }
            self._sums = elementwise.walk_sums(
                self.state.array,
                usable.get("previous"),
                usable.get("before_previous"),
                usable.get("initial"),
                self._wanted,
                self._known_squares(usable),
            )
        return self._sums

    def _known_squares(self, usable: Collection[str]) -> dict[str, float]:
        """Sums of squares that walks over earlier checkpoints gave."""
        known = {
            role: sums.products.current
            for role in ("previous", "initial")
            if role in usable and (sums := self._earlier_sums(role))
        }
        if "before_previous" in usable and (sums := self._earlier_sums("previous")):
            known["earlier_step"] = sums.products.step
        return {role: square for role, square in known.items() if not isnan(square)}

    def _earlier_sums(self, role: str) -> Sums | None:
        return self._earlier[role].sums if role in self._earlier else None

    def seen(self) -> Seen:
        """What the frames of later checkpoints can use."""
        return Seen(self.state, self._sums, {key: value for key, value in self._cache.items() if key[0] in SPECTRAL})

    def _known_already(self, current: State) -> dict[tuple[str, str], Any]:
        """What was taken while the state went by, and the spectra of W_{t−1} where that had the very same bytes."""
        taken = current.taken.of_matrix if current.taken else {}
        known = {(need, view.name): value for view in self.views for need, value in taken.items()}
        before = self._earlier.get("previous")
        if before and before.state.content == current.content and SPECTRAL & set(self._wanted):
            same = (before.state.array.shape, before.state.array.dtype) == (current.array.shape, current.array.dtype)
            are_plain = not (current.factors or before.state.factors)  # a product has no more σ than its rank
            known |= before.of_matrix if same and are_plain else {}
        return known

    def additive(self) -> dict[str, tuple[float, ...]]:
        """The additive needs that were computed, as plain numbers; those of several matrices are added up."""
        computed: dict[str, list[Any]] = {}
        for (name, _), value in self._cache.items():
            if name in NEEDS and NEEDS[name].additive and name != "interval":
                computed.setdefault(name, []).append(value)
        numbers: dict[int, tuple[float, ...]] = {}  # several needs are served by the same sums
        found: dict[str, tuple[float, ...]] = {}
        for name, values in computed.items():
            value = values[0] if len(values) == 1 else values[0].total([one.numbers() for one in values])
            if id(value) not in numbers:
                numbers[id(value)] = value.numbers()
            found[name] = numbers[id(value)]
        return found

    def spectra(self) -> dict[str, npt.NDArray[np.float64]]:
        """The singular values that were computed, by matrix name."""
        return {matrix: value.values for (_, matrix), value in self._cache.items() if isinstance(value, Spectrum)}
