"""One tensor on its way through the checkpoints of a task: which states it looks at, and the rows that come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite

import numpy as np
import numpy.typing as npt

from analyzer.engine.fingerprints import Bases, applicable, places
from analyzer.engine.observing import Decompose, Frame, Seen
from analyzer.engine.planning import Task
from analyzer.engine.states import State
from analyzer.errors import CheckpointError
from analyzer.metrics.registry import Metric
from analyzer.model.observed import Interval
from analyzer.model.run import STATUSES_WITH_VALUE, Checkpoint, Measurement, Status, TensorInfo, Value
from analyzer.sources import is_remote
from analyzer.store.writer import Observation
from analyzer.tensors.kinds import MatrixView, kind, size_of
from analyzer.tensors.loading import is_plain

UNREAD = "unread"  # the basis of rows whose bytes could not be read: they are measured again at the next occasion

Read = State | CheckpointError


@dataclass(frozen=True, slots=True)
class Series:
    """Consecutive states of one tensor: their positions in the run, the tensor there, and the checkpoints."""

    positions: Sequence[int]
    infos: Sequence[TensorInfo]
    checkpoints: Sequence[Checkpoint]


class Stream:
    """One tensor on its way through the checkpoints of a task."""

    def __init__(
        self, task: Task, name: str, metrics: Mapping[str, Metric], decompose: Decompose | None = None
    ) -> None:
        self._task, self._metrics, self._decompose = task, metrics, decompose
        self.name = name
        self.checkpoints = task.checkpoints
        self.wanted = {
            position: [metric for metric in metrics.values() if metric.row.name in chosen]
            for position, chosen in task.wanted[name].items()
        }
        self._bases = Bases(task.checkpoints, name)
        self.roles = {position: roles for position, roles in places(task.checkpoints, name) if position in self.wanted}
        self.looked_at = {
            position: frozenset({"current"}).union(*(metric.roles for metric in chosen))
            for position, chosen in self.wanted.items()
        }
        # The last checkpoint that looks at each state; until then the state is held.
        self.last_use: dict[int, int] = {}
        for position, roles in self.looked_at.items():
            self.last_use |= {other: position for role, other in self.roles[position].items() if role in roles}
        self.largest = max(size_of(self.info(position)) for position in self.last_use)
        self.memory: list[npt.NDArray[np.uint8]] = []
        self.states: dict[int, Read] = {}
        self._slots: dict[int, int] = {}
        self._seen: dict[int, Seen] = {}

    def portions(self, size: int) -> Iterator[Stream]:
        """The same stream in equal portions, of each of which at most ``size`` positions are wanted."""
        wanted = self._task.wanted[self.name]
        positions = sorted(wanted)
        count = -(-len(positions) // size)
        if count == 1:
            yield self
            return
        for number in range(count):
            chosen = positions[len(positions) * number // count : len(positions) * (number + 1) // count]
            portion = {position: wanted[position] for position in chosen}
            task = replace(self._task, wanted={self.name: portion})
            yield Stream(task, self.name, self._metrics, self._decompose)

    def needs(self) -> set[str]:
        """What all the metrics that are wanted ask for."""
        return set().union(*map(self.needs_at, self.wanted))

    def needs_at(self, position: int) -> set[str]:
        """What the metrics ask for that are wanted at one position."""
        return {need.name for metric in self.wanted.get(position, ()) for need in metric.needs}

    @cached_property
    def plain_series(self) -> Series | None:
        """The states that are looked at, where each compares with the one before it and with the first of them.

        All are on this machine, each a plain range of a file, and of one shape and floating-point dtype; else None.
        """
        positions = sorted(self.last_use)
        infos = [info for position in positions if (info := self.info(position))]
        if len(positions) != len(infos) or not (_are_alike(infos) and self._is_chain(positions)):
            return None
        return Series(positions, infos, [self.checkpoints[position] for position in positions])

    def _is_chain(self, positions: Sequence[int]) -> bool:
        """Whether every role that is looked at is played by the state whose turn it is in these positions."""
        before = dict(zip(positions[1:], positions, strict=False))
        for position, roles in self.looked_at.items():
            previous = before.get(position)
            before_previous = None if previous is None else before.get(previous)
            chain = {"initial": positions[0], "previous": previous, "before_previous": before_previous}
            if any(self.roles[position].get(role) != chain[role] for role in roles - {"current"}):
                return False
        return True

    def take(self, series: Series, states: Sequence[State] | None) -> bool:
        """Have these states, if there are any, so that nothing is left to be read."""
        if states is None:
            return False
        self.states = dict(zip(series.positions, states, strict=True))
        return True

    def observe_all(self) -> Iterator[Observation]:
        """All wanted rows, checkpoint by checkpoint, of states that are all there."""
        return (self.observe(position) for position in self.wanted)

    def info(self, position: int) -> TensorInfo | None:
        """The tensor as a checkpoint has it; None where it is missing."""
        return self.checkpoints[position].tensors.get(self.name)

    def make_room(self, position: int) -> npt.NDArray[np.uint8]:
        """Memory for the tensor at a position: a slot whose state no later checkpoint looks at."""
        for other in [other for other in self.states if self.last_use[other] < position]:
            del self.states[other]
            self._slots.pop(other, None)
        free = next(slot for slot in range(len(self.memory)) if slot not in self._slots.values())
        self._slots[position] = free
        return self.memory[free]

    def observe(self, position: int) -> Observation:
        """Every wanted row of the tensor at one checkpoint."""
        positions, info = self.roles[position], self.info(position)
        metrics = applicable(self.wanted[position], info, positions)
        state = self.states.get(position)
        frame = self._frame(info, positions, metrics) if info and isinstance(state, State) else None
        recorder = _Recorder({role: self.checkpoints[other].name for role, other in positions.items()})
        for metric in metrics:
            if frame is None:
                recorder.add(self.name, metric, Value(None, _absence(info, state)))
            elif metric.matrix_only:
                for view in frame.views:
                    recorder.measure(view.name, metric, frame, view)
            else:
                recorder.measure(self.name, metric, frame, None)
        if isinstance(state, CheckpointError):
            recorder.problems[""] = str(state)
        self._seen = {other: seen for other, seen in self._seen.items() if self.last_use[other] > position}
        if frame:
            self._seen[position] = frame.seen()
        return Observation(
            self.checkpoints[position].name,
            self.name,
            tuple(recorder.rows),
            self._bases_of(metrics, positions),
            frame.additive() if frame else {},
            frame.spectra() if frame else {},
            frame.state.content if frame else None,
            recorder.problems,
            size_of(info),
        )

    def _bases_of(self, metrics: Sequence[Metric], positions: Mapping[str, int]) -> dict[str, str]:
        """What the rows of each metric rest on."""
        bases = self._bases.of(metrics, positions)
        unread = {role for role, other in positions.items() if isinstance(self.states.get(other), CheckpointError)}
        if unread:
            bases |= {metric.row.name: UNREAD for metric in metrics if unread & {"current", *metric.roles}}
        return bases

    def _frame(self, info: TensorInfo, positions: Mapping[str, int], metrics: Sequence[Metric]) -> Frame:
        states: dict[str, State | None] = {}
        for role, other in positions.items():
            if other in self.states and role in self.looked_at[positions["current"]]:
                state = self.states[other]
                states[role] = state if isinstance(state, State) else None
        steps = [self.checkpoints[positions[role]].step for role in ("current", "previous") if role in positions]
        known = len(steps) == 2 and steps[0] is not None and steps[1] is not None
        interval = Interval(steps[0] - steps[1] if known else None)  # type: ignore[operator]
        needs = {need.name for metric in metrics for need in metric.needs}
        earlier = {role: self._seen[other] for role, other in positions.items() if other in self._seen}
        return Frame(info, states, interval, needs, earlier, self._decompose)


def _are_alike(infos: Sequence[TensorInfo]) -> bool:
    """Whether these are plain ranges of files on this machine, of one shape and one floating-point dtype."""
    return (
        {(info.shape, info.dtype) for info in infos} == {(infos[0].shape, infos[0].dtype)}
        and kind(infos[0]) not in ("unsupported", "empty")
        and all(is_plain(info) and not is_remote(info.parts[0].path) for info in infos)
    )


def _absence(info: TensorInfo | None, state: Read | None) -> Status:
    if info is None:
        return "missing"
    return "error" if isinstance(state, CheckpointError) else "unsupported"


class _Recorder:
    """Collects the rows of one tensor at one checkpoint; ``names`` are those of the checkpoints by role."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names
        self.rows: list[Measurement] = []
        self.problems: dict[str, str] = {}

    def measure(self, tensor: str, metric: Metric, frame: Frame, view: MatrixView | None) -> None:
        """Compute one metric; whatever goes wrong in it is this row's alone."""
        if obstacle := frame.obstacle(metric):
            self.add(tensor, metric, Value(None, obstacle))
            return
        try:
            value = _checked(metric.function(*[frame.need(need, view) for need in metric.needs]))
        except np.linalg.LinAlgError:
            value = Value(None, "not_converged")
        except Exception as error:  # a user's metric may raise anything
            self.problems[metric.row.name] = f"{type(error).__name__}: {error}"
            value = Value(None, "error")
        self.add(tensor, metric, value)

    def add(self, tensor: str, metric: Metric, value: Value) -> None:
        """Keep a row, with the checkpoint that it compares with."""
        number, status, bound = value
        reference = self.names[metric.reference] if metric.reference else None
        self.rows.append(
            Measurement(self.names["current"], "tensor", tensor, metric.row.name, number, bound, status, reference)
        )


def _checked(result: float | Value) -> Value:
    """A metric's result as a value: a number that is not finite has the status ``nonfinite``, never a value."""
    value = result if isinstance(result, Value) else Value(float(result))
    if value.value is not None and not isfinite(value.value):
        return Value(None, "nonfinite")
    if (value.value is None) == (value.status in STATUSES_WITH_VALUE):
        raise ValueError(f"returned the value {value.value} with the status {value.status}")
    return value
