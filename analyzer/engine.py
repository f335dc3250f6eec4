"""Walks tensors through time: every byte is read once, and only four states of a bundle are held at a time.

The unit of work is a bundle: one large tensor, or neighbouring small ones. Tasks carry file ranges, never arrays. No
state of one checkpoint's arithmetic enters the next, so any number of jobs and any cutting gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from hashlib import sha256
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from analyzer import elementwise
from analyzer.decomposition import spectrum
from analyzer.errors import CheckpointError
from analyzer.metrics.needs import NEEDS, Interval, Need, Spectrum
from analyzer.metrics.registry import Metric
from analyzer.run import STATUSES_WITH_VALUE, Checkpoint, Measurement, Run, Status, TensorInfo, Value
from analyzer.sources import LocalSource
from analyzer.store import Observation
from analyzer.tensors import MatrixView, kind, matrices, numpy_dtype, unsupported_reason

Array = npt.NDArray[Any]

BUNDLE_BYTES = 32 << 20
ROLES = ("current", "previous", "before_previous", "initial")


@dataclass(frozen=True, slots=True)
class Task:
    """Some tensors to be walked through a stretch of a run.

    ``checkpoints`` is the whole run in order; ``wanted`` maps (checkpoint position, tensor name) to the names of the
    metrics to be measured there.
    """

    tensors: tuple[str, ...]
    checkpoints: tuple[Checkpoint, ...]
    wanted: Mapping[tuple[int, str], frozenset[str]]
    bytes: int


@dataclass(frozen=True, slots=True)
class State:
    """One tensor at one checkpoint, in memory: the array in its stored dtype and shape, and its content's hash."""

    position: int
    array: Array
    content: str


def plan(
    run: Run, metrics: Sequence[Metric], known: Callable[[str], Mapping[tuple[str, str, str], str]]
) -> list[Task]:
    """The tasks that measure what is not known yet, largest first.

    Args:
        run: the run.
        metrics: what is asked for.
        known: for a tensor's name, what its stored rows rest on: (matrix, metric, checkpoint) -> basis.
    """
    wanted = {name: _wanted(run, name, metrics, known(name)) for name in _names(run)}
    tasks = []
    for bundle in _bundles(run, [name for name, places in wanted.items() if places]):
        places = {(position, name): which for name in bundle for position, which in wanted[name].items()}
        size = sum(_size(run.checkpoints[position].tensors.get(name)) for position, name in places)
        tasks.append(Task(bundle, run.checkpoints, places, size))
    return sorted(tasks, key=lambda task: task.bytes, reverse=True)


def _names(run: Run) -> list[str]:
    return list(dict.fromkeys(name for checkpoint in run.checkpoints for name in checkpoint.tensors))


def _size(info: TensorInfo | None) -> int:
    return 0 if info is None else sum(part.length for part in info.parts)


def _bundles(run: Run, names: list[str]) -> Iterator[tuple[str, ...]]:
    """Neighbouring small tensors together, a large one alone."""
    bundle: list[str] = []
    held = 0
    for name in names:
        largest = max(_size(checkpoint.tensors.get(name)) for checkpoint in run.checkpoints)
        if bundle and held + largest > BUNDLE_BYTES:
            yield tuple(bundle)
            bundle, held = [], 0
        bundle.append(name)
        held += largest
    if bundle:
        yield tuple(bundle)


def _wanted(
    run: Run, name: str, metrics: Sequence[Metric], known: Mapping[tuple[str, str, str], str]
) -> dict[int, frozenset[str]]:
    """Checkpoint position -> metrics whose stored row is missing or rests on other bytes."""
    known_here: dict[tuple[str, str], set[str]] = {}
    for (_, metric, checkpoint), basis in known.items():
        known_here.setdefault((metric, checkpoint), set()).add(basis)
    everything = frozenset(metric.row.name for metric in metrics)
    result: dict[int, frozenset[str]] = {}
    present = [position for position, one in enumerate(run.checkpoints) if name in one.tensors]
    for position, checkpoint in enumerate(run.checkpoints):
        earlier = [other for other in present if other < position]
        if name not in checkpoint.tensors and not earlier:
            continue  # it has not appeared yet
        positions = _roles(position, earlier)
        identities = {role: _identity(run.checkpoints[other], name) for role, other in positions.items()}
        missing = frozenset(
            metric.row.name
            for metric in metrics
            if _applies(metric, checkpoint.tensors.get(name), positions)
            and known_here.get((metric.row.name, checkpoint.name)) != {_basis(metric, identities)}
        )
        if missing:
            result[position] = everything if missing == everything else missing
    return result


def _roles(position: int, earlier: Sequence[int]) -> dict[str, int]:
    """Which checkpoint plays which part for the one at ``position``; ``earlier`` are those that have the tensor."""
    positions = {"current": position, "initial": earlier[0] if earlier else position}
    if earlier:
        positions["previous"] = earlier[-1]
    if len(earlier) > 1:
        positions["before_previous"] = earlier[-2]
    return positions


def _applies(metric: Metric, info: TensorInfo | None, positions: Mapping[str, int]) -> bool:
    """Whether a metric has a row at all: a first step, a vector's spectrum, or an empty tensor's size have none."""
    if not metric.roles <= positions.keys():
        return False
    if info is None:  # gone: rows with the status "missing" mark the gap
        return not any(need.matrix_only for need in metric.needs)
    if any(need.matrix_only for need in metric.needs):
        return bool(matrices(info))
    return kind(info) != "empty"


def _identity(checkpoint: Checkpoint, name: str) -> str:
    """The stored bytes of one tensor at one checkpoint, as far as that is known without reading them."""
    info = checkpoint.tensors.get(name)
    place = "" if info is None else f"{info.dtype}{info.shape}{[part.offset for part in info.parts]}"
    return f"{checkpoint.name}:{[(stamp.size, stamp.modified_ns) for stamp in checkpoint.files]}:{place}:{checkpoint.step}"


def _basis(metric: Metric, identities: Mapping[str, str]) -> str:
    """A digest of all that a value depends on: the metric's code, and the bytes in each role that it looks at."""
    parts = [metric.fingerprint, *(f"{role}:{identities[role]}" for role in ROLES if role in metric.roles)]
    return sha256("|".join(parts).encode()).hexdigest()[:16]


# ------------------------------------------------------------------------------------------------------ walking


def walk(task: Task, metrics: Mapping[str, Metric]) -> Iterator[Observation]:
    """Walk the task's tensors through time; a tensor that cannot be read yields rows with a status.

    Args:
        task: what :func:`plan` made.
        metrics: the metrics by name.
    """
    trails: dict[str, _Trail] = {name: _Trail() for name in task.tensors}
    first_wanted = min(position for position, _ in task.wanted)
    last_wanted = max(position for position, _ in task.wanted)
    initial = {
        name: next(p for p, one in enumerate(task.checkpoints) if name in one.tensors) for name in task.tensors
    }
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


class _Trail:
    """The earlier states of one tensor that later ones are compared with."""

    def __init__(self) -> None:
        self.initial: State | None = None
        self.previous: State | None = None
        self.before_previous: State | None = None

    def advance(self, state: State) -> None:
        self.before_previous, self.previous = self.previous, state
        if self.initial is None:
            self.initial = state


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
    trail: _Trail,
    metrics: list[Metric],
) -> Observation:
    """Every wanted row of one tensor at one checkpoint."""
    checkpoint = checkpoints[position]
    info = checkpoint.tensors.get(name)
    frame = _Frame(checkpoints, info, state, trail) if isinstance(state, State) and info else None
    recorder = _Recorder(checkpoints, position, name, state, trail)
    for metric in metrics:
        if not _applies(metric, info, recorder.positions):
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
        _size(info),
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
        trail: _Trail,
    ) -> None:
        self.checkpoints = checkpoints
        earlier = {
            "previous": trail.previous,
            "before_previous": trail.before_previous,
            "initial": trail.initial or (state if isinstance(state, State) else None),
        }
        self.positions = {"current": position} | {role: one.position for role, one in earlier.items() if one}
        self.identities = {role: _identity(checkpoints[other], name) for role, other in self.positions.items()}
        self.rows: list[Measurement] = []
        self.bases: dict[str, str] = {}
        self.problems: dict[str, str] = {}

    def measure(
        self, tensor: str, metric: Metric, frame: _Frame, view: MatrixView | None, obstacle: Status | None
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
            Measurement(
                where, "tensor", tensor, metric.row.name, value.value, value.bound, value.status, reference
            )
        )
        self.bases[metric.row.name] = _basis(metric, self.identities)


def _checked(result: float | Value) -> Value:
    """A metric's result as a value: a number that is not finite has the status ``nonfinite``, never a value."""
    value = result if isinstance(result, Value) else Value(float(result))
    if value.value is not None and not isfinite(value.value):
        return Value(None, "nonfinite")
    if (value.value is None) == (value.status in STATUSES_WITH_VALUE):
        raise ValueError(f"returned the value {value.value} with the status {value.status}")
    return value


class _Frame:
    """One tensor at one checkpoint beside its earlier states; computes each need once, when it is first asked for."""

    def __init__(
        self, checkpoints: tuple[Checkpoint, ...], info: TensorInfo, state: State, trail: _Trail
    ) -> None:
        self.state = state
        self.info = info
        self.views = matrices(info)
        self.supported = unsupported_reason(info) is None
        self.states: dict[str, State | None] = {
            "current": state,
            "previous": trail.previous,
            "before_previous": trail.before_previous,
            "initial": trail.initial or state,
        }
        steps = [checkpoints[one.position].step if one else None for one in (state, trail.previous)]
        self.interval = Interval(steps[0] - steps[1] if steps[0] is not None and steps[1] is not None else None)
        self._cache: dict[tuple[str, str], Any] = {}

    def obstacle(self, metric: Metric) -> Status | None:
        """Why a metric cannot be computed from these states, as a status."""
        if not self.supported and not all(need.any_dtype for need in metric.needs):
            return "unsupported"
        states = [self.states[role] for role in metric.roles]
        if any(one is None or one.array.shape != self.state.array.shape for one in states):
            return "undefined"  # the tensor changed its shape: no broadcasting
        if all(need.any_bits for need in metric.needs):
            return "undefined" if any(one and one.array.dtype != self.state.array.dtype for one in states) else None
        products = self.products()
        squares = {
            "current": products.current,
            "previous": products.previous,
            "before_previous": products.earlier_step,
            "initial": products.initial,
        }
        return None if all(isfinite(squares[role]) for role in metric.roles) else "nonfinite"

    def need(self, need: Need, view: MatrixView | None) -> Any:
        """What a metric's parameter of this name is handed."""
        key = (need.name, view.name if view else "")
        if key not in self._cache:
            self._cache[key] = self._compute(need.name, view)
        return self._cache[key]

    def _compute(self, name: str, view: MatrixView | None) -> Any:
        array = self.state.array
        match name:
            case "current" | "previous" | "initial":
                state = self.states[name]
                assert state is not None  # obstacle() has seen to it
                return state.array
            case "matrix":
                assert view is not None  # a metric that needs a matrix is called once for each
                return (array if view.index is None else array[view.index]).reshape(view.shape)
            case "weights" | "step" | "consecutive_steps" | "drift":
                return self.products()
            case "interval":
                return self.interval
            case "elements":
                return elementwise.element_summary(array, self.products().current)
            case "finiteness":
                return elementwise.finiteness(array, self.products().current)
            case "changed_bits":
                return elementwise.changed_bits(array, self._previous())
            case "sign_flips":
                return elementwise.sign_flips(array, self._previous())
            case "dead_lines":
                return elementwise.dead_lines(self.need(NEEDS["matrix"], view))
            case "spectrum":
                return spectrum(self.need(NEEDS["matrix"], view))
            case "singular_values":
                return self.need(NEEDS["spectrum"], view).values
        raise AssertionError(f"the need {name} has no computation")

    def _previous(self) -> Array:
        previous = self.states["previous"]
        assert previous is not None  # obstacle() has seen to it
        return previous.array

    def products(self) -> elementwise.InnerProducts:
        """All inner products, in one pass over the states of the same shape."""
        if ("products", "") not in self._cache:
            usable = {
                role: one.array if one and one.array.shape == self.state.array.shape else None
                for role, one in self.states.items()
            }
            before = usable["before_previous"] if usable["previous"] is not None else None
            self._cache["products", ""] = elementwise.inner_products(
                self.state.array, usable["previous"], before, usable["initial"]
            )
        return self._cache["products", ""]  # type: ignore[no-any-return]

    def sums(self) -> dict[str, tuple[float, ...]]:
        """The additive needs that were computed, as plain numbers; those of several matrices are added up."""
        result: dict[str, Any] = {}
        for (name, _), value in self._cache.items():
            if name in NEEDS and NEEDS[name].additive and name != "interval":
                result[name] = result[name] + value if name in result else value
        return {name: astuple(value) for name, value in result.items()}

    def spectra(self) -> dict[str, npt.NDArray[np.float64]]:
        """The singular values that were computed, by matrix name."""
        return {
            matrix: value.values for (_, matrix), value in self._cache.items() if isinstance(value, Spectrum)
        }


