"""Walks tensors through time: every byte is read once, and only four states of a bundle are held at a time.

The unit of work is a bundle: one large tensor, or neighbouring small ones. Tasks carry file ranges, never arrays. No
state of one checkpoint's arithmetic enters the next, so any number of jobs and any cutting gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from math import isfinite

import numpy as np
from blake3 import blake3

from analyzer.errors import CheckpointError
from analyzer.frame import Frame, State, Trail
from analyzer.metrics.registry import Metric
from analyzer.planning import Task, applies, basis_of, identity_of, size_of
from analyzer.run import STATUSES_WITH_VALUE, Checkpoint, Measurement, Status, TensorInfo, Value
from analyzer.sources import LocalSource
from analyzer.store import Observation
from analyzer.tensors import MatrixView, numpy_dtype


def walk(task: Task, metrics: Mapping[str, Metric]) -> Iterator[Observation]:
    """Walk the task's tensors through time; a tensor that cannot be read yields rows with a status.

    Args:
        task: what :func:`plan` made.
        metrics: the metrics by name.

    """
    trails: dict[str, Trail] = {name: Trail() for name in task.tensors}
    first_wanted = min(position for position, _ in task.wanted)
    last_wanted = max(position for position, _ in task.wanted)
    initial = {name: next(p for p, one in enumerate(task.checkpoints) if name in one.tensors) for name in task.tensors}
    for position in range(last_wanted + 1):
        names = [
            name
            for name in task.tensors
            if name in task.checkpoints[position].tensors
            and (position >= first_wanted - 2 or position == initial[name])
        ]
        states = _read(task.checkpoints[position], position, names)
        for name in task.tensors:
            wanted = task.wanted.get((position, name))
            trail = trails[name]
            if wanted:
                chosen = [metrics[metric] for metric in metrics if metric in wanted]
                yield _observe(task.checkpoints, position, name, states.get(name), trail, chosen)
            state = states.get(name)
            if isinstance(state, State):
                trail.advance(state)


def _read(checkpoint: Checkpoint, position: int, names: list[str]) -> dict[str, State | CheckpointError]:
    """The named tensors of a checkpoint; an error in place of each that cannot be had."""
    stamps = {stamp.path: stamp for stamp in checkpoint.files}
    states: dict[str, State | CheckpointError] = {}
    with ExitStack() as stack:
        sources: dict[str, LocalSource] = {}
        for name in names:
            info = checkpoint.tensors[name]
            if info.unsupported or 0 in info.shape:
                continue
            try:
                (part,) = info.parts
                if part.path not in sources:
                    sources[part.path] = stack.enter_context(LocalSource(part.path, stamps.get(part.path)))
                data = sources[part.path].read(part.offset, part.length)
                states[name] = _state(position, info, data)
            except CheckpointError as error:
                states[name] = error
            except MemoryError:
                states[name] = CheckpointError(f"{checkpoint.path}: not enough memory for {info.shape} of {info.dtype}")
        for path, source in sources.items():
            try:
                source.verify_unchanged()
            except CheckpointError as error:
                states.update({name: error for name in names if checkpoint.tensors[name].parts[0].path == path})
    return states


def _state(position: int, info: TensorInfo, data: bytearray) -> State:
    array = np.frombuffer(data, dtype=numpy_dtype(info.dtype)).reshape(info.shape)
    return State(position, array, blake3(data).hexdigest(length=16))


def _observe(
    checkpoints: tuple[Checkpoint, ...],
    position: int,
    name: str,
    state: State | CheckpointError | None,
    trail: Trail,
    metrics: list[Metric],
) -> Observation:
    """Every wanted row of one tensor at one checkpoint."""
    checkpoint = checkpoints[position]
    info = checkpoint.tensors.get(name)
    frame = Frame(checkpoints, info, state, trail) if isinstance(state, State) and info else None
    recorder = _Recorder(checkpoints, position, name, state, trail)
    for metric in metrics:
        if not applies(metric, info, recorder.positions):
            continue
        if frame is None:
            recorder.add(name, metric, Value(None, _absence(info, state)))
            continue
        obstacle = frame.obstacle(metric)
        if any(need.matrix_only for need in metric.needs):
            for view in frame.views:
                recorder.measure(view.name, metric, frame, view, obstacle)
        else:
            recorder.measure(name, metric, frame, None, obstacle)
    if isinstance(state, CheckpointError):
        recorder.problems[""] = str(state)
    return Observation(
        checkpoint.name,
        name,
        tuple(recorder.rows),
        recorder.bases,
        frame.sums() if frame else {},
        frame.spectra() if frame else {},
        frame.state.content if frame else None,
        recorder.problems,
        size_of(info),
    )


def _absence(info: TensorInfo | None, state: State | CheckpointError | None) -> Status:
    if info is None:
        return "missing"
    return "error" if isinstance(state, CheckpointError) else "unsupported"


class _Recorder:
    """Collects the rows of one tensor at one checkpoint, and what they rest on."""

    def __init__(
        self,
        checkpoints: tuple[Checkpoint, ...],
        position: int,
        name: str,
        state: State | CheckpointError | None,
        trail: Trail,
    ) -> None:
        self.checkpoints = checkpoints
        earlier = {
            "previous": trail.previous,
            "before_previous": trail.before_previous,
            "initial": trail.initial or (state if isinstance(state, State) else None),
        }
        self.positions = {"current": position} | {role: one.position for role, one in earlier.items() if one}
        self.identities = {role: identity_of(checkpoints[other], name) for role, other in self.positions.items()}
        self.rows: list[Measurement] = []
        self.bases: dict[str, str] = {}
        self.problems: dict[str, str] = {}

    def measure(
        self, tensor: str, metric: Metric, frame: Frame, view: MatrixView | None, obstacle: Status | None
    ) -> None:
        """Compute one metric; whatever goes wrong in it is this row's alone."""
        if obstacle:
            self.add(tensor, metric, Value(None, obstacle))
            return
        try:
            result = metric.function(*(frame.need(need, view) for need in metric.needs))
            self.add(tensor, metric, _checked(result))
        except np.linalg.LinAlgError:
            self.add(tensor, metric, Value(None, "not_converged"))
        except Exception as error:  # a user's metric may raise anything
            self.problems[metric.row.name] = f"{type(error).__name__}: {error}"
            self.add(tensor, metric, Value(None, "error"))

    def add(self, tensor: str, metric: Metric, value: Value) -> None:
        """Keep a row, with the checkpoint that it compares with."""
        reference = None
        for role in ("previous", "initial"):
            if role in metric.roles:
                reference = self.checkpoints[self.positions[role]].name
        where = self.checkpoints[self.positions["current"]].name
        self.rows.append(
            Measurement(where, "tensor", tensor, metric.row.name, value.value, value.bound, value.status, reference)
        )
        self.bases[metric.row.name] = basis_of(metric, self.identities)


def _checked(result: float | Value) -> Value:
    """A metric's result as a value: a number that is not finite has the status ``nonfinite``, never a value."""
    value = result if isinstance(result, Value) else Value(float(result))
    if value.value is not None and not isfinite(value.value):
        return Value(None, "nonfinite")
    if (value.value is None) == (value.status in STATUSES_WITH_VALUE):
        raise ValueError(f"returned the value {value.value} with the status {value.status}")
    return value
