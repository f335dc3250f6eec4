"""Walk tensors through time; bytes are read once, except where a walk is cut or elements need a second look.

The unit of work is a bundle: one large tensor, or neighboring small ones. Tasks carry file ranges, never arrays. No
arithmetic of one checkpoint affects the next, so any number of jobs and any cutting gives the same bits.

There are two ways, which give the same bits too. The general one keeps four whole states of a tensor in memory. If all
states are plain ranges of local files, and sums and spectra of tall matrices serve all metrics, a tensor is read chunk
by chunk through time (:mod:`.piecewise`), which is faster and needs far less memory for large tensors.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from math import prod

import numpy as np

from analyzer.engine.observing import Decompose
from analyzer.engine.piecewise import summarize_through_time
from analyzer.engine.planning import Task, checkpoints_together, needs_blocks
from analyzer.engine.states import read_states
from analyzer.engine.tensor_walk import Stream
from analyzer.errors import CheckpointError
from analyzer.metrics.registry import Metric
from analyzer.model.observed import ROLES
from analyzer.model.run import ByteArray, Checkpoint
from analyzer.numerics.blocks import MAX_BLOCK, block_size
from analyzer.store.writer import Observation
from analyzer.tensors.kinds import is_readable, size_of

ALIGNMENT = 64
# The memory that each thread reserves for states: four blocks of float32. Nothing of it is used before it is needed.
RESERVED_BYTES = 4 * 4 * MAX_BLOCK


def walk(task: Task, metrics: Mapping[str, Metric], decompose: Decompose | None = None) -> Iterator[Observation]:
    """Walk the task's tensors through time; a tensor that cannot be read gives rows with a status.

    Args:
        task: a task of :func:`analyzer.engine.planning.plan`.
        metrics: the metrics by name.
        decompose: computes the spectra of several matrices on another device.

    Yields:
        the rows of one tensor at one checkpoint, and what is stored with them.
    """
    whole: list[Stream] = []
    for stream in (Stream(task, name, metrics, decompose) for name in task.wanted):
        together = _together(stream)
        if together and not (decompose and needs_blocks(stream.needs())):
            for portion in stream.portions(together):
                yield from map(portion.observe, portion.wanted) if _summarize(portion) else _walk_whole([portion])
        else:
            whole.append(stream)
    if whole:
        yield from _walk_whole(whole)


def _together(stream: Stream) -> int:
    """Return at how many checkpoints a stream is measured in one walk over its chunks; 0 to load whole tensors."""
    states = stream.plain_states
    return checkpoints_together(states[0].info, stream.needs(), len(stream.wanted)) if states else 0


def _summarize(stream: Stream) -> bool:
    """Summarize all states of a stream; return False if some elements need a second look, or an error occurred."""
    states = stream.plain_states
    if not states:
        return False
    shape = states[0].info.shape
    size = block_size(shape) * (stream.largest // prod(shape))
    try:
        memory = _lend(size, len(stream.wanted)) if needs_blocks(stream.needs()) else []
        summaries = summarize_through_time(states, memory)
    except (CheckpointError, np.linalg.LinAlgError):
        return False  # the general way finds out which state is at fault, and measures the others
    if summaries is None:
        return False
    stream.states = {state.position: summary for state, summary in zip(states, summaries, strict=True)}
    return True


def _walk_whole(streams: Sequence[Stream]) -> Iterator[Observation]:
    """Walk several tensors of a task together, each loaded whole."""
    sizes = [-(-stream.largest // ALIGNMENT) * ALIGNMENT for stream in streams]
    starts = np.cumsum([0, *sizes])
    slots = _lend(int(starts[-1]), len(ROLES))
    for stream, start in zip(streams, starts[:-1], strict=True):
        stream.memory = [slot[start : start + stream.largest] for slot in slots]
    for position in sorted(set().union(*(stream.last_use for stream in streams))):
        reading = [stream for stream in streams if position in stream.last_use]
        _read(reading, reading[0].checkpoints[position], position)
        for stream in streams:
            if position in stream.wanted:
                yield stream.observe(position)


class _Arena(threading.local):
    """One thread's memory for states, reused from bundle to bundle.

    To get new memory from the system for each read costs four times as much as the read itself.
    """

    def __init__(self) -> None:
        self.memory = np.empty(RESERVED_BYTES, dtype=np.uint8)


_arena = _Arena()


def _lend(size: int, count: int) -> list[ByteArray]:
    """Return ``count`` slots of the arena, each of ``size`` bytes, valid until the next call."""
    pitch = max(1, -(-size // ALIGNMENT)) * ALIGNMENT
    if len(_arena.memory) < count * pitch:
        _arena.memory = np.empty(0, dtype=np.uint8)  # free the old memory before the new is allocated
        _arena.memory = np.empty(count * pitch, dtype=np.uint8)
    return [_arena.memory[start : start + size] for start in range(0, count * pitch, pitch)]


def _read(streams: Sequence[Stream], checkpoint: Checkpoint, position: int) -> None:
    """Read the streams' tensors of one checkpoint; the state of one that cannot be read is an error."""
    wanted = [(stream, info) for stream in streams if (info := stream.info(position)) and is_readable(info)]
    memories = [stream.make_room(position)[: size_of(info)] for stream, info in wanted]
    for number, state in read_states(checkpoint, [info for _, info in wanted], memories):
        wanted[number][0].states[position] = state
