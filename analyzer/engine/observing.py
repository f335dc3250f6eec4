"""One tensor at one checkpoint with its earlier states, and the needs of metrics, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, isfinite, isnan
from typing import Any, TypeVar

import numpy as np

from analyzer.engine.states import Loaded, State, Summarized
from analyzer.metrics.needs import SPECTRUM, STEP_SKETCH, Need, counts_of
from analyzer.metrics.registry import Metric
from analyzer.model.observed import BEFORE_PREVIOUS, CURRENT, INITIAL, PREVIOUS, Interval, MatrixView, Role, Spectrum
from analyzer.model.run import Array, FloatArray, Status, TensorInfo
from analyzer.numerics.elementwise import element_sums
from analyzer.numerics.singular_values import spectrum
from analyzer.numerics.sketches import SketchKey
from analyzer.numerics.sums import LEAST_SQUARE, Counts, ElementSums
from analyzer.tensors.kinds import matrices, unsupported_reason
from analyzer.tensors.low_rank import product_spectrum

Decompose = Callable[[Sequence[Array]], Sequence[Spectrum]]
ResultT = TypeVar("ResultT")

_counts_of = lru_cache(maxsize=256)(counts_of)


@dataclass(frozen=True, slots=True)
class Observed:
    """The results of one checkpoint that later ones can reuse; ``spectral`` holds spectra and derived values by matrix.

    ``sums`` are None if none were computed.
    """

    state: State
    sums: ElementSums | None
    spectral: Mapping[tuple[Need, str], Any]


class Observer:
    """One tensor at one checkpoint with its other states; computes each need once, when it is first requested.

    It is the :class:`analyzer.metrics.needs.Observed` that the needs are computed from.

    Args:
        info: the tensor.
        states: by role; a role that does not exist is absent, a state that could not be read is None.
        interval: optimization steps since the previous checkpoint.
        needs: all needs that metrics will request, so that one walk over the elements serves them all.
        earlier: what can be reused of the other states, by role, as far as available.
        decompose: computes the spectra of several matrices on another device.
        key: the key of the step's sketch, if a need is one.
    """

    def __init__(
        self,
        info: TensorInfo,
        states: Mapping[Role, State | None],
        interval: Interval,
        needs: frozenset[Need],
        earlier: Mapping[Role, Observed],
        decompose: Decompose | None = None,
        key: SketchKey | None = None,
    ) -> None:
        current = states[CURRENT]
        assert current is not None  # nothing is observed of a state that could not be read
        self.state: State = current
        self.states = states
        self.views = matrices(info)
        self.interval = interval
        self.counts: Counts = _counts_of(needs)
        self.is_floating = unsupported_reason(info) is None
        self._earlier = earlier
        self._decompose = decompose
        self._key = key if STEP_SKETCH in needs else None
        self._sums = current.sums if isinstance(current, Summarized) else None
        self._cache: dict[tuple[Need, str], Any] = self._known_already(needs)
        self._of_states: dict[tuple[Callable[..., Any], Role, str], Any] = {}
        self._obstacles: dict[tuple[frozenset[Role], bool, bool], Status | None] = {}
        self._in_range: dict[Role, Status | None] = {}

    def obstacle(self, metric: Metric) -> Status | None:
        """Return the status that says why a metric cannot be computed from these states; None if it can."""
        key = (metric.roles, metric.any_bits, metric.any_dtype)
        if key not in self._obstacles:
            self._obstacles[key] = self._obstacle(*key)
        return self._obstacles[key]

    def _obstacle(self, roles: frozenset[Role], any_bits: bool, any_dtype: bool) -> Status | None:
        if not self.is_floating and not any_dtype:
            return "unsupported"
        if not roles <= self.states.keys():
            return "undefined"  # the state to compare with has no elements
        states = [self.states[role] for role in roles]
        if None in states:
            return "error"  # the state to compare with could not be read
        if any(one.shape != self.state.shape for one in states if one):
            return "undefined"  # the tensor changed its shape: no broadcasting
        if any_bits:
            return "undefined" if any(one.dtype != self.state.dtype for one in states if one) else None
        found = {self._obstacle_in_range(role) for role in roles}
        return "unsupported" if "unsupported" in found else "nonfinite" if "nonfinite" in found else None

    def _obstacle_in_range(self, role: Role) -> Status | None:
        """Check whether the squares of one state can be summed."""
        if role not in self._in_range:
            squares = self.sums().products.squares(role)
            if self._is_out_of_range(role, squares):
                self._in_range[role] = "unsupported"  # float64 weights whose squares exceed the range of float64
            else:
                self._in_range[role] = None if isfinite(squares) else "nonfinite"
        return self._in_range[role]

    def _is_out_of_range(self, role: Role, squares: float) -> bool:
        """Check whether a sum of squares overflowed, or lost digits below the normal range: only float64 can."""
        if self.state.dtype != np.float64 or LEAST_SQUARE <= squares < inf:
            return False
        if role is BEFORE_PREVIOUS or self.states[role] is None:  # its sum is that of a step, which may be zero
            return False
        largest = float(np.abs(self.array(role)).max())
        return 0 < largest < inf

    def need(self, need: Need, view: MatrixView | None) -> Any:
        """Return the argument for a metric's parameter of the need's name."""
        key = (need, view.name if view and need.matrix_only else "")
        if key not in self._cache:
            self._cache[key] = need.compute(self, view)
        return self._cache[key]

    def array(self, role: Role) -> Array:
        """Return a state in its stored dtype and shape.

        Raises:
            TypeError: the state was summarized and not kept. A need that requests an array must be declared as
                ``ServedBy.WHOLE``.
        """
        state = self.states[role]
        if not isinstance(state, Loaded):
            raise TypeError(
                f"the {role} state was read in chunks and not kept, so it has no array; declare the need that "
                "requests it as ServedBy.WHOLE"
            )
        return state.array

    def matrix(self, role: Role, view: MatrixView) -> Array:
        """Return a matrix of a state, (rows, columns), in its stored dtype."""
        array = self.array(role)
        return (array if view.index is None else array[view.index]).reshape(view.shape)

    def spectrum(self, view: MatrixView) -> Spectrum:
        """Compute the spectrum of a matrix of W_t: of a product from its factors, else on the given device."""
        if isinstance(self.state, Loaded) and self.state.factors:
            return product_spectrum(self.state.factors, self.matrix(CURRENT, view))
        if self._decompose:
            return self._decompose_all(self._decompose)[view.name]
        return spectrum(self.matrix(CURRENT, view))

    def _decompose_all(self, decompose: Decompose) -> Mapping[str, Spectrum]:
        """Compute and cache the spectra of all the tensor's matrices: small ones are decomposed together."""
        spectra = decompose([self.matrix(CURRENT, view) for view in self.views])
        found = {view.name: one for view, one in zip(self.views, spectra, strict=True)}
        self._cache |= {(SPECTRUM, name): one for name, one in found.items()}
        return found

    def of_state(self, role: Role, view: MatrixView, function: Callable[[Array], ResultT]) -> ResultT:
        """Return a function of a matrix of a state, computed once for all its roles: W_0 is also W_t or W_{t−1}."""
        state = self.states[role]
        same = next(other for other in (INITIAL, PREVIOUS, role) if self.states.get(other) is state)
        key = (function, same, view.name)
        if key not in self._of_states:
            self._of_states[key] = function(self.matrix(same, view))
        result: ResultT = self._of_states[key]
        return result

    def sums(self) -> ElementSums:
        """Return all requested sums, computed in one walk over the states of the same shape."""
        if self._sums is None:
            usable = {
                role: self.array(role)
                for role, state in self.states.items()
                if state is not None and state.shape == self.state.shape
            }
            self._sums = element_sums(
                self.array(CURRENT),
                usable.get(PREVIOUS),
                usable.get(BEFORE_PREVIOUS),
                usable.get(INITIAL),
                self.counts,
                self._known_squares(usable),
                self._key,
            )
        return self._sums

    def _known_squares(self, usable: Collection[Role]) -> dict[Role, float]:
        """Return the sums of squares that walks over earlier checkpoints computed."""
        earlier = {role: one.sums.products for role, one in self._earlier.items() if one.sums}
        known: dict[Role, float] = {}
        if PREVIOUS in earlier:
            known = {PREVIOUS: earlier[PREVIOUS].current, BEFORE_PREVIOUS: earlier[PREVIOUS].step}
        if INITIAL in earlier:
            known[INITIAL] = earlier[INITIAL].current
        return {role: squares for role, squares in known.items() if role in usable and not isnan(squares)}

    def observed(self) -> Observed:
        """Return what later checkpoints can reuse."""
        spectral = {key: value for key, value in self._cache.items() if key[0].is_spectral}
        return Observed(self.state, self._sums, spectral)

    def _known_already(self, needs: frozenset[Need]) -> dict[tuple[Need, str], Any]:
        """Return what was computed while the state was read, and the spectra of W_{t−1} if its bytes are the same."""
        current = self.state
        known: dict[tuple[Need, str], Any] = {}
        if isinstance(current, Summarized):
            known = {(need, view.name): value for view in self.views for need, value in current.of_matrix.items()}
        before = self._earlier.get(PREVIOUS)
        if before and before.spectral and before.state.content == current.content:
            same = (before.state.shape, before.state.dtype) == (current.shape, current.dtype)
            are_plain = not (_is_product(current) or _is_product(before.state))  # a product has no more σ than its rank
            if same and are_plain and any(need.is_spectral for need in needs):
                known |= before.spectral
        return known

    def additive(self) -> dict[str, tuple[float, ...]]:
        """Return the additive needs that were computed, as plain numbers by name; those of several matrices summed."""
        computed: dict[str, list[Any]] = {}
        for (need, _), value in self._cache.items():
            if need.sums:
                computed.setdefault(need.name, []).append(value)
        numbers: dict[int, tuple[float, ...]] = {}  # several needs share the same sums
        found: dict[str, tuple[float, ...]] = {}
        for name, values in computed.items():
            value = values[0] if len(values) == 1 else values[0].total([one.numbers() for one in values])
            if id(value) not in numbers:
                numbers[id(value)] = value.numbers()
            found[name] = numbers[id(value)]
        return found

    def spectra(self) -> dict[str, FloatArray]:
        """Return the singular values that were computed, by matrix name."""
        return {matrix: value.values for (need, matrix), value in self._cache.items() if need is SPECTRUM}


def _is_product(state: State) -> bool:
    return isinstance(state, Loaded) and state.factors is not None
