"""What the tensors of a run hold, read once from the first byte to the last: a hash, and how many are not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from analyzer.auditing.checksums import Checks
from analyzer.engine.executors import available_cores, run_tasks
from analyzer.engine.states import read_states
from analyzer.errors import CheckpointError
from analyzer.model.run import Checkpoint, Run, TensorInfo
from analyzer.tensors.kinds import size_of, unsupported_reason
from analyzer.tensors.loading import is_readable
from analyzer.tensors.low_rank import Factors

BATCH_BYTES = 32 << 20
ALIGNMENT = 64
BLOCK = 1 << 16  # elements

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Content:
    """One tensor's elements at one checkpoint: the hash of their bytes, how many are NaN or infinite, how many NaN.

    Of one that is stored as a product, ``bad_factors`` are the names of the factors that are not finite themselves.
    """

    digest: str
    nonfinite: int
    nan: int = 0
    bad_factors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contents:
    """What was read of a run.

    ``tensors`` holds for each checkpoint (by name) its tensors by name; ``unreadable`` what could not be read, as
    (checkpoint, tensors, reason). ``unplaced`` holds the tensors of checkpoints that were left out for want of a
    place, as far as they may be copies.
    """

    tensors: Mapping[str, Mapping[str, Content]]
    unreadable: tuple[tuple[str, tuple[str, ...], str], ...]
    unplaced: Mapping[str, Mapping[str, Content]] = field(default_factory=dict)


def read_contents(run: Run, jobs: int | None = None, progress: Progress | None = None) -> Contents:
    """Read every tensor of every checkpoint once.

    Args:
        run: the run.
        jobs: checkpoints at a time, by default as many as there are cores.
        progress: called with (bytes done, bytes in all).
    """
    total = sum(size_of(info) for one in run.checkpoints for info in one.tensors.values())
    done = 0
    found: dict[str, dict[str, Content]] = {one.name: {} for one in run.checkpoints}
    unreadable: list[tuple[str, tuple[str, ...], str]] = []
    work = partial(_read, run.checkpoints)
    for position, size, contents, problems in run_tasks(range(len(run.checkpoints)), work, jobs or available_cores()):
        name = run.checkpoints[position].name
        found[name] |= contents
        reasons: dict[str, list[str]] = {}
        for tensor, reason in problems:
            reasons.setdefault(reason, []).append(tensor)
        unreadable.extend((name, tuple(tensors), reason) for reason, tensors in reasons.items())
        done += size
        if progress:
            progress(done, total)
    places = {one.name: position for position, one in enumerate(run.checkpoints)}
    kinds = [_described(one) for one in run.checkpoints]
    unplaced = {one.name: _read_whole(one) for one in run.unplaced if _described(one) in kinds}
    return Contents(found, tuple(sorted(unreadable, key=lambda item: (places[item[0]], item[1:]))), unplaced)


def _described(checkpoint: Checkpoint) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (info.dtype, info.shape) for name, info in checkpoint.tensors.items()}


def _read_whole(checkpoint: Checkpoint) -> dict[str, Content]:
    """What can be read of a checkpoint's tensors."""
    return {name: one for _, _, contents, _ in _read((checkpoint,), 0) for name, one in contents.items()}


_Batch = tuple[int, int, dict[str, Content], list[tuple[str, str]]]


def _read(checkpoints: tuple[Checkpoint, ...], position: int) -> Iterator[_Batch]:
    """The tensors of one checkpoint, a batch at a time: (position, bytes, contents, problems)."""
    checkpoint = checkpoints[position]
    infos = [info for info in checkpoint.tensors.values() if is_readable(info)]
    checks = Checks(checkpoint)
    memory = np.empty(max(BATCH_BYTES, max((size_of(info) for info in infos), default=0)), dtype=np.uint8)
    for batch in _batches(infos):
        starts = np.cumsum([0, *(-(-size_of(info) // ALIGNMENT) * ALIGNMENT for info in batch)])
        memories = [memory[start : start + size_of(info)] for start, info in zip(starts, batch, strict=False)]
        contents: dict[str, Content] = {}
        problems: dict[str, str] = {}
        for number, state in read_states(checkpoint, batch, memories):
            name = batch[number].name
            if isinstance(state, CheckpointError):
                problems[name] = str(state)
            elif damage := checks.damage(batch[number]):
                problems[name] = damage
            else:
                counts = _nonfinite(batch[number], state.array)
                contents[name] = Content(state.content, *counts, _bad_factors(batch[number], state.factors))
        whole = {name: content for name, content in contents.items() if name not in problems}
        yield position, sum(size_of(info) for info in batch), whole, list(problems.items())


def _batches(infos: list[TensorInfo]) -> Iterator[list[TensorInfo]]:
    """Neighbouring small tensors together, a large one alone."""
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


def read_tensor(checkpoint: Checkpoint, name: str) -> Content | None:
    """One tensor of a checkpoint; None where there is none, or it cannot be read."""
    info = checkpoint.tensors.get(name)
    if info is None or not is_readable(info):
        return None
    only = replace(checkpoint, tensors={name: info})
    return _read_whole(only).get(name)


def _bad_factors(info: TensorInfo, factors: Factors | None) -> tuple[str, ...]:
    if not info.product or not factors:
        return ()
    pairs = ((info.product.left, factors.left), (info.product.right, factors.right))
    return tuple(factor.name for factor, matrix in pairs if not np.isfinite(matrix).all())


def _nonfinite(info: TensorInfo, array: npt.NDArray[np.generic]) -> tuple[int, int]:
    """How many elements are NaN or infinite, and how many of them NaN; none where the dtype has no such."""
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
