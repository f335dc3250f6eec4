"""Walks tensors through time: bytes are read once, save where a walk is cut or an element needs another look.

The unit of work is a bundle: one large tensor, or neighbouring small ones. Tasks carry file ranges, never arrays. No
state of one checkpoint's arithmetic enters the next, so any number of jobs and any cutting gives the same bits.

There are two ways to go, which give the same bits too. The general one holds four states of a tensor as a whole. Where
all states are plain ranges of files here and sums, and spectra of tall or small matrices, are all that is wanted, a
tensor is taken piece by piece through time (:mod:`.piecewise`). That is faster and needs far less memory for
large tensors: nothing or a few slabs are held of them, and whole states only of small ones.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from analyzer.engine.holding import HELD_BYTES, ROLES, Hold, way_of
from analyzer.engine.observing import Decompose
from analyzer.engine.piecewise import walk_through_time
from analyzer.engine.planning import Task
from analyzer.engine.states import read_states
from analyzer.engine.tensor_walk import Stream
from analyzer.errors import CheckpointError
from analyzer.metrics.registry import Metric
from analyzer.model.run import Checkpoint
from analyzer.numerics.blocks import slab_of
from analyzer.store.writer import Observation
from analyzer.tensors.kinds import size_of
from analyzer.tensors.loading import is_readable

ALIGNMENT = 64
Memory = npt.NDArray[np.uint8]


def walk(task: Task, metrics: Mapping[str, Metric], decompose: Decompose | None = None) -> Iterator[Observation]:
    """Walk the task's tensors through time; a tensor that cannot be read yields rows with a status.

    Args:
        task: what :func:`analyzer.engine.planning.plan` made.
        metrics: the metrics by name.
        decompose: gives the spectra of several matrices elsewhere than on the CPU.
    """
    whole: list[Stream] = []
    for stream in (Stream(task, name, metrics, decompose) for name in task.wanted):
        hold, together = _way(stream)
        if together and not (decompose and hold == "slab"):
            for portion in stream.portions(together):
                yield from portion.observe_all() if _take(portion, hold) else _walk_whole([portion])
        else:
            whole.append(stream)
    if whole:
        yield from _walk_whole(whole)


def _way(stream: Stream) -> tuple[Hold, int]:
    """What to hold of a stream that is taken piece by piece, and of how many checkpoints; 0 where that is no way."""
    series = stream.plain_series
    return way_of(series.infos[0], stream.needs(), len(stream.wanted)) if series else ("nothing", 0)


def _take(stream: Stream, hold: Hold) -> bool:
    """Take sums, and spectra where states are not held as a whole, ahead; False where some state needs another look."""
    series = stream.plain_series
    if series is None:
        return False
    shape = series.infos[0].shape
    size = stream.largest if hold == "whole" else slab_of(shape) * (stream.largest // prod(shape))
    needs = [stream.needs_at(position) for position in series.positions]
    roles = [stream.looked_at.get(position, frozenset[str]()) for position in series.positions]
    try:
        memory = _lend(size, len(stream.wanted)) if hold != "nothing" else []
        states = walk_through_time(series.infos, series.checkpoints, needs, roles, hold, memory)
    except (CheckpointError, np.linalg.LinAlgError):
        return False  # the general way tells of which state that is true, and goes on with the others
    return stream.take(series, states)


def _walk_whole(streams: Sequence[Stream]) -> Iterator[Observation]:
    """The general way: several tensors of a task together, each held as a whole."""
    sizes = [-(-stream.largest // ALIGNMENT) * ALIGNMENT for stream in streams]
    starts = np.cumsum([0, *sizes])
    slots = _lend(int(starts[-1]), len(ROLES))
    for stream, start in zip(streams, starts[:-1], strict=True):
        stream.memory = [slot[start : start + stream.largest] for slot in slots]
    for position in sorted(set().union(*(stream.last_use for stream in streams))):
        looking = [stream for stream in streams if position in stream.last_use]
        _read(looking, looking[0].checkpoints[position], position)
        for stream in streams:
            if position in stream.wanted:
                yield stream.observe(position)


class _Arena(threading.local):
    """One thread's memory for states, used again from bundle to bundle.

    To have fresh memory from the system for each read costs four times as much as the read itself.
    """

    def __init__(self) -> None:
        self.memory = np.empty(HELD_BYTES, dtype=np.uint8)  # nothing is taken of it before it is used


_arena = _Arena()


def _lend(size: int, count: int) -> list[Memory]:
    """``count`` slots of the arena, each of ``size`` bytes; they hold until the next ones are lent."""
    pitch = max(1, -(-size // ALIGNMENT)) * ALIGNMENT
    if len(_arena.memory) < count * pitch:
        _arena.memory = np.empty(0, dtype=np.uint8)  # the old one goes before the new one comes
        _arena.memory = np.empty(count * pitch, dtype=np.uint8)
    return [_arena.memory[start : start + size] for start in range(0, count * pitch, pitch)]


def _read(streams: Sequence[Stream], checkpoint: Checkpoint, position: int) -> None:
    """Read the streams' tensors of one checkpoint; an error stands in place of each that cannot be had."""
    wanted = [(stream, info) for stream in streams if (info := stream.info(position)) and is_readable(info)]
    memories = [stream.make_room(position)[: size_of(info)] for stream, info in wanted]
    for number, state in read_states(checkpoint, [info for _, info in wanted], memories):
        wanted[number][0].states[position] = state
