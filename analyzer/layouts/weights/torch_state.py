"""Find the weights in the content of a torch file, and the plain values saved with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from math import prod
from typing import Any

import numpy as np

from analyzer.errors import CheckpointError, NotACheckpointError
from analyzer.formats import FileIndex, require_short_name
from analyzer.formats.pickle_trees import ModuleTree, Unknown
from analyzer.formats.torch_zip import TorchFile, read_torch
from analyzer.layouts.weights.containers import WEIGHTS, Choice, TopLevel, is_random_state, only_tensors
from analyzer.layouts.weights.trainer_values import trainer_values
from analyzer.model.names import printable
from analyzer.model.run import TensorInfo
from analyzer.sources import open_source
from analyzer.tensors.kinds import numpy_dtype, unsupported_reason

MOST_TENSORS, MOST_CHARACTERS, MOST_TEXTS = 500_000, 1 << 27, 1000
MOST_UNREADABLE = 100  # names of a module's tensors that are not read
# Limit on the bytes needed to read all tensors: this many, or this many times the file's size.
MOST_BYTES, MOST_TIMES = 64 << 30, 1000


def read_index(path: str) -> FileIndex:
    """Index the weights in a torch file; plain numbers and strings saved with them become metadata.

    Raises:
        CheckpointError: the file is damaged, or contains no weights.
    """
    return index_of(path, read_torch(path))


def index_of(path: str, file: TorchFile, key: str | None = None) -> FileIndex:
    """Index the weights in a torch file that is already open, as :func:`read_index` does.

    Args:
        path: the file's path.
        file: its content.
        key: the key of the weights, which alone are read then; None to look for them (:class:`TopLevel`).

    Raises:
        NotACheckpointError: the file contains the state of an optimizer and nothing else.
        CheckpointError: the file contains no weights.
    """
    tree = _unwrapped(file.tree) if key is None else file.tree
    if is_training_state(tree):
        raise NotACheckpointError(_why_none(path, tree))
    if not isinstance(tree, dict):
        raise CheckpointError(_why_none(path, tree))
    choice = _choice(path, tree, key)
    collected = _Collected(path, max(MOST_BYTES, MOST_TIMES * sum(stamp.size for stamp in file.files)))
    others = [*choice.others]
    if isinstance(tree, ModuleTree):
        collected.add(tree, "")
    elif choice.first is None:
        _add_networks(collected, tree, choice)
    else:
        collected.add(tree[choice.first], "")
        # A part whose tensors the weights themselves contain would be read twice.
        others += [name for name in choice.parts if not collected.add_part(name, tree[name])]
    if not collected.weights:
        raise CheckpointError(_why_none(path, tree))
    metadata = {} if isinstance(tree, ModuleTree) else _metadata(tree, collected.weights)
    others += collected.unreadable
    read_from = choice.first or ""
    return FileIndex(collected.weights, metadata, file.files, read_from, tuple(others))


def _unwrapped(tree: Any) -> Any:
    """Return a file's content with the state of the training in place of ``state``, as Composer wraps it.

    It saves {"state": {"model": ..., "optimizers": ..., "timestamp": ...}, "rng": ...} (composer/utils/checkpoint.py).
    """
    state = tree.get("state") if isinstance(tree, dict) and not isinstance(tree, ModuleTree) else None
    if not isinstance(state, dict) or isinstance(state, ModuleTree) or not isinstance(state.get("model"), dict):
        return tree
    return {**{name: value for name, value in tree.items() if name != "state"}, **state}


def _choice(path: str, tree: dict[Any, Any], key: str | None) -> Choice:
    """Return what is read of a file.

    Raises:
        CheckpointError: the weights are in an object that cannot be read.
    """
    if isinstance(tree, ModuleTree):
        return Choice(None, (), ())
    if key is not None:
        if not isinstance(tree.get(key), dict):
            raise CheckpointError(_why_none(path, tree))
        return Choice(key, (), ())
    top = TopLevel(tree)
    choice = top.choose()
    if choice.first is None and (found := top.object_of_weights()):
        name, kind = found
        raise CheckpointError(
            f"{path}: its {name} is an object of {printable(kind, 80)}, which is no module of torch; save "
            "model.state_dict() instead of the object itself"
        )
    return choice


def _add_networks(collected: _Collected, tree: Mapping[Any, Any], choice: Choice) -> None:
    """Add the tensors and networks of a file that has none of the usual keys, in their order."""
    for name, value in tree.items():
        if name in choice.parts:
            collected.add(value, f"{name}.")
        elif isinstance(value, TensorInfo) and not is_random_state(name, value):
            collected.add({name: value}, "")


def _metadata(tree: Mapping[Any, Any], weights: Mapping[str, TensorInfo]) -> dict[str, str]:
    others = ((name, value) for name, value in tree.items() if isinstance(name, str) and name not in weights)
    metadata = dict(_texts(islice(others, MOST_TEXTS)))
    return trainer_values(tree, metadata)


def is_training_state(tree: object) -> bool:
    """Check whether a file's content is the state of an optimizer, alone or with nothing but plain values and texts."""
    if not isinstance(tree, dict) or isinstance(tree, ModuleTree):
        return False
    if "param_groups" in tree:
        return True
    states = [value for value in tree.values() if isinstance(value, dict) and "param_groups" in value]
    plain = [value for value in tree.values() if value is None or isinstance(value, int | float | str)]
    return bool(states) and len(states) + len(plain) == len(tree)


class _Collected:
    """The tensors of a file by name, in the order of the model's own modules, within limits."""

    def __init__(self, path: str, most_bytes: int) -> None:
        self.path = path
        self.most_bytes = most_bytes
        self.weights: dict[str, TensorInfo] = {}
        self.unreadable: list[str] = []
        self.characters = self.cost = 0
        self.known: dict[int, bool] = {}

    def add_part(self, key: str, value: Any) -> bool:
        """Add a network's tensors, their names prefixed by its key; return False if these names exist already."""
        prefix = f"{key}."
        if any(name.startswith(prefix) for name in self.weights):
            return False
        self.add(value, prefix)
        return True

    def add(self, value: Any, prefix: str) -> None:
        """Add the tensors of a state.

        Raises:
            CheckpointError: two have the same name, or there are too many.
        """
        for name, info in self._flat(value, prefix):
            if name in self.weights:
                raise CheckpointError(
                    f"{self.path}: two of its tensors are named {printable(name, 80)}; rename one of them"
                )
            self.weights[name] = replace(info, name=name)
            self.characters += len(name)
            self.cost += _cost(info)
            # A small file can refer to the same tensors, or to the same long name, many times.
            if len(self.weights) > MOST_TENSORS or self.characters > MOST_CHARACTERS:
                raise CheckpointError(
                    f"{self.path}: refers to tensors more than {MOST_TENSORS} times, or by names of more than "
                    f"{MOST_CHARACTERS} characters in all; save model.state_dict() alone"
                )
            if self.cost > self.most_bytes:
                raise CheckpointError(
                    f"{self.path}: refers to its bytes so often that reading all tensors takes {self.cost >> 30} GiB; "
                    "save model.state_dict() alone"
                )

    def _flat(self, tree: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, TensorInfo]]:
        """Yield tensors by name; nested dictionaries count only if they contain nothing else, as a module's state does.

        What a module has in place of a tensor that cannot be read is noted by name.
        """
        for name, value in tree.items():
            if not isinstance(name, str):
                continue
            require_short_name(self.path, f"{prefix}{name}")
            if isinstance(value, TensorInfo):
                yield f"{prefix}{name}", value
            elif only_tensors(value, 0, self.known):
                yield from self._flat(value, f"{prefix}{name}.")
            elif isinstance(tree, ModuleTree) and len(self.unreadable) < MOST_UNREADABLE:
                self.unreadable.append(f"{prefix}{name}")


def _cost(info: TensorInfo) -> int:
    """Return the bytes read for a tensor or the bytes of its array, whichever is more."""
    if info.unsupported:
        return 0
    return max(prod(info.shape) * numpy_dtype(info.dtype).itemsize, sum(part.length for part in info.parts))


def _texts(items: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield plain strings and numbers as text, like safetensors metadata; tensors only if they are a single number."""
    for name, value in items:
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, repr(value)
        elif isinstance(value, TensorInfo) and value.shape == () and not unsupported_reason(value):
            yield name, repr(_number(value))


def _number(info: TensorInfo) -> float:
    (part,) = info.parts
    with open_source(part.path) as source:
        data = source.read(part.offset, part.length)
    if info.big_endian:
        data.reverse()
    return float(np.frombuffer(data, numpy_dtype(info.dtype)).astype(np.float64)[0])


def _why_none(path: str, tree: Any) -> str:
    if isinstance(tree, dict) and "param_groups" in tree:
        return f"{path}: contains the state of an optimizer and no weights; move it elsewhere"
    if isinstance(tree, dict) and any(_is_array(value) for value in _values(tree)):
        return (
            f"{path}: contains numpy arrays instead of tensors; save them with numpy.savez, or as tensors: "
            "torch.from_numpy(ARRAY)"
        )
    if isinstance(tree, dict):
        return (
            f"{path}: contains no weights: no named tensors, neither at the top level nor under {', '.join(WEIGHTS)}; "
            "move it elsewhere, or save model.state_dict()"
        )
    return f"{path}: does not contain a dictionary of weights; save model.state_dict() instead of the object itself"


def _values(tree: Mapping[Any, Any]) -> Iterator[Any]:
    """Yield the values of the top level and of the usual containers."""
    yield from tree.values()
    for name in WEIGHTS:
        if isinstance(inner := tree.get(name), dict):
            yield from inner.values()


def _is_array(value: Any) -> bool:
    return isinstance(value, Unknown) and value.name.startswith("numpy.") and value.name.endswith("_reconstruct")
