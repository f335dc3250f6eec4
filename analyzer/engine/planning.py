"""What has to be measured: which metrics of which tensors at which checkpoints, in bundles that fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from math import ceil, inf, prod

from analyzer.engine.fingerprints import applicable, expected_bases, places
from analyzer.engine.holding import DECOMPOSED, ROLES, way_of
from analyzer.errors import WeightlapseError
from analyzer.metrics.registry import Metric
from analyzer.model.run import Checkpoint, Run, TensorInfo
from analyzer.model.sizes import size_text
from analyzer.numerics.blocks import slab_rows
from analyzer.tensors.kinds import matrices, size_of

BUNDLE_BYTES = 8 << 20
PROCESS_MEMORY = 250 << 20  # Python, the libraries, the blocks that are worked on, the plan
# A stretch much shorter than this spends its time on reading W_0, W_{t−1} and W_{t−2} again.
SHORTEST_STRETCH = 3
# Seconds, measured on one core; only their proportion matters here: for each row's bookkeeping, for each element, and
# for a spectrum (times n²(m + 4n)).
OBSERVATION_COST, ELEMENT_COST, SPECTRUM_COST = 4e-4, 5e-9, 2.2e-11
# For each element of a state that a stretch reads again: into memory of its own, or piece by piece.
REREAD_COST, REREAD_PIECES_COST = 9e-9, 1.5e-9

Wanted = Mapping[int, frozenset[str]]
Needs = Mapping[str, frozenset[str]]  # of each metric


@dataclass(frozen=True, slots=True)
class Task:
    """Some tensors to be walked through a stretch of a run.

    ``checkpoints`` is the whole run in order; ``wanted`` maps a tensor's name to the checkpoint positions at which
    something is to be measured, and these to the names of the metrics. ``bytes`` is what these states hold, ``memory``
    what is held at a time, ``cost`` an estimate in seconds, ``overlap`` that of what a further stretch reads again.
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
) -> list[Task]:
    """The tasks that measure what is not known yet, the costliest first.

    Args:
        run: the run.
        metrics: what is asked for.
        known: for a tensor's name, what its stored rows rest on: (matrix, metric, checkpoint) -> basis.
        jobs: how many tasks will run at a time; long walks are cut so that all of them are busy to the end.
        spectra_every: what needs a spectrum is measured at every N-th checkpoint only, and at the last one.
    """
    needs = {metric.row.name: frozenset(need.name for need in metric.needs) for metric in metrics}
    spectral = frozenset(name for name, its_needs in needs.items() if its_needs & DECOMPOSED)
    last = len(run.checkpoints) - 1
    sparse = {position: spectral for position in range(last) if position % spectra_every}
    wanted = {name: _wanted(run, name, metrics, known(name), sparse) for name in tensor_names(run)}
    bundles = _bundles(run, [name for name, places in wanted.items() if places])
    tasks = [_task(run, {name: wanted[name] for name in bundle}, needs) for bundle in bundles]
    longest = _longest_stretch(tasks, jobs)
    stretches = [stretch for task in tasks for stretch in _cut(run, task, needs, longest)]
    return sorted(stretches, key=lambda task: task.cost, reverse=True)


def tensor_names(run: Run) -> list[str]:
    """Every tensor's name, in the order of first appearance."""
    return list(dict.fromkeys(name for checkpoint in run.checkpoints for name in checkpoint.tensors))


def affordable_streams(tasks: Sequence[Task], memory: int) -> int:
    """How many of the tasks may run at a time in ``memory`` bytes.

    Raises:
        WeightlapseError: not even one.
    """
    largest = max((task.memory for task in tasks), default=1)
    if memory < largest + PROCESS_MEMORY:
        raise WeightlapseError(
            f"--max-memory {size_text(memory)}: the largest stream needs {size_text(largest + PROCESS_MEMORY)} (what "
            "is held of its states, and the work on spectra); grant that much, as in 4GB, or leave spectra out "
            "(--metrics)"
        )
    return max(1, (memory - PROCESS_MEMORY) // largest)


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


def _task(run: Run, wanted: Mapping[str, Wanted], needs: Needs) -> Task:
    size, cost, overlap, states, held, work = 0, 0.0, 0.0, 0, 0, 0
    for name, moments in wanted.items():
        largest, reread = 0, 0.0
        seen: set[tuple[tuple[int, ...], str]] = set()
        all_needs = frozenset[str]().union(*(needs[metric] for metrics in moments.values() for metric in metrics))
        for position, metrics in moments.items():
            info = run.checkpoints[position].tensors.get(name)
            with_spectrum = any(needs[metric] & DECOMPOSED for metric in metrics)
            size += size_of(info)
            largest = max(largest, size_of(info))
            cost += _cost(info, with_spectrum)
            work = max(work, _spectral_memory(info) if with_spectrum else 0)
            if info and (like := (info.shape, info.dtype)) not in seen:
                seen.add(like)
                hold, together = way_of(info, all_needs, len(moments))
                held = max(held, together * size_of(info) if hold == "whole" else 0)
                reread = max(reread, prod(info.shape) * (REREAD_PIECES_COST if together else REREAD_COST))
        states += len(ROLES) * largest
        overlap += (len(ROLES) - 1) * reread
    return Task(run.checkpoints, wanted, size, max(states, held) + work, cost, overlap)


def _spectral_memory(info: TensorInfo | None) -> int:
    """Bytes of what the spectrum of a tensor's largest matrix takes besides the matrix itself.

    A widened slab, and squares of the Gram matrix's size: the sum, one slab's part of it, and what Cholesky's and
    LAPACK's ways through them hold (six were seen at most).
    """
    most = 0
    for view in matrices(info) if info else ():
        n, m = sorted(view.shape)
        most = max(most, 8 * n * (6 * n + min(m, slab_rows(n))))
    return most


def _cost(info: TensorInfo | None, with_spectrum: bool) -> float:
    """Seconds, roughly: a walk over the elements, and for each matrix its Gram matrix and eigenvalues."""
    if info is None:
        return 0.0
    seconds = OBSERVATION_COST + ELEMENT_COST * prod(info.shape)
    for view in matrices(info) if with_spectrum else ():
        n, m = sorted(view.shape)
        seconds += SPECTRUM_COST * n * n * (m + 4 * n)
    return seconds


def _longest_stretch(tasks: Sequence[Task], jobs: int) -> float:
    """How long (in seconds of the estimate) a stretch may be, for the last job to end the earliest.

    A task much longer than the others leaves the other jobs idle at the end; to cut it means reading states again.
    """
    total = sum(task.cost for task in tasks)
    limits = [inf, *(total / jobs / parts for parts in (1, 2, 4, 8, 16))] if jobs > 1 else [inf]
    return min(limits, key=lambda limit: _makespan(tasks, jobs, limit))


def _makespan(tasks: Sequence[Task], jobs: int, longest: float) -> float:
    """When the last job ends, if each takes the longest stretch that is left (Graham 1969)."""
    costs = [
        task.cost / pieces + (task.overlap if pieces > 1 else 0.0)
        for task in tasks
        for pieces in [_pieces(task, longest)]
        for _ in range(pieces)
    ]
    ends = [0.0] * jobs
    for cost in sorted(costs, reverse=True):
        heapreplace(ends, ends[0] + cost)
    return max(ends)


def _pieces(task: Task, longest: float) -> int:
    """Into how many stretches a task is cut."""
    if task.cost <= longest:
        return 1
    positions = len(set().union(*task.wanted.values()))
    return max(1, min(ceil(task.cost / longest), positions // SHORTEST_STRETCH))


def _cut(run: Run, task: Task, needs: Needs, longest: float) -> Iterator[Task]:
    """The task in stretches of time of about equal length."""
    pieces = _pieces(task, longest)
    if pieces == 1:
        yield task
        return
    positions = sorted(set().union(*task.wanted.values()))
    for piece in range(pieces):
        chosen = positions[len(positions) * piece // pieces : len(positions) * (piece + 1) // pieces]
        within = range(chosen[0], chosen[-1] + 1)
        stretch = {
            name: {position: metrics for position, metrics in places.items() if position in within}
            for name, places in task.wanted.items()
        }
        yield _task(run, {name: places for name, places in stretch.items() if places}, needs)


def _wanted(
    run: Run,
    name: str,
    metrics: Sequence[Metric],
    known: Mapping[tuple[str, str, str], str],
    left_out: Mapping[int, frozenset[str]],
) -> Wanted:
    """Checkpoint position -> metrics whose stored row is missing or rests on other bytes, less those left out."""
    if not known:  # nothing is stored: no need to work out what it would have to rest on
        everything = {
            position: frozenset(one.row.name for one in applicable(metrics, checkpoint.tensors.get(name), roles))
            for position, roles in places(run.checkpoints, name)
            if (checkpoint := run.checkpoints[position])
        }
        less = {position: names - left_out.get(position, frozenset()) for position, names in everything.items()}
        return {position: names for position, names in less.items() if names}
    stored: dict[tuple[str, str], set[str]] = {}
    for (_, metric_name, checkpoint_name), basis in known.items():
        stored.setdefault((metric_name, checkpoint_name), set()).add(basis)
    chosen: dict[int, set[str]] = {}
    for position, metric, basis in expected_bases(run, name, metrics):
        if metric in left_out.get(position, ()):
            continue
        if stored.get((metric, run.checkpoints[position].name)) != {basis}:
            chosen.setdefault(position, set()).add(metric)
    shared: dict[frozenset[str], frozenset[str]] = {}  # most positions want the very same: one set serves them all
    return {position: shared.setdefault(one := frozenset(names), one) for position, names in chosen.items()}
