"""Tell what the top level of a torch file holds: weights, averages of them, states of an optimizer, or other things."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analyzer.formats.pickle_trees import ModuleTree, Unknown
from analyzer.model.run import TensorInfo

# Usual keys of a model's state; the first that holds weights is read.
WEIGHTS = (
    *("state_dict", "model_state_dict", "model", "net", "network_weights", "model_state", "network", "module"),
    *("params", "weights"),
)
_OBJECTS = WEIGHTS[:4]  # under these, an object that is no module is a model that cannot be read
# Averages of the weights, kept beside them: ema, model_ema, ema_state_dict, G_ema, params_ema, swa_model.
_AVERAGED = re.compile(r"(?:.*[_.-])?(?:ema|swa|averaged?|shadow)(?:[_.-].*)?", re.IGNORECASE)
_MARK = re.compile(r"(?:^|[_.-])(?:ema|swa|averaged?|shadow)(?![a-z])", re.IGNORECASE)
_NOT_WEIGHTS = re.compile(r"(?:.*[_.-])?(?:optim\w*|opt|rng\w*|random(?:_states?)?)(?:[_.-].*)?", re.IGNORECASE)
# What optimizers keep of each parameter (torch.optim, apex).
_OF_OPTIMIZERS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "square_avg", "acc_delta")
DEEPEST = 16


@dataclass(frozen=True, slots=True)
class Choice:
    """The top-level keys of a file that are read.

    ``first`` is the key of the weights that keep their names, None if there is none. ``parts`` are read with their key
    as a prefix, ``others`` hold tensors too and are not read.
    """

    first: str | None
    parts: tuple[str, ...]
    others: tuple[str, ...]


class TopLevel:
    """The top level of a torch file, a dictionary."""

    def __init__(self, tree: Mapping[Any, Any]) -> None:
        self.tree = tree
        self.known: dict[int, bool] = {}

    def choose(self) -> Choice:
        """Return what is read: the weights, and whatever holds other weights of the same model or another network."""
        named = {name: value for name, value in self.tree.items() if isinstance(name, str)}
        states = [name for name, value in named.items() if self._is_state(name, value)]
        averages = [name for name in states if _AVERAGED.fullmatch(name)]
        first = self._first(states, averages)
        unread = self._copies(states, averages, first)
        if first is None and averages and averages == states and not any(map(_is_tensor, named.values())):
            first = averages[0]  # nothing but averages
        parts = [name for name in states if name != first and name not in unread]
        if first is not None:
            parts = [name for name in parts if not _only_numbers(named[name])]
        others = [
            name
            for name, value in named.items()
            if name in unread or (name != first and name not in parts and self._is_loose(name, value, first))
        ]
        return Choice(first, tuple(parts), tuple(others))

    def _copies(self, states: list[str], averages: list[str], first: str | None) -> set[str]:
        """Return the states that are other versions of what is read: averages, or a second one under a usual name."""
        if first is None:
            return {name for name in averages if _MARK.sub("", name).strip("_.-") in states}
        return {name for name in states if name != first and (name in averages or name in WEIGHTS)}

    def object_of_weights(self) -> tuple[str, str] | None:
        """Return (key, class) of an object that should hold the weights but is no module that can be read."""
        for name in _OBJECTS:
            if isinstance(value := self.tree.get(name), Unknown):
                return name, value.name
        return None

    def _first(self, states: list[str], averages: list[str]) -> str | None:
        """Return the key of the weights; a pickled average comes before the module, as in ultralytics."""
        trained = next((name for name in WEIGHTS if name in states), None)
        is_pickled = "ema" in averages and isinstance(self.tree["ema"], ModuleTree)
        return "ema" if is_pickled and isinstance(self.tree.get(trained, ModuleTree()), ModuleTree) else trained

    def _is_state(self, name: str, value: Any) -> bool:
        """Check whether a value is a model's state: a module, or a dictionary of almost nothing but tensors."""
        if isinstance(value, ModuleTree):
            return bool(value)
        if not isinstance(value, dict) or "param_groups" in value or _NOT_WEIGHTS.fullmatch(name):
            return False
        if name in WEIGHTS:
            return self._has_weights(value)
        if _holds_optimizer(value):
            return False
        tensors = sum(isinstance(key, str) and isinstance(inner, TensorInfo) for key, inner in value.items())
        return only_tensors(value, 0, self.known) or tensors > len(value) - tensors

    def _has_weights(self, value: Mapping[Any, Any]) -> bool:
        return any(
            isinstance(name, str) and (isinstance(inner, TensorInfo) or only_tensors(inner, 0, self.known))
            for name, inner in value.items()
        )

    def _is_loose(self, name: str, value: Any, first: str | None) -> bool:
        """Check whether a value that is not read holds tensors that may be weights."""
        if _NOT_WEIGHTS.fullmatch(name):
            return False
        if isinstance(value, TensorInfo):
            return first is not None and value.shape != ()
        return isinstance(value, dict) and not _holds_optimizer(value) and self._has_weights(value)


def is_random_state(name: object, value: Any) -> bool:
    """Check whether a tensor at the top level is the state of a random number generator."""
    is_bytes = isinstance(value, TensorInfo) and value.dtype == "uint8"
    return is_bytes and isinstance(name, str) and _NOT_WEIGHTS.fullmatch(name) is not None


def _is_tensor(value: Any) -> bool:
    return isinstance(value, TensorInfo)


def _only_numbers(value: Any) -> bool:
    """Check whether a state's tensors are all single numbers, as those of metrics are."""
    return all(isinstance(inner, TensorInfo) and inner.shape == () for inner in value.values())


def _holds_optimizer(value: Mapping[Any, Any], depth: int = 0) -> bool:
    """Check whether a dictionary is an optimizer's state, by the names it would have inside."""
    if "param_groups" in value:
        return True
    return any(
        (isinstance(name, str) and name.rpartition(".")[2] in _OF_OPTIMIZERS)
        or (isinstance(inner, dict) and depth < 2 and _holds_optimizer(inner, depth + 1))
        for name, inner in value.items()
    )


def only_tensors(value: Any, depth: int, known: dict[int, bool]) -> bool:
    """Check whether a value is a dictionary of tensors and such dictionaries; ``known`` caches answers by identity."""
    if isinstance(value, ModuleTree):
        return bool(value)
    if not isinstance(value, dict) or not value or depth == DEEPEST:
        return False
    if id(value) not in known:
        known[id(value)] = all(
            isinstance(name, str) and (isinstance(inner, TensorInfo) or only_tensors(inner, depth + 1, known))
            for name, inner in value.items()
        )
    return known[id(value)]
