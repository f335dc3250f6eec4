"""States of tensors at one checkpoint: read once, hashed while they are read, and checked not to have changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from blake3 import blake3

from analyzer.errors import CheckpointError
from analyzer.metrics.needs import Need
from analyzer.model.run import Array, ByteArray, Checkpoint, Product, TensorInfo
from analyzer.numerics.sums import ElementSums
from analyzer.sources import Source, open_source
from analyzer.tensors.kinds import stored_parts
from analyzer.tensors.loading import SourceOf, load_all
from analyzer.tensors.low_rank import Factors, load_factors, multiply


@dataclass(frozen=True, slots=True)
class Loaded:
    """One tensor at one checkpoint, in memory: the array in its stored dtype and shape, and the hash of its content.

    ``factors`` are those of a tensor that is stored as a product.
    """

    array: Array
    content: str
    factors: Factors | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored dtype of the tensor."""
        return self.array.dtype


@dataclass(frozen=True, slots=True)
class Summarized:
    """One tensor at one checkpoint that was read in chunks and not kept: it has sums, but no array.

    ``of_matrix`` are the needs of its matrix that were computed while it was read.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    content: str
    sums: ElementSums
    of_matrix: Mapping[Need, object] = field(default_factory=dict)


State = Loaded | Summarized


def read_states(
    checkpoint: Checkpoint, infos: Sequence[TensorInfo], memories: Sequence[ByteArray]
) -> Iterator[tuple[int, Loaded | CheckpointError]]:
    """Read some tensors of a checkpoint into the given memory.

    Args:
        checkpoint: the checkpoint.
        infos: tensors of it that :func:`analyzer.tensors.kinds.is_readable`.
        memories: for each tensor, memory for its row-major bytes.

    Yields:
        the index of a tensor and its state, or the error that prevents reading it, as soon as it is available. At the
        end, for tensors whose file has changed since it was indexed, the index again with an error.
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
            yield number, array if isinstance(array, CheckpointError) else Loaded(array, _hash(memories[number]))
        for number, info in enumerate(infos):
            if info.product:
                yield number, _read_product(info, info.product, memories[number], source_of)
        for source in sources.values():
            try:
                source.verify_unchanged()
            except CheckpointError as error:
                for number, info in enumerate(infos):
                    if any(part.path == source.path for part in stored_parts(info)):
                        yield number, error


def _read_product(
    info: TensorInfo, product: Product, memory: ByteArray, source_of: SourceOf
) -> Loaded | CheckpointError:
    try:
        factors = load_factors(product, source_of)
    except CheckpointError as error:
        return error
    return Loaded(multiply(factors, info.shape, memory), _hash(memory), factors)


def _hash(data: ByteArray) -> str:
    return str(blake3(data.data).hexdigest(length=16))
