"""One tensor's walk through the checkpoints of a task: the states that it compares, and the rows that result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import isfinite

import numpy as np

from analyzer.engine.fingerprints import Bases, applicable, places
from analyzer.engine.observing import Decompose, Observed, Observer
from analyzer.engine.piecewise import PlainState
from analyzer.engine.planning import Task, equal_parts
from analyzer.engine.states import State
from analyzer.errors import CheckpointError
from analyzer.metrics.needs import STEP_SKETCH, Need
from analyzer.metrics.registry import Metric
from analyzer.model.observed import CURRENT, PREVIOUS, ROLES, Interval, MatrixView, Role
from analyzer.model.run import STATUSES_WITH_VALUE, ByteArray, Measurement, Status, TensorInfo, Value
from analyzer.sources import is_remote
from analyzer.store.writer import Observation, SketchedStep
from analyzer.tensors.kinds import kind, size_of
from analyzer.tensors.loading import is_plain

UNREAD = "unread"  # the basis of rows whose bytes could not be read: they are measured again next time


class Stream:
    """One tensor's walk through the checkpoints of a task."""

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
        self.used_roles = {
            position: frozenset({CURRENT}).union(*(metric.roles for metric in chosen))
            for position, chosen in self.wanted.items()
        }
        # The last checkpoint that compares with each state; the state is kept until then.
        self.last_use: dict[int, int] = {}
        for position, used in self.used_roles.items():
            self.last_use |= {other: position for role, other in self.roles[position].items() if role in used}
        self.largest = max(size_of(self.info(position)) for position in self.last_use)
        self.memory: list[ByteArray] = []
        self.states: dict[int, State | CheckpointError] = {}
        self._slots: dict[int, int] = {}
        self._observed: dict[int, Observed] = {}

    def portions(self, size: int) -> Iterator[Stream]:
        """Cut the stream into equal portions, each with at most ``size`` positions to measure."""
        wanted = self._task.wanted[self.name]
        count = -(-len(wanted) // size)
        if count == 1:
            yield self
            return
        for chosen in equal_parts(sorted(wanted), count):
            task = replace(self._task, wanted={self.name: {position: wanted[position] for position in chosen}})
            yield Stream(task, self.name, self._metrics, self._decompose)

    def needs(self) -> set[Need]:
        """Return the needs of all metrics at all positions."""
        return set().union(*map(self.needs_at, self.wanted))

    def needs_at(self, position: int) -> set[Need]:
        """Return the needs of the metrics at one position; none if nothing is measured there."""
        return {need for metric in self.wanted.get(position, ()) for need in metric.needs}

    @cached_property
    def plain_states(self) -> list[PlainState]:
        """The states that are compared, if each compares with the one before it and with the first; else none.

        All must be plain ranges of local files, of one shape and one floating-point dtype.
        """
        positions = sorted(self.last_use)
        states = [
            PlainState(
                position,
                info,
                self.checkpoints[position],
                self.needs_at(position),
                self.used_roles.get(position, frozenset[Role]()),
                self._bases.key,
            )
            for position in positions
            if (info := self.info(position))
        ]
        are_alike = len(states) == len(positions) and _are_alike([state.info for state in states])
        return states if are_alike and self._is_chain(positions) else []

    def _is_chain(self, positions: Sequence[int]) -> bool:
        """Check whether the state in every role is the one at the corresponding place in these positions."""
        before = dict(zip(positions[1:], positions, strict=False))
        for position, used in self.used_roles.items():
            previous = before.get(position)
            before_previous = None if previous is None else before.get(previous)
            chain = dict(zip(ROLES, (position, previous, before_previous, positions[0]), strict=True))
            if any(self.roles[position].get(role) != chain[role] for role in used):
                return False
        return True

    def info(self, position: int) -> TensorInfo | None:
        """Return the tensor as a checkpoint has it; None if it is missing."""
        return self.checkpoints[position].tensors.get(self.name)

    def make_room(self, position: int) -> ByteArray:
        """Return memory for the tensor at a position: a slot whose state no later checkpoint compares with."""
        for other in [other for other in self.states if self.last_use[other] < position]:
            del self.states[other]
            self._slots.pop(other, None)
        free = next(slot for slot in range(len(self.memory)) if slot not in self._slots.values())
        self._slots[position] = free
        return self.memory[free]

    def observe(self, position: int) -> Observation:
        """Measure every requested row of the tensor at one checkpoint."""
        positions, info = self.roles[position], self.info(position)
        metrics = applicable(self.wanted[position], info, positions)
        state = self.states.get(position)
        is_read = info is not None and state is not None and not isinstance(state, CheckpointError)
        observer = self._observer(info, positions, metrics) if info and is_read else None
        recorder = _Recorder({role: self.checkpoints[other].name for role, other in positions.items()})
        for metric in (one for one in metrics if not one.is_sketch):
            if observer is None:
                recorder.add(self.name, metric, Value(None, _absence(info, state)))
            elif metric.matrix_only:
                for view in observer.views:
                    recorder.measure(view.name, metric, observer, view)
            else:
                recorder.measure(self.name, metric, observer, None)
        if isinstance(state, CheckpointError):
            recorder.problems[""] = str(state)
        self._observed = {other: one for other, one in self._observed.items() if self.last_use[other] > position}
        if observer:
            self._observed[position] = observer.observed()
        return Observation(
            self.checkpoints[position].name,
            self.name,
            tuple(recorder.rows),
            self._bases_of(metrics, positions),
            observer.additive() if observer else {},
            observer.spectra() if observer else {},
            observer.state.content if observer else None,
            recorder.problems,
            size_of(info),
            self._step(observer, metrics, positions),
        )

    def _step(
        self, observer: Observer | None, metrics: Sequence[Metric], positions: Mapping[Role, int]
    ) -> SketchedStep | None:
        """Return the sketch of the step, if it is wanted; there is none if one of the two states has no finite sums."""
        wanted = next((metric for metric in metrics if metric.is_sketch), None)
        if wanted is None:
            return None
        is_known = observer is not None and observer.obstacle(wanted) is None
        sketch = observer.need(STEP_SKETCH, None) if observer and is_known else None
        return SketchedStep(self.checkpoints[positions[PREVIOUS]].name, sketch)

    def _bases_of(self, metrics: Sequence[Metric], positions: Mapping[Role, int]) -> dict[str, str]:
        """Return the digest of what the rows of each metric depend on."""
        bases = self._bases.of(metrics, positions)
        unread = {role for role, other in positions.items() if isinstance(self.states.get(other), CheckpointError)}
        if unread:
            bases |= {metric.row.name: UNREAD for metric in metrics if unread & {CURRENT, *metric.roles}}
        return bases

    def _observer(self, info: TensorInfo, positions: Mapping[Role, int], metrics: Sequence[Metric]) -> Observer:
        states: dict[Role, State | None] = {}
        for role, other in positions.items():
            if other in self.states and role in self.used_roles[positions[CURRENT]]:
                state = self.states[other]
                states[role] = None if isinstance(state, CheckpointError) else state
        needs = frozenset(need for metric in metrics for need in metric.needs)
        earlier = {role: self._observed[other] for role, other in positions.items() if other in self._observed}
        return Observer(info, states, self._interval(positions), needs, earlier, self._decompose, self._bases.key)

    def _interval(self, positions: Mapping[Role, int]) -> Interval:
        """Return the optimization steps since the previous checkpoint, if both are known."""
        if PREVIOUS not in positions:
            return Interval(None)
        now, before = (self.checkpoints[positions[role]].step for role in (CURRENT, PREVIOUS))
        return Interval(None if now is None or before is None else now - before)


def _are_alike(infos: Sequence[TensorInfo]) -> bool:
    """Check whether these are plain ranges of local files, of one shape and one floating-point dtype."""
    return (
        {(info.shape, info.dtype) for info in infos} == {(infos[0].shape, infos[0].dtype)}
        and kind(infos[0]) not in ("unsupported", "empty")
        and all(is_plain(info) and not is_remote(info.parts[0].path) for info in infos)
    )


def _absence(info: TensorInfo | None, state: State | CheckpointError | None) -> Status:
    if info is None:
        return "missing"
    return "error" if isinstance(state, CheckpointError) else "unsupported"


class _Recorder:
    """Collects the rows of one tensor at one checkpoint; ``names`` are the checkpoints' names by role."""

    def __init__(self, names: Mapping[Role, str]) -> None:
        self.names = names
        self.rows: list[Measurement] = []
        self.problems: dict[str, str] = {}

    def measure(self, tensor: str, metric: Metric, observer: Observer, view: MatrixView | None) -> None:
        """Compute one metric; an error in it affects this row only."""
        if obstacle := observer.obstacle(metric):
            self.add(tensor, metric, Value(None, obstacle))
            return
        try:
            value = _checked(metric.function(*[observer.need(need, view) for need in metric.needs]))
        except np.linalg.LinAlgError:
            value = Value(None, "not_converged")
        except Exception as error:  # a user's metric may raise anything
            self.problems[metric.row.name] = f"{type(error).__name__}: {error}"
            value = Value(None, "error")
        self.add(tensor, metric, value)

    def add(self, tensor: str, metric: Metric, value: Value) -> None:
        """Add a row, with the name of the checkpoint that it compares with."""
        number, status, bound = value
        reference = self.names[metric.reference] if metric.reference else None
        self.rows.append(
            Measurement(self.names[CURRENT], "tensor", tensor, metric.row.name, number, bound, status, reference)
        )


def _checked(result: float | Value) -> Value:
    """Convert a metric's result to a value; a number that is not finite becomes the status ``nonfinite``."""
    value = result if isinstance(result, Value) else Value(float(result))
    if value.value is not None and not isfinite(value.value):
        return Value(None, "nonfinite")
    if (value.value is None) == (value.status in STATUSES_WITH_VALUE):
        raise ValueError(f"returned the value {value.value} with the status {value.status}")
    return value
