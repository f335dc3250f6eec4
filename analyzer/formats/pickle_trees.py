"""The values of a parsed pickle: plain values, names for everything else, and a finite tree of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.model.run import TensorInfo

MOST_VALUES = 10_000_000  # in the expanded tree, where a shared list counts once per reference
DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Unknown:
    """A placeholder with the name of a class or function in a pickle, or of what calling it would have built."""

    name: str


@dataclass(eq=False, slots=True)
class Record:
    """An instance of a class that the caller knows: the arguments of its constructor and the state set on it."""

    name: str
    arguments: tuple[object, ...] = ()
    state: object = None


_SAFE_KEYS = (str, bool, float, type(None), Record)


def as_key(key: object, target: dict[Any, Any]) -> object:
    """Return a key that can be hashed quickly and safely; anything else becomes a distinct placeholder."""
    if isinstance(key, _SAFE_KEYS) or (isinstance(key, int) and abs(key) < 2**63):
        return key
    return Unknown(f"key {len(target)}, a {type(key).__name__}")


def tree(path: str, value: object) -> object:
    """Convert a value of :func:`analyzer.formats.pickles.interpret` to a tree that can be walked safely.

    The tree is finite, has at most :data:`DEEPEST` levels and no cycle, and consists of None, bool, int, float, str,
    tuple, list, dict, TensorInfo, and :class:`Unknown` for everything else.

    Raises:
        CheckpointError: expanded, the tree would have more than :data:`MOST_VALUES` values.
    """
    return _Walker(path).convert(value, 0)[0]


class _Walker:
    """Converts a graph of containers to a tree; each container is converted once."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.count = 0
        self.open: set[int] = set()
        self.done: dict[int, tuple[object, int, int]] = {}

    def convert(self, value: object, depth: int) -> tuple[object, int]:
        """Return the converted value and its height, 0 for a leaf."""
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
        inner = [self.convert(item, depth) for item in (value.values() if isinstance(value, dict) else value)]
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
            raise CheckpointError(
                f"{self.path}: its pickle expands to more than {MOST_VALUES} values; save model.state_dict() alone"
            )
