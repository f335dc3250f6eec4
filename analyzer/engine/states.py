"""The states of tensors at one checkpoint: read once, hashed on the way, and checked not to have changed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from analyzer.errors import CheckpointError
from analyzer.model.run import Checkpoint, Product, TensorInfo
from analyzer.numerics.sums import Sums
from analyzer.sources import Source, open_source
from analyzer.tensors.kinds import numpy_dtype, stored_parts
from analyzer.tensors.loading import SourceOf, load_all
from analyzer.tensors.low_rank import Factors, load_factors, multiply

Memory = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class State:
    """One tensor at one checkpoint, in memory: the array in its stored dtype and shape, and its content's hash.

    ``factors`` are those of a tensor that is stored as a product; ``taken`` is what a state gave whose elements are not
    there any more.
    """

    array: npt.NDArray[Any]
    content: str
    factors: Factors | None = None
    taken: Taken | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken from a state while it went by: its sums, and needs of its matrix by name."""

    sums: Sums
    of_matrix: Mapping[str, object] = field(default_factory=dict)


def gone(info: TensorInfo, content: str, taken: Taken) -> State:
    """A state whose elements went by: its array has the shape but no memory."""
    return State(np.broadcast_to(np.zeros((), numpy_dtype(info.dtype)), info.shape), content, taken=taken)


def read_states(
    checkpoint: Checkpoint, infos: Sequence[TensorInfo], memories: Sequence[Memory]
) -> Iterator[tuple[int, State | CheckpointError]]:
    """Read some tensors of a checkpoint into memory that is lent to them.

    Args:
        checkpoint: the checkpoint.
        infos: tensors of it that :func:`analyzer.tensors.loading.is_readable`.
        memories: for each its row-major bytes.

    Yields:
        the number of a tensor and its state, or why it cannot be had, as soon as it is there; at the end, for tensors
        whose file is no longer the one that was indexed, the number again with the reason.
    """
    stamps = {stamp.path: stamp for stamp in checkpoint.files}
    stored = [number for number, info in enumerate(infos) if not info.product]
    with ExitStack() as stack:
        sources: dict[str, Source] = {}

        def source_of(path: str) -> Source:
            if path not in sources:
                sources[path] = stack.enter_context(open_source(path, stamps.get(path)))
            return sources[path]

        arrays = load_all([infos[number] for number in stored], [memories[number] for number in stored], source_of)
        for place, array in arrays:
            number = stored[place]
            yield number, array if isinstance(array, CheckpointError) else State(array, _hash(memories[number]))
        for number, info in enumerate(infos):
            if info.product:
                yield number, _product(info, info.product, memories[number], source_of)
        for source in sources.values():
            try:
                source.verify_unchanged()
            except CheckpointError as error:
                yield from ((number, error) for number, info in enumerate(infos) if _lies_in(info, source.path))


def _product(info: TensorInfo, product: Product, memory: Memory, source_of: SourceOf) -> State | CheckpointError:
    try:
        factors = load_factors(product, source_of)
    except CheckpointError as error:
        return error
    return State(multiply(factors, info.shape, memory), _hash(memory), factors)


def _lies_in(info: TensorInfo, path: str) -> bool:
    return any(part.path == path for part in stored_parts(info))


def _hash(data: Memory) -> str:
    return str(blake3(data.data).hexdigest(length=16))
