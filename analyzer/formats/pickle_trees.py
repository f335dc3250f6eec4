"""The values of a parsed pickle: plain values, names for everything else, and a finite tree of them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.model.run import TensorInfo

MOST_VALUES = 10_000_000  # in the expanded tree, where a shared list counts once per reference
DEEPEST = 64
# Containers in the file itself, each of which takes some hundred bytes here: a small pickle may have a fixed number,
# a larger one as many as the dictionaries of an optimizer's state.
SMALL_COUNT, BYTES_PER_CONTAINER = 500_000, 30


@dataclass(frozen=True, slots=True)
class Unknown:
    """A placeholder with the name of a class or function in a pickle, or of what calling it would have built."""

    name: str


@dataclass(eq=False, slots=True)
class Record:
    """An object in a pickle, never built: the name of its class or of what makes it, and what is set on it.

    ``arguments`` are those of the call, ``state`` is what would become its attributes, and ``items`` are those of a
    subclass of dict.
    """

    name: str
    arguments: tuple[object, ...] = ()
    state: object = None
    items: dict[Any, Any] | None = None


class ModuleTree(dict[str, object]):
    """The parameters, buffers and child modules of a pickled torch module, in the order of its ``state_dict()``.

    A child is a :class:`ModuleTree` of its own; one without any tensor is left out.
    """


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the search for unreachable cycles while millions of values are made: it takes most of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


_SAFE_KEYS = (str, bool, float, type(None), Record)


def as_key(key: object, target: dict[Any, Any]) -> object:
    """Return a key that can be hashed quickly and safely; anything else becomes a distinct placeholder."""
    if isinstance(key, _SAFE_KEYS) or (isinstance(key, int) and abs(key) < 2**63):
        return key
    return Unknown(f"key {len(target)}, a {type(key).__name__}")


def tree(path: str, value: object, size: int) -> object:
    """Convert a value of :func:`analyzer.formats.pickles.interpret` to a tree that can be walked safely.

    The tree is finite, has at most :data:`DEEPEST` levels and no cycle, and consists of None, bool, int, float, str,
    tuple, list, dict (also for an object of a subclass), TensorInfo, :class:`ModuleTree` for a module of torch, and
    :class:`Unknown` for everything else.

    Args:
        path: the file, for messages.
        value: what the pickle describes.
        size: the bytes of the file, which bound what may come of it.

    Raises:
        CheckpointError: expanded, the tree would have more than :data:`MOST_VALUES` values, or it has more containers
            than its size explains.
    """
    return _Walker(path, SMALL_COUNT + size // BYTES_PER_CONTAINER).convert(value, 0)[0]


def _plain_key(key: object, number: int) -> object:
    """Return a key of a converted dictionary: itself, or a distinct placeholder for an object."""
    return Unknown(f"key {number}, a {key.name}") if isinstance(key, Record) else key


_PARTS = ("_parameters", "_buffers", "_modules")


def _attributes(record: Record) -> dict[Any, Any]:
    state = record.state
    if isinstance(state, tuple) and len(state) == 2:  # (attributes, slots)
        state = state[0]
    return state if isinstance(state, dict) else {}


def is_module(record: Record) -> bool:
    """Check whether an object has the attributes of torch.nn.Module (torch/nn/modules/module.py, 0.3 to 2.15)."""
    attributes = _attributes(record)
    return all(isinstance(attributes.get(part), dict) for part in _PARTS)


def _module_parts(record: Record) -> Iterator[list[tuple[str, object]]]:
    """Yield a module's parameters, persistent buffers and children, each by name.

    ``_non_persistent_buffers_set`` exists since torch 1.6.
    """
    attributes = _attributes(record)
    transient = attributes.get("_non_persistent_buffers_set")
    left_out = {name for name in transient if isinstance(name, str)} if isinstance(transient, list) else set()
    for part in _PARTS:
        named = [(name, value) for name, value in attributes[part].items() if isinstance(name, str)]
        yield [pair for pair in named if pair[0] not in left_out] if part == "_buffers" else named


_LEAVES = frozenset({bool, int, float, str, TensorInfo, Unknown})


class _Walker:
    """Converts a graph of containers to a tree; each container is converted once."""

    def __init__(self, path: str, most_containers: int) -> None:
        self.path = path
        self.most_containers = most_containers
        self.count = 0
        self.open: set[int] = set()
        self.done: dict[int, tuple[object, int, int]] = {}

    def convert(self, value: object, depth: int) -> tuple[object, int]:
        """Return the converted value and its height, 0 for a leaf."""
        self.count += 1
        if isinstance(value, Record) and not is_module(value) and value.items is not None:
            value = value.items
        if not isinstance(value, (list, tuple, dict)) and not (isinstance(value, Record) and is_module(value)):
            return self._leaf(value), 0
        if id(value) in self.open:
            return Unknown("a container inside itself"), 0
        if id(value) in self.done:
            result, height, count = self.done[id(value)]
            self._add(count)
            return (result, height) if depth + height <= DEEPEST else (Unknown("nested too deeply"), 0)
        if depth >= DEEPEST:
            return Unknown("nested too deeply"), 0
        if not isinstance(value, Record) and not value:
            return type(value)(), 1
        before = self.count
        self.open.add(id(value))
        if isinstance(value, Record):
            result, height = self._module(value, depth + 1)
        else:
            result, height = self._container(value, depth + 1)
        self.open.discard(id(value))
        self.done[id(value)] = result, height, self.count - before
        self._add(0)
        return result, height

    def _container(self, value: list[Any] | tuple[Any, ...] | dict[Any, Any], depth: int) -> tuple[object, int]:
        results: list[object] = []
        height = 0
        for item in value.values() if isinstance(value, dict) else value:
            if item is None or type(item) in _LEAVES:  # nearly all values; a call for each takes ten times as long
                self.count += 1
                results.append(item)
                continue
            result, its_height = self.convert(item, depth)
            results.append(result)
            height = max(height, its_height)
        height += 1
        if isinstance(value, dict):
            keys = (_plain_key(key, number) for number, key in enumerate(value))
            return dict(zip(keys, results, strict=True)), height
        return (results if isinstance(value, list) else tuple(results)), height

    def _module(self, record: Record, depth: int) -> tuple[object, int]:
        """Convert a module; one with two parts of one name becomes a placeholder, because one would hide the other."""
        made, height = ModuleTree(), 0
        for named in _module_parts(record):
            for name, part in named:
                inner, inner_height = self.convert(part, depth)
                if part is None or (isinstance(inner, ModuleTree) and not inner):
                    continue
                if name in made:
                    return Unknown(f"a module with two parts named {name[:80]!r}"), 0
                made[name] = inner
                height = max(height, inner_height)
        return made, height + 1

    def _leaf(self, value: object) -> object:
        if value is None or isinstance(value, (bool, int, float, str, TensorInfo, Unknown)):
            return value
        return Unknown(value.name if isinstance(value, Record) else type(value).__name__)

    def _add(self, count: int) -> None:
        self.count += count
        if len(self.done) > self.most_containers:
            raise CheckpointError(
                f"{self.path}: its pickle has more than {self.most_containers} lists and dictionaries, like an attack; "
                "save model.state_dict() alone"
            )
        if self.count > MOST_VALUES:
            raise CheckpointError(
                f"{self.path}: its pickle expands to more than {MOST_VALUES} values; save model.state_dict() alone"
            )
