"""Plan what has to be measured: which metrics of which tensors at which checkpoints, in tasks that fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from itertools import pairwise
from math import ceil, inf, prod

from analyzer.engine.fingerprints import applicable, expected_bases, places
from analyzer.errors import WeightlapseError
from analyzer.metrics.needs import STEP_SKETCH, Need, ServedBy, counts_of
from analyzer.metrics.registry import Metric
from analyzer.model.observed import ROLES
from analyzer.model.run import Checkpoint, Run, TensorInfo
from analyzer.model.sizes import size_text
from analyzer.numerics.blocks import block_rows, block_size
from analyzer.numerics.sums import Counts
from analyzer.tensors.kinds import matrices, numpy_dtype, size_of

BUNDLE_BYTES = 8 << 20
PROCESS_MEMORY = 250 << 20  # Python, the libraries, working blocks, the plan
# A much shorter segment spends its time on reading W_0, W_{t−1} and W_{t−2} again.
SHORTEST_SEGMENT = 3
# Seconds, measured on one core; only their proportion matters here: for the bookkeeping of each row, for each element,
# for its sketch, and for a spectrum (times n²(m + 4n)).
OBSERVATION_COST, ELEMENT_COST, SKETCH_COST, SPECTRUM_COST = 4e-4, 5e-9, 0.7e-9, 2.2e-11
# For each element of a state that a segment reads again: as a whole tensor, or in chunks.
REREAD_COST, REREAD_CHUNKS_COST = 9e-9, 1.5e-9

MOST_FILES = 128  # open at a time for each job, plus up to three that others only compare with
# Checkpoints at a time if magnitudes near zero are kept for each (at most 1/64 of the elements, in float64).
MOST_KEEPING = 16
# Checkpoints whose blocks are walked together: the more, the more Gram matrices are in memory, and the longer nothing
# is stored and no progress is visible; the fewer, the more often W_0, W_{t−2} and W_{t−1} are read again.
MOST_BLOCKS, LEAST_BLOCKS = 4, 3

Wanted = Mapping[int, frozenset[str]]
Needs = Mapping[str, frozenset[Need]]  # of each metric


@dataclass(frozen=True, slots=True)
class Task:
    """Some tensors to walk through a segment of a run.

    ``checkpoints`` is the whole run in order; ``wanted`` maps a tensor's name to the checkpoint positions to measure,
    and these to the names of the metrics. ``bytes`` is the size of these states, ``memory`` the largest amount in
    memory at a time, ``cost`` an estimate in seconds, ``overlap`` the cost of what a further segment reads again.
    """

    checkpoints: tuple[Checkpoint, ...]
    wanted: Mapping[str, Wanted]
    bytes: int
    memory: int
    cost: float
    overlap: float


def plan(
    run: Run,
    metrics: Sequence[Metric],
    known: Callable[[str], Mapping[tuple[str, str, str], str]],
    jobs: int = 1,
    spectra_every: int = 1,
    within: Mapping[str, Collection[int]] | None = None,
) -> list[Task]:
    """Return the tasks that measure what is not stored yet, the most expensive first.

    Args:
        run: the run.
        metrics: the requested metrics.
        known: for a tensor's name, the bases of its stored rows: (matrix, metric, checkpoint) -> basis.
        jobs: how many tasks will run at a time; long walks are cut so that all jobs are busy to the end.
        spectra_every: metrics that need a decomposition are measured at every N-th and at the last checkpoint only.
        within: the positions at which each tensor is measured, by default all.
    """
    needs = {metric.row.name: frozenset(metric.needs) for metric in metrics}
    spectral = frozenset(name for name, required in needs.items() if _decompose(required))
    last = len(run.checkpoints) - 1
    sparse = {position: spectral for position in range(last) if position % spectra_every}
    names = [name for name in tensor_names(run) if within is None or name in within]
    wanted = {name: _wanted(run, name, metrics, known(name), sparse) for name in names}
    if within is not None:
        wanted = {
            name: {at: its for at, its in places.items() if at in within[name]} for name, places in wanted.items()
        }
    bundles = _bundles(run, [name for name, places in wanted.items() if places])
    tasks = [_task(run, {name: wanted[name] for name in bundle}, needs) for bundle in bundles]
    longest = _longest_segment(tasks, jobs)
    segments = [segment for task in tasks for segment in _cut(run, task, needs, longest)]
    return sorted(segments, key=lambda task: task.cost, reverse=True)


def tensor_names(run: Run) -> list[str]:
    """Return the names of all tensors in the order of first appearance."""
    return list(dict.fromkeys(name for checkpoint in run.checkpoints for name in checkpoint.tensors))


def affordable_streams(tasks: Sequence[Task], memory: int) -> int:
    """Return how many of the tasks can run at a time in ``memory`` bytes.

    Raises:
        WeightlapseError: not even one can.
    """
    largest = max((task.memory for task in tasks), default=1)
    if memory < largest + PROCESS_MEMORY:
        raise WeightlapseError(
            f"--max-memory {size_text(memory)}: the largest task needs {size_text(largest + PROCESS_MEMORY)} (what "
            "its states and the work on spectra take); allow that much, for example 4GB, or omit spectra (--metrics)"
        )
    return max(1, (memory - PROCESS_MEMORY) // largest)


def _bundles(run: Run, names: list[str]) -> Iterator[tuple[str, ...]]:
    """Group neighboring small tensors into bundles; a large tensor is a bundle of its own."""
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


def checkpoints_together(info: TensorInfo, needs: Collection[Need], wanted: int) -> int:
    """Return at how many checkpoints a tensor is measured in one walk over its chunks; 0 if it must be loaded whole.

    Args:
        info: the tensor, which must be the same at all checkpoints.
        needs: all needs of the metrics.
        wanted: at how many checkpoints something is measured.
    """
    if info.unsupported or 0 in info.shape or not needs or any(need.served_by is ServedBy.WHOLE for need in needs):
        return 0
    if not needs_blocks(needs):
        return MOST_KEEPING if Counts.ELEMENTS in counts_of(needs) else MOST_FILES
    return _blocks_together(info, _decompose(needs), wanted)


def needs_blocks(needs: Collection[Need]) -> bool:
    """Return whether sums over the elements do not serve all these needs."""
    return any(need.served_by is not ServedBy.SUMS for need in needs)


def _blocks_together(info: TensorInfo, with_spectra: bool, wanted: int) -> int:
    """Return for how many checkpoints a block and a Gram matrix each fit in the memory of four whole states."""
    rows, columns = prod(info.shape[:1]), prod(info.shape[1:])
    block = block_size(info.shape) * numpy_dtype(info.dtype).itemsize
    is_one_matrix = [view.shape for view in matrices(info)] == [(rows, columns)]
    if not is_one_matrix or block == size_of(info) or (with_spectra and info.dtype == "float64"):
        return 0
    room = len(ROLES) * size_of(info) // (block + (8 * columns**2 if with_spectra else 0))
    together = min(room, MOST_BLOCKS)
    return together if together >= min(LEAST_BLOCKS, wanted) else 0


def _decompose(needs: Collection[Need]) -> bool:
    return any(need.decomposes for need in needs)


def _task(run: Run, wanted: Mapping[str, Wanted], needs: Needs) -> Task:
    size, cost, overlap, memory, work = 0, 0.0, 0.0, 0, 0
    spectral = {metric for metric, required in needs.items() if _decompose(required)}
    sketched = {metric for metric, required in needs.items() if STEP_SKETCH in required}
    for name, moments in wanted.items():
        largest, reread = 0, 0.0
        seen: set[tuple[tuple[int, ...], str]] = set()
        all_needs = frozenset[Need]().union(*(needs[metric] for metrics in moments.values() for metric in metrics))
        for position, metrics in moments.items():
            info = run.checkpoints[position].tensors.get(name)
            with_spectrum = not spectral.isdisjoint(metrics)
            size += size_of(info)
            largest = max(largest, size_of(info))
            cost += _cost(info, with_spectrum, with_sketch=not sketched.isdisjoint(metrics))
            work = max(work, _spectral_memory(info) if with_spectrum else 0)
            if info and (like := (info.shape, info.dtype)) not in seen:
                seen.add(like)
                in_chunks = checkpoints_together(info, all_needs, len(moments)) > 0
                reread = max(reread, prod(info.shape) * (REREAD_CHUNKS_COST if in_chunks else REREAD_COST))
        memory += len(ROLES) * largest
        overlap += (len(ROLES) - 1) * reread
    return Task(run.checkpoints, wanted, size, memory + work, cost, overlap)


def _spectral_memory(info: TensorInfo | None) -> int:
    """Return the bytes that the spectrum of a tensor's largest matrix takes in addition to the matrix itself.

    These are a widened block, and squares of the size of the Gram matrix: the sum, the contribution of one block, and
    the copies of Cholesky's and LAPACK's algorithms (six were observed at most).
    """
    most = 0
    for view in matrices(info) if info else ():
        n, m = sorted(view.shape)
        most = max(most, 8 * n * (6 * n + min(m, block_rows(n))))
    return most


def _cost(info: TensorInfo | None, with_spectrum: bool, with_sketch: bool) -> float:
    """Estimate the seconds for a walk over the elements, and for each matrix its Gram matrix and eigenvalues."""
    if info is None:
        return 0.0
    seconds = OBSERVATION_COST + (ELEMENT_COST + (SKETCH_COST if with_sketch else 0.0)) * prod(info.shape)
    for view in matrices(info) if with_spectrum else ():
        n, m = sorted(view.shape)
        seconds += SPECTRUM_COST * n * n * (m + 4 * n)
    return seconds


def _longest_segment(tasks: Sequence[Task], jobs: int) -> float:
    """Return the longest segment, in estimated seconds, for which the last job ends the earliest.

    A task much longer than the others leaves other jobs idle at the end; to cut it costs reading states again.
    """
    total = sum(task.cost for task in tasks)
    limits = [inf, *(total / jobs / parts for parts in (1, 2, 4, 8, 16))] if jobs > 1 else [inf]
    return min(limits, key=lambda limit: _makespan(tasks, jobs, limit))


def _makespan(tasks: Sequence[Task], jobs: int, longest: float) -> float:
    """Return when the last job ends, if each takes the longest segment that is left (Graham 1969)."""
    costs = [
        task.cost / count + (task.overlap if count > 1 else 0.0)
        for task in tasks
        for count in [_segment_count(task, longest)]
        for _ in range(count)
    ]
    ends = [0.0] * jobs
    for cost in sorted(costs, reverse=True):
        heapreplace(ends, ends[0] + cost)
    return max(ends)


def _segment_count(task: Task, longest: float) -> int:
    """Return into how many segments a task is cut."""
    if task.cost <= longest:
        return 1
    positions = len(set().union(*task.wanted.values()))
    return max(1, min(ceil(task.cost / longest), positions // SHORTEST_SEGMENT))


def _cut(run: Run, task: Task, needs: Needs, longest: float) -> Iterator[Task]:
    """Cut the task into segments of time of about equal length."""
    count = _segment_count(task, longest)
    if count == 1:
        yield task
        return
    for chosen in equal_parts(sorted(set().union(*task.wanted.values())), count):
        within = range(chosen[0], chosen[-1] + 1)
        segment = {
            name: {position: metrics for position, metrics in moments.items() if position in within}
            for name, moments in task.wanted.items()
        }
        yield _task(run, {name: moments for name, moments in segment.items() if moments}, needs)


def equal_parts(positions: Sequence[int], count: int) -> Iterator[Sequence[int]]:
    """Cut positions into ``count`` parts of about equal length."""
    ends = [len(positions) * number // count for number in range(count + 1)]
    return (positions[start:end] for start, end in pairwise(ends))


def _wanted(
    run: Run,
    name: str,
    metrics: Sequence[Metric],
    known: Mapping[tuple[str, str, str], str],
    omitted: Mapping[int, frozenset[str]],
) -> Wanted:
    """Map checkpoint positions to the metrics whose row is missing or has another basis, less the omitted ones."""
    if not known:  # nothing is stored: there is no need to compute bases
        everything = {
            position: frozenset(one.row.name for one in applicable(metrics, checkpoint.tensors.get(name), roles))
            for position, roles in places(run.checkpoints, name)
            if (checkpoint := run.checkpoints[position])
        }
        less = {position: names - omitted.get(position, frozenset()) for position, names in everything.items()}
        return {position: names for position, names in less.items() if names}
    stored: dict[tuple[str, str], set[str]] = {}
    for (_, metric_name, checkpoint_name), basis in known.items():
        stored.setdefault((metric_name, checkpoint_name), set()).add(basis)
    chosen: dict[int, set[str]] = {}
    for position, metric, basis in expected_bases(run, name, metrics):
        if metric in omitted.get(position, ()):
            continue
        if stored.get((metric, run.checkpoints[position].name)) != {basis}:
            chosen.setdefault(position, set()).add(metric)
    shared: dict[frozenset[str], frozenset[str]] = {}  # most positions want the same metrics: they share one set
    return {position: shared.setdefault(one := frozenset(names), one) for position, names in chosen.items()}
