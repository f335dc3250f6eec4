"""Find the weights in the content of a torch file, and the plain values saved with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from math import prod
from typing import Any

import numpy as np

from analyzer.errors import CheckpointError, NotACheckpointError
from analyzer.formats import FileIndex
from analyzer.formats.torch_zip import TorchFile, read_torch
from analyzer.model.names import printable
from analyzer.model.run import TensorInfo
from analyzer.sources import open_source
from analyzer.tensors.kinds import numpy_dtype, unsupported_reason

# Usual keys of a model's state; the first that exists is read. Without one, the file itself is taken for the state.
WEIGHTS = ("state_dict", "model_state_dict", "model", "net")
DEEPEST = 16
MOST_TENSORS, MOST_CHARACTERS, MOST_TEXTS = 500_000, 1 << 27, 1000
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
        key: the key of the weights; None to try :data:`WEIGHTS` and then the file itself.

    Raises:
        NotACheckpointError: the file contains the state of an optimizer and nothing else.
        CheckpointError: the file contains no weights.
    """
    tree = file.tree
    if is_training_state(tree):
        raise NotACheckpointError(_why_none(path, tree))
    if not isinstance(tree, dict) or "param_groups" in tree:
        raise CheckpointError(_why_none(path, tree))
    places = [tree.get(name) for name in ((key,) if key else WEIGHTS)] + ([] if key else [tree])
    limit = max(MOST_BYTES, MOST_TIMES * sum(stamp.size for stamp in file.files))
    weights = next((found for place in places if (found := _weights(path, place, limit))), None)
    if weights is None:
        raise CheckpointError(_why_none(path, tree))
    others = ((name, value) for name, value in tree.items() if isinstance(name, str) and name not in weights)
    metadata = dict(_texts(islice(others, MOST_TEXTS)))
    return FileIndex(weights, metadata, file.files)  # in the order of the model's own modules


def is_training_state(tree: object) -> bool:
    """Check whether a file's content is the state of an optimizer, alone or with nothing but plain values and texts."""
    if not isinstance(tree, dict):
        return False
    if "param_groups" in tree:
        return True
    states = [value for value in tree.values() if isinstance(value, dict) and "param_groups" in value]
    plain = [value for value in tree.values() if value is None or isinstance(value, int | float | str)]
    return bool(states) and len(states) + len(plain) == len(tree)


def _weights(path: str, value: Any, most_bytes: int) -> dict[str, TensorInfo]:
    weights: dict[str, TensorInfo] = {}
    characters = cost = 0
    for name, info in _flat(value, "", {}) if isinstance(value, dict) else ():
        if name in weights:
            raise CheckpointError(f"{path}: two of its tensors are named {printable(name, 80)}; rename one of them")
        weights[name] = replace(info, name=name)
        characters += len(name)
        cost += _cost(info)
        # A small file can refer to the same tensors, or to the same long name, many times.
        if len(weights) > MOST_TENSORS or characters > MOST_CHARACTERS:
            raise CheckpointError(
                f"{path}: refers to tensors more than {MOST_TENSORS} times, or by names of more than "
                f"{MOST_CHARACTERS} characters in all; save model.state_dict() alone"
            )
        if cost > most_bytes:
            raise CheckpointError(
                f"{path}: refers to its bytes so often that reading all tensors takes {cost >> 30} GiB; "
                "save model.state_dict() alone"
            )
    return weights


def _cost(info: TensorInfo) -> int:
    """Return the bytes read for a tensor or the bytes of its array, whichever is more."""
    if info.unsupported:
        return 0
    return max(prod(info.shape) * numpy_dtype(info.dtype).itemsize, sum(part.length for part in info.parts))


def _flat(tree: Mapping[Any, Any], prefix: str, known: dict[int, bool]) -> Iterator[tuple[str, TensorInfo]]:
    """Yield tensors by name; nested dictionaries count only if they contain nothing else, as a module's state does."""
    for name, value in tree.items():
        if isinstance(name, str) and isinstance(value, TensorInfo):
            yield f"{prefix}{name}", value
        elif isinstance(name, str) and _only_tensors(value, 0, known):
            yield from _flat(value, f"{prefix}{name}.", known)


def _only_tensors(value: Any, depth: int, known: dict[int, bool]) -> bool:
    """Check whether a value is a dictionary of tensors and such dictionaries; ``known`` caches answers by identity."""
    if not isinstance(value, dict) or not value or depth == DEEPEST:
        return False
    if id(value) not in known:
        known[id(value)] = all(
            isinstance(name, str) and (isinstance(inner, TensorInfo) or _only_tensors(inner, depth + 1, known))
            for name, inner in value.items()
        )
    return known[id(value)]


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
    if isinstance(tree, dict):
        return (
            f"{path}: contains no weights: no named tensors, neither at the top level nor under {', '.join(WEIGHTS)}; "
            "move it elsewhere, or save model.state_dict()"
        )
    return f"{path}: does not contain a dictionary of weights; save model.state_dict() instead of the object itself"
