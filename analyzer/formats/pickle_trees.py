"""What a pickle may hold once it is read: plain values, bare names of all else, and a tree that can be walked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.model.run import TensorInfo

MOST_VALUES = 10_000_000  # in a tree written out, where a shared list counts as often as it is referred to
DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Unknown:
    """A class or function that a pickle names, or what it would have made: a name with nothing behind it."""

    name: str


@dataclass(eq=False, slots=True)
class Record:
    """An instance of a class that the caller knows: the arguments it was made with and the state it was given."""

    name: str
    arguments: tuple[object, ...] = ()
    state: object = None


_SURE_KEYS = (str, bool, float, type(None), Record)


def as_key(key: object, target: dict[Any, Any]) -> object:
    """A key that can be hashed quickly and safely; anything else is a placeholder of its own."""
    if isinstance(key, _SURE_KEYS) or (isinstance(key, int) and abs(key) < 2**63):
        return key
    return Unknown(f"key {len(target)}, a {type(key).__name__}")


def tree(path: str, value: object) -> object:
    """A value of :func:`analyzer.formats.pickles.interpret` that can be walked safely.

    It is finite, has at most :data:`DEEPEST` levels and no cycle, and is made of None, bool, int, float, str, tuple,
    list, dict, TensorInfo, and :class:`Unknown` for everything else.

    Raises:
        CheckpointError: written out, it would have more than :data:`MOST_VALUES` values.
    """
    return _Walker(path).finished(value, 0)[0]


class _Walker:
    """Copies a graph of containers as a tree, each container once."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.count = 0
        self.open: set[int] = set()
        self.done: dict[int, tuple[object, int, int]] = {}

    def finished(self, value: object, depth: int) -> tuple[object, int]:
        """The value and its height: 0 for what holds nothing."""
        self.count += 1
        if not isinstance(value, (list, tuple, dict)):
            return self._leaf(value), 0
        if id(value) in self.open:
            return Unknown("a container inside itself"), 0
        if id(value) in self.done:
            result, height, count = self.done[id(value)]
            self._add(count)
            return (result, height) if depth + height <= DEEPEST else (Unknown("nested too deeply"), 0)
        if depth >= DEEPEST:
            return Unknown("nested too deeply"), 0
        before = self.count
        self.open.add(id(value))
        result, height = self._container(value, depth + 1)
        self.open.discard(id(value))
        self.done[id(value)] = result, height, self.count - before
        self._add(0)
        return result, height

    def _container(self, value: list[Any] | tuple[Any, ...] | dict[Any, Any], depth: int) -> tuple[object, int]:
        inner = [self.finished(item, depth) for item in (value.values() if isinstance(value, dict) else value)]
        height = 1 + max((height for _, height in inner), default=0)
        results = (result for result, _ in inner)
        if isinstance(value, dict):
            keys = (Unknown(key.name) if isinstance(key, Record) else key for key in value)
            return dict(zip(keys, results, strict=True)), height
        return (list(results) if isinstance(value, list) else tuple(results)), height

    def _leaf(self, value: object) -> object:
        if value is None or isinstance(value, (bool, int, float, str, TensorInfo, Unknown)):
            return value
        return Unknown(value.name if isinstance(value, Record) else type(value).__name__)

    def _add(self, count: int) -> None:
        self.count += count
        if self.count > MOST_VALUES:
            raise CheckpointError(f"{self.path}: written out, its pickle has more than {MOST_VALUES} values")
