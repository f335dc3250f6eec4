"""One tensor at one checkpoint beside its earlier states, and what metrics need of them, each computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer import elementwise
from analyzer.decomposition import spectrum
from analyzer.metrics.needs import NEEDS, InnerProducts, Interval, Need, Spectrum
from analyzer.metrics.registry import Metric
from analyzer.run import Checkpoint, Status, TensorInfo
from analyzer.tensors import MatrixView, matrices, unsupported_reason

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class State:
    """One tensor at one checkpoint, in memory: the array in its stored dtype and shape, and its content's hash."""

    position: int
    array: Array
    content: str


class Trail:
    """The earlier states of one tensor that later ones are compared with."""

    def __init__(self) -> None:
        self.initial: State | None = None
        self.previous: State | None = None
        self.before_previous: State | None = None

    def advance(self, state: State) -> None:
        """Make ``state`` the latest one."""
        self.before_previous, self.previous = self.previous, state
        if self.initial is None:
            self.initial = state


class Frame:
    """One tensor at one checkpoint beside its earlier states; computes each need once, when it is first asked for."""

    def __init__(self, checkpoints: tuple[Checkpoint, ...], info: TensorInfo, state: State, trail: Trail) -> None:
        self.state = state
        self.info = info
        self.views = matrices(info)
        self.supported = unsupported_reason(info) is None
        self.states: dict[str, State | None] = {
            "current": state,
            "previous": trail.previous,
            "before_previous": trail.before_previous,
            "initial": trail.initial or state,
        }
        steps = [checkpoints[one.position].step if one else None for one in (state, trail.previous)]
        self.interval = Interval(steps[0] - steps[1] if steps[0] is not None and steps[1] is not None else None)
        self._cache: dict[tuple[str, str], Any] = {}

    def obstacle(self, metric: Metric) -> Status | None:
        """Why a metric cannot be computed from these states, as a status."""
        if not self.supported and not all(need.any_dtype for need in metric.needs):
            return "unsupported"
        states = [self.states[role] for role in metric.roles]
        if any(one is None or one.array.shape != self.state.array.shape for one in states):
            return "undefined"  # the tensor changed its shape: no broadcasting
        if all(need.any_bits for need in metric.needs):
            return "undefined" if any(one and one.array.dtype != self.state.array.dtype for one in states) else None
        products = self.products()
        squares = {
            "current": products.current,
            "previous": products.previous,
            "before_previous": products.earlier_step,
            "initial": products.initial,
        }
        return None if all(isfinite(squares[role]) for role in metric.roles) else "nonfinite"

    def need(self, need: Need, view: MatrixView | None) -> Any:
        """What a metric's parameter of this name is handed."""
        key = (need.name, view.name if view else "")
        if key not in self._cache:
            self._cache[key] = self._compute(need.name, view)
        return self._cache[key]

    def _compute(self, name: str, view: MatrixView | None) -> Any:
        if name in ("current", "previous", "initial"):
            return self._array(name)
        if view is not None:
            return self._of_matrix(name, view)
        compute: dict[str, Callable[[], Any]] = {
            "weights": self.products,
            "step": self.products,
            "consecutive_steps": self.products,
            "drift": self.products,
            "interval": lambda: self.interval,
            "elements": lambda: elementwise.element_summary(self.state.array, self.products().current),
            "finiteness": lambda: elementwise.finiteness(self.state.array, self.products().current),
            "changed_bits": lambda: elementwise.changed_bits(self.state.array, self._array("previous")),
            "sign_flips": lambda: elementwise.sign_flips(self.state.array, self._array("previous")),
        }
        return compute[name]()

    def _of_matrix(self, name: str, view: MatrixView) -> Any:
        if name == "matrix":
            return (self.state.array if view.index is None else self.state.array[view.index]).reshape(view.shape)
        if name == "singular_values":
            return self.need(NEEDS["spectrum"], view).values
        compute: Callable[[Array], Any] = {"dead_lines": elementwise.dead_lines, "spectrum": spectrum}[name]
        return compute(self.need(NEEDS["matrix"], view))

    def _array(self, role: str) -> Array:
        state = self.states[role]
        assert state is not None  # obstacle() has seen to it
        return state.array

    def products(self) -> InnerProducts:
        """All inner products, in one pass over the states of the same shape."""
        if ("products", "") not in self._cache:
            usable = {
                role: one.array if one and one.array.shape == self.state.array.shape else None
                for role, one in self.states.items()
            }
            before = usable["before_previous"] if usable["previous"] is not None else None
            self._cache["products", ""] = elementwise.inner_products(
                self.state.array, usable["previous"], before, usable["initial"]
            )
        result: InnerProducts = self._cache["products", ""]
        return result

    def sums(self) -> dict[str, tuple[float, ...]]:
        """The additive needs that were computed, as plain numbers; those of several matrices are added up."""
        result: dict[str, Any] = {}
        for (name, _), value in self._cache.items():
            if name in NEEDS and NEEDS[name].additive and name != "interval":
                result[name] = result[name] + value if name in result else value
        return {name: astuple(value) for name, value in result.items()}

    def spectra(self) -> dict[str, npt.NDArray[np.float64]]:
        """The singular values that were computed, by matrix name."""
        return {matrix: value.values for (_, matrix), value in self._cache.items() if isinstance(value, Spectrum)}
