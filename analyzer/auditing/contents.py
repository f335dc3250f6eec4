"""Read every tensor of a run once: the hash of its bytes, and how many of its elements are not finite."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from analyzer.engine.executors import available_cores, run_tasks
from analyzer.engine.states import read_states
from analyzer.errors import CheckpointError
from analyzer.model.run import Checkpoint, Checksum, Part, Run, TensorInfo
from analyzer.model.tables import Problem, StoredElements
from analyzer.sources import open_source
from analyzer.tensors.kinds import is_readable, size_of, stored_parts, unsupported_reason
from analyzer.tensors.loading import is_of_all, require
from analyzer.tensors.low_rank import Factors

BATCH_BYTES = 32 << 20
ALIGNMENT = 64
BLOCK = 1 << 16  # elements
ENTRY_BLOCK = 16 << 20  # bytes

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents that were read of a run.

    ``elements`` maps checkpoint -> tensor -> what was read; ``problems`` name what could not be read. ``twins`` maps
    each checkpoint without a place to the one that has the same weights, or to None.
    """

    elements: Mapping[str, Mapping[str, StoredElements]]
    problems: tuple[Problem, ...]
    twins: Mapping[str, str | None]


def read_contents(run: Run, jobs: int | None = None, progress: Progress | None = None) -> Contents:
    """Read every tensor of every checkpoint once.

    Args:
        run: the run.
        jobs: checkpoints at a time, by default as many as there are cores.
        progress: called with (bytes done, bytes in all).
    """
    total = sum(size_of(info) for one in run.checkpoints for info in one.tensors.values())
    done = 0
    found: dict[str, dict[str, StoredElements]] = {one.name: {} for one in run.checkpoints}
    unreadable: list[tuple[int, str, str]] = []  # position, tensor, reason
    work = partial(_read, run.checkpoints)
    for position, size, contents, problems in run_tasks(range(len(run.checkpoints)), work, jobs or available_cores()):
        name = run.checkpoints[position].name
        found[name] |= contents
        unreadable.extend((position, tensor, reason) for tensor, reason in problems)
        done += size
        if progress:
            progress(done, total)
    unreadable.sort(key=itemgetter(0))
    failed = tuple((run.checkpoints[position].name, tensor, "", reason) for position, tensor, reason in unreadable)
    return Contents(found, failed, {one.name: _twin(run, one, found) for one in run.unplaced})


def _twin(run: Run, unplaced: Checkpoint, found: Mapping[str, Mapping[str, StoredElements]]) -> str | None:
    """Return the checkpoint that has the same weights; only one whose headers are alike is worth reading for it."""
    described = _described(unplaced)
    alike = [one.name for one in run.checkpoints if _described(one) == described]
    batches = _read((unplaced,), 0) if alike else ()
    held = {name: one for _, _, elements, _ in batches for name, one in elements.items()}
    if not held or len(held) < sum(map(is_readable, unplaced.tensors.values())):
        return None
    return next((name for name in alike if found[name] == held), None)


def _described(checkpoint: Checkpoint) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (info.dtype, info.shape) for name, info in checkpoint.tensors.items()}


_Batch = tuple[int, int, dict[str, StoredElements], list[tuple[str, str]]]


def _read(checkpoints: tuple[Checkpoint, ...], position: int) -> Iterator[_Batch]:
    """Yield the tensors of one checkpoint, a batch at a time: (position, bytes, contents, problems)."""
    checkpoint = checkpoints[position]
    infos = [info for info in checkpoint.tensors.values() if is_readable(info)]
    checks = _Checks(checkpoint)
    memory = np.empty(max(BATCH_BYTES, max((size_of(info) for info in infos), default=0)), dtype=np.uint8)
    for batch in _batches(infos):
        starts = np.cumsum([0, *(-(-size_of(info) // ALIGNMENT) * ALIGNMENT for info in batch)])
        memories = [memory[start : start + size_of(info)] for start, info in zip(starts, batch, strict=False)]
        contents: dict[str, StoredElements] = {}
        problems: dict[str, str] = {}
        for number, state in read_states(checkpoint, batch, memories):
            name = batch[number].name
            if isinstance(state, CheckpointError):
                problems[name] = str(state)
            elif damage := checks.damage(batch[number]):
                problems[name] = damage
            else:
                counts = _nonfinite(batch[number], state.array)
                factors = _factors(batch[number], state.factors)
                bad = tuple(name for name, matrix in factors.items() if not np.isfinite(matrix).all())
                zero = tuple(name for name, matrix in factors.items() if not matrix.any())
                contents[name] = StoredElements(state.content, *counts, bad, _is_constant(state.array), zero)
        whole = {name: content for name, content in contents.items() if name not in problems}
        yield position, sum(size_of(info) for info in batch), whole, list(problems.items())


class _Checks:
    """Check the archive entries that contain the bytes of several tensors, or bytes in another order, for damage.

    Each entry of one checkpoint is checked once, however many tensors are in it. All others are checked whenever a
    tensor is read (:mod:`analyzer.tensors.loading`).
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._stamps = {stamp.path: stamp for stamp in checkpoint.files}
        self._known: dict[tuple[str, Checksum], str | None] = {}

    def damage(self, info: TensorInfo) -> str | None:
        """Return why a tensor's elements are not those that were written, or None."""
        for part in stored_parts(info):
            if part.checksum is None or part.checksum.deflated or (is_of_all(part) and not part.strides):
                continue
            key = part.path, part.checksum
            if key not in self._known:
                self._known[key] = self._damage(part, part.checksum)
            if reason := self._known[key]:
                return reason
        return None

    def _damage(self, part: Part, checksum: Checksum) -> str | None:
        crc32 = checksum.seed
        try:
            with open_source(part.path, self._stamps.get(part.path)) as source:
                for at in range(0, checksum.length, ENTRY_BLOCK):
                    crc32 = zlib.crc32(source.read(checksum.offset + at, min(ENTRY_BLOCK, checksum.length - at)), crc32)
            require(part.path, checksum, crc32)
        except CheckpointError as error:
            return str(error)
        return None


def _batches(infos: list[TensorInfo]) -> Iterator[list[TensorInfo]]:
    """Yield neighboring small tensors together, a large one alone."""
    batch: list[TensorInfo] = []
    held = 0
    for info in infos:
        size = size_of(info) + ALIGNMENT
        if batch and held + size > BATCH_BYTES:
            yield batch
            batch, held = [], 0
        batch.append(info)
        held += size
    if batch:
        yield batch


def _factors(info: TensorInfo, factors: Factors | None) -> dict[str, npt.NDArray[np.float64]]:
    """Return the factors of a product by the names that they are stored under."""
    if not info.product or not factors:
        return {}
    return {info.product.left.name: factors.left, info.product.right.name: factors.right}


def _is_constant(array: npt.NDArray[np.generic]) -> bool:
    """Check whether all elements are equal; most tensors are seen to differ in their first block."""
    flat = array.reshape(-1)
    return all(bool((flat[start : start + BLOCK] == flat[0]).all()) for start in range(0, flat.size, BLOCK))


def _nonfinite(info: TensorInfo, array: npt.NDArray[np.generic]) -> tuple[int, int]:
    """Count the elements that are NaN or infinite, and those that are NaN; none where the dtype has no such."""
    if unsupported_reason(info):
        return 0, 0
    flat = array.reshape(-1)
    count = nan = 0
    with np.errstate(invalid="ignore"):  # widening a signalling NaN
        for start in range(0, flat.size, BLOCK):
            block = flat[start : start + BLOCK]
            wide = block if block.dtype.isbuiltin else block.astype(np.float32)  # ml-dtypes' own test is slow
            if bad := block.size - int(np.count_nonzero(np.isfinite(wide))):
                count += bad
                nan += int(np.count_nonzero(np.isnan(wide)))
    return count, nan
