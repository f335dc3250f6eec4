"""What a torch file says: which of the things in it are the weights, and when in the training it was saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.formats.torch_zip import TorchFile, read_torch
from analyzer.run import TensorInfo
from analyzer.sources import open_source
from analyzer.tensors import numpy_dtype, unsupported_reason

# Where people put a model's state, the first that is there counts; else the file is that state itself.
WEIGHTS = ("state_dict", "model_state_dict", "model", "net")
DEEPEST = 16


def read_index(path: str) -> FileIndex:
    """Where each weight in a torch file lies; plain numbers and texts beside the weights are its metadata.

    Raises:
        CheckpointError: the file is damaged, or there are no weights in it.
    """
    return index_of(path, read_torch(path))


def index_of(path: str, file: TorchFile, key: str | None = None) -> FileIndex:
    """The same for a file that was opened already.

    Args:
        path: the file's path.
        file: what it holds.
        key: the entry with the weights, where that is not to be found out.

    Raises:
        CheckpointError: there are no weights in it.
    """
    tree = file.tree
    if not isinstance(tree, dict) or "param_groups" in tree:
        raise CheckpointError(_why_none(path, tree))
    chosen = next((name for name in ((key,) if key else WEIGHTS) if _weights(tree.get(name))), None)
    weights = _weights(tree if chosen is None and key is None else tree.get(chosen))
    if not weights:
        raise CheckpointError(_why_none(path, tree))
    beside = {name: value for name, value in tree.items() if isinstance(name, str) and name not in weights}
    return FileIndex(weights, dict(_texts(beside)), file.files)  # in the order of the model's own modules


def _weights(value: Any) -> dict[str, TensorInfo]:
    return dict(_flat(value)) if isinstance(value, dict) else {}


def _flat(tree: Mapping[Any, Any]) -> Iterator[tuple[str, TensorInfo]]:
    """Tensors by name; those of a dictionary inside only where it holds nothing else, as a module's state does."""
    for name, value in tree.items():
        if isinstance(name, str) and isinstance(value, TensorInfo):
            yield name, replace(value, name=name)
        elif isinstance(name, str) and _only_tensors(value):
            for inner, info in _flat(value):
                yield f"{name}.{inner}", replace(info, name=f"{name}.{inner}")


def _only_tensors(value: Any, depth: int = 0) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and depth < DEEPEST
        and all(
            isinstance(name, str) and (isinstance(inner, TensorInfo) or _only_tensors(inner, depth + 1))
            for name, inner in value.items()
        )
    )


def _texts(beside: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Plain numbers and texts, as the metadata of a safetensors file has them; of a tensor only a single number."""
    for name, value in beside.items():
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
        return f"{path}: holds the state of an optimiser and no weights; move it elsewhere"
    if isinstance(tree, dict):
        return f"{path}: holds no weights: no tensors by name, neither by themselves nor under {', '.join(WEIGHTS)}"
    return f"{path}: holds no dictionary of weights; save model.state_dict() instead of what it was made from"
