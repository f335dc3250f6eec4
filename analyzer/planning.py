"""What has to be measured: which metrics of which tensors at which checkpoints, in bundles that fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from analyzer.metrics.registry import Metric
from analyzer.run import Checkpoint, Run, TensorInfo
from analyzer.tensors import kind, matrices

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


def plan(run: Run, metrics: Sequence[Metric], known: Callable[[str], Mapping[tuple[str, str, str], str]]) -> list[Task]:
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
        total = sum(size_of(run.checkpoints[position].tensors.get(name)) for position, name in places)
        tasks.append(Task(bundle, run.checkpoints, places, total))
    return sorted(tasks, key=lambda task: task.bytes, reverse=True)


def _names(run: Run) -> list[str]:
    return list(dict.fromkeys(name for checkpoint in run.checkpoints for name in checkpoint.tensors))


def size_of(info: TensorInfo | None) -> int:
    """Stored bytes of a tensor, 0 where it is absent."""
    return 0 if info is None else sum(part.length for part in info.parts)


def _bundles(run: Run, names: list[str]) -> Iterator[tuple[str, ...]]:
    """Neighbouring small tensors together, a large one alone."""
    bundle: list[str] = []
    held = 0
    for name in names:
        largest = max(size_of(checkpoint.tensors.get(name)) for checkpoint in run.checkpoints)
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
    for (_, metric_name, checkpoint_name), basis in known.items():
        known_here.setdefault((metric_name, checkpoint_name), set()).add(basis)
    everything = frozenset(metric.row.name for metric in metrics)
    result: dict[int, frozenset[str]] = {}
    present = [position for position, one in enumerate(run.checkpoints) if name in one.tensors]
    for position, checkpoint in enumerate(run.checkpoints):
        earlier = [other for other in present if other < position]
        if name not in checkpoint.tensors and not earlier:
            continue  # it has not appeared yet
        positions = _roles(position, earlier)
        identities = {role: identity_of(run.checkpoints[other], name) for role, other in positions.items()}
        missing = frozenset(
            metric.row.name
            for metric in metrics
            if applies(metric, checkpoint.tensors.get(name), positions)
            and known_here.get((metric.row.name, checkpoint.name)) != {basis_of(metric, identities)}
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


def applies(metric: Metric, info: TensorInfo | None, positions: Mapping[str, int]) -> bool:
    """Whether a metric has a row at all: a first step, a vector's spectrum, or an empty tensor's size have none."""
    if not metric.roles <= positions.keys():
        return False
    if info is None:  # gone: rows with the status "missing" mark the gap
        return not any(need.matrix_only for need in metric.needs)
    if any(need.matrix_only for need in metric.needs):
        return bool(matrices(info))
    return kind(info) != "empty"


def identity_of(checkpoint: Checkpoint, name: str) -> str:
    """The stored bytes of one tensor at one checkpoint, as far as that is known without reading them."""
    info = checkpoint.tensors.get(name)
    place = "" if info is None else f"{info.dtype}{info.shape}{[part.offset for part in info.parts]}"
    return (
        f"{checkpoint.name}:{[(stamp.size, stamp.modified_ns) for stamp in checkpoint.files]}:{place}:{checkpoint.step}"
    )


def basis_of(metric: Metric, identities: Mapping[str, str]) -> str:
    """A digest of all that a value depends on: the metric's code, and the bytes in each role that it looks at."""
    parts = [metric.fingerprint, *(f"{role}:{identities[role]}" for role in ROLES if role in metric.roles)]
    return sha256("|".join(parts).encode()).hexdigest()[:16]
