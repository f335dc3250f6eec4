"""Walks tensors through time: bytes are read once, save where a walk is cut, and at most four states are held.

The unit of work is a bundle: one large tensor, or neighbouring small ones. Tasks carry file ranges, never arrays. No
state of one checkpoint's arithmetic enters the next, so any number of jobs and any cutting gives the same bits.

There are three ways to go, which give the same bits too. The general one holds four states of a tensor as a whole.
Where all states are plain ranges of files here and nothing is wanted that needs a whole state, a tensor is taken piece
by piece through time, and a tall matrix with its spectra slab by slab, which needs far less memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from analyzer.cutting import slab_of
from analyzer.errors import CheckpointError
from analyzer.frame import Decompose
from analyzer.loading import is_readable
from analyzer.metrics.registry import Metric
from analyzer.pieces import SUMMED_NEEDS, sums_through_time
from analyzer.planning import ROLES, SHORTEST_STRETCH, Task, size_of
from analyzer.run import Checkpoint
from analyzer.slabs import SLAB_NEEDS, SLABS_HELD, walk_slabs
from analyzer.states import read_states
from analyzer.store import Observation
from analyzer.streams import Stream
from analyzer.tensors import matrices, numpy_dtype

ALIGNMENT = 64
# Checkpoints whose slabs are walked through together: the more, the more Gram matrices are held, and the longer nothing
# is kept and no progress is seen; the fewer, the more often W_0, W_{t−2} and W_{t−1} are read again.
MOST_TOGETHER = 4

Memory = npt.NDArray[np.uint8]


def walk(task: Task, metrics: Mapping[str, Metric], decompose: Decompose | None = None) -> Iterator[Observation]:
    """Walk the task's tensors through time; a tensor that cannot be read yields rows with a status.

    Args:
        task: what :func:`analyzer.planning.plan` made.
        metrics: the metrics by name.
        decompose: gives the spectra of several matrices elsewhere than on the CPU.
    """
    whole: list[Stream] = []
    for stream in (Stream(task, name, metrics, decompose) for name in task.wanted):
        if _take_by_pieces(stream):
            yield from stream.observe_all()
        elif not decompose and (together := _slabs_together(stream)):
            for portion in stream.portions(together):
                yield from portion.observe_all() if _take_by_slabs(portion) else _walk_whole([portion])
        else:
            whole.append(stream)
    if whole:
        yield from _walk_whole(whole)


def _take_by_pieces(stream: Stream) -> bool:
    """Take all sums ahead, where nothing else is wanted of the stream; False where some state needs another look."""
    series = stream.plain_series()
    if series is None or not stream.needs() <= SUMMED_NEEDS:
        return False
    try:
        states = sums_through_time(series.infos, series.checkpoints, stream.needs())
    except CheckpointError:
        return False  # the general way tells which state it is, and goes on with the others
    return stream.take(series, states)


def _slabs_together(stream: Stream) -> int:
    """How many checkpoints of a stream can be walked through together slab by slab; 0 where that is no way to go.

    Their Gram matrices have to find room where four whole states would be.
    """
    series = stream.plain_series()
    needs = stream.needs()
    if series is None or needs <= SUMMED_NEEDS or not needs <= SLAB_NEEDS or series.infos[0].dtype == "float64":
        return 0
    shape = series.infos[0].shape
    slab = slab_of(shape) * numpy_dtype(series.infos[0].dtype).itemsize
    is_one_matrix = [view.shape for view in matrices(series.infos[0])] == [(shape[0], prod(shape[1:]))]
    if not is_one_matrix or slab == stream.largest:
        return 0
    room = SLABS_HELD * (stream.largest - slab) // (8 * prod(shape[1:]) ** 2)
    together = min(room, MOST_TOGETHER)
    return together if together >= min(SHORTEST_STRETCH, len(stream.wanted)) else 0


def _take_by_slabs(stream: Stream) -> bool:
    """Take sums and spectra of a stream ahead; False where some state needs another look."""
    series = stream.plain_series()
    if series is None:
        return False
    slab = slab_of(series.infos[0].shape) * numpy_dtype(series.infos[0].dtype).itemsize
    needs = [stream.needs_at(position) for position in series.positions]
    try:
        states = walk_slabs(series.infos, series.checkpoints, needs, _lend(slab))
    except (CheckpointError, np.linalg.LinAlgError):
        return False  # the general way tells of which state that is true, and goes on with the others
    return stream.take(series, states)


def _walk_whole(streams: Sequence[Stream]) -> Iterator[Observation]:
    """The general way: several tensors of a task together, each held as a whole."""
    sizes = [-(-stream.largest // ALIGNMENT) * ALIGNMENT for stream in streams]
    starts = np.cumsum([0, *sizes])
    slots = _lend(int(starts[-1]))
    for stream, start in zip(streams, starts[:-1], strict=True):
        stream.memory = [slot[start : start + stream.largest] for slot in slots]
    for position in sorted(set().union(*(stream.last_use for stream in streams))):
        looking = [stream for stream in streams if position in stream.last_use]
        _read(looking, looking[0].checkpoints[position], position)
        for stream in streams:
            if position in stream.wanted:
                yield stream.observe(position)


class _Arena(threading.local):
    """Memory of one thread for four states of a bundle, used again from bundle to bundle.

    To have fresh memory from the system for each read costs four times as much as the read itself.
    """

    def __init__(self) -> None:
        self.slots = [np.empty(0, dtype=np.uint8) for _ in ROLES]


_arena = _Arena()


def _lend(size: int) -> list[Memory]:
    """The arena's slots, each of at least ``size`` bytes."""
    slots = _arena.slots
    for number in range(len(slots)):
        if len(slots[number]) < size:
            slots[number] = np.empty(0, dtype=np.uint8)  # the old one goes before the new one comes
            slots[number] = np.empty(size, dtype=np.uint8)
    return slots


def _read(streams: Sequence[Stream], checkpoint: Checkpoint, position: int) -> None:
    """Read the streams' tensors of one checkpoint; an error stands in place of each that cannot be had."""
    wanted = [(stream, info) for stream in streams if (info := stream.info(position)) and is_readable(info)]
    memories = [stream.make_room(position)[: size_of(info)] for stream, info in wanted]
    for number, state in read_states(checkpoint, [info for _, info in wanted], memories):
        wanted[number][0].states[position] = state
