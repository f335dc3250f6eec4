"""Bring a store up to date with a run: plan what is missing, measure it, store it, derive the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module

from analyzer.engine.derived import DERIVED, derive
from analyzer.engine.executors import available_cores, run_tasks
from analyzer.engine.fingerprints import expected_bases
from analyzer.engine.planning import Task, affordable_streams, plan, tensor_names
from analyzer.engine.shards import Shard, places_of, shard_tasks
from analyzer.engine.walk import walk
from analyzer.metrics.registry import METRICS, Metric
from analyzer.model.run import Run
from analyzer.store.reader import RowKey
from analyzer.store.run_reader import Asked
from analyzer.store.store import Store
from analyzer.store.writer import Observation, Writer
from analyzer.tensors.kinds import tensor_rows

COMMIT_SECONDS = 1.0

Progress = Callable[[int, int], None]
Known = Callable[[str], Mapping[tuple[str, str, str], str]]


@dataclass(frozen=True, slots=True)
class MeasureRequest:
    """The metrics to measure, and how.

    ``spectra_every`` omits the spectra of all but every N-th checkpoint, the first and the last; ``jobs`` is the number
    of tasks at a time, by default the number of cores; ``max_memory`` (bytes) lowers it; ``device`` is ``cpu``, or
    ``cuda`` to compute spectra on a graphics card; ``shard`` limits the work to one of several parts.
    """

    metrics: Sequence[Metric]
    spectra_every: int = 1
    jobs: int | None = None
    max_memory: int | None = None
    device: str = "cpu"
    shard: Shard | None = None

    @property
    def asked(self) -> Asked:
        """The request as a store records it, when it is begun and when it is finished."""
        names = tuple(metric.row.name for metric in self.metrics)
        return Asked(names, self.spectra_every, str(self.shard) if self.shard else "")


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of one call: bytes and checkpoints that were measured, and checkpoints that disappeared."""

    bytes: int
    checkpoints: int
    gone: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outlook:
    """The work that remains for a run: how many tensors at how many checkpoints, by how many jobs.

    ``bytes`` is how much has to be read; ``seconds`` is a rough estimate for a core of 2024.
    """

    tensors: int
    checkpoints: int
    bytes: int
    jobs: int
    seconds: float


def outlook(run: Run, request: MeasureRequest, store: Store | None) -> Outlook:
    """Return what :func:`bring_up_to_date` would do with the store, or with a new one (None).

    Raises:
        WeightlapseError: not even one stream fits in ``max_memory``.
    """
    is_known = store is not None and run.name in store.runs()
    tasks, jobs = _planned(run, request, partial(store.bases, run.name) if store and is_known else lambda _: {})
    return Outlook(
        len({name for task in tasks for name in task.wanted}),
        _checkpoints(tasks),
        sum(task.bytes for task in tasks),
        min(jobs, len(tasks)),
        sum(task.cost for task in tasks) / jobs,
    )


def _planned(run: Run, request: MeasureRequest, known: Known) -> tuple[list[Task], int]:
    """Return the tasks, and how many of them can run at a time."""
    jobs = request.jobs or available_cores()
    within = None
    if shard := request.shard:
        within = places_of(shard_tasks(run, request.metrics, request.spectra_every, shard.of)[shard.number - 1])
    tasks = plan(run, request.metrics, known, jobs, request.spectra_every, within)
    if request.max_memory is not None:
        jobs = min(jobs, affordable_streams(tasks, request.max_memory))
    return tasks, jobs


def _checkpoints(tasks: Sequence[Task]) -> int:
    return len({position for task in tasks for places in task.wanted.values() for position in places})


def bring_up_to_date(
    store: Store,
    run: Run,
    request: MeasureRequest,
    progress: Progress | None = None,
) -> Summary:
    """Measure what the store lacks of a run; the run counts as unfinished until the caller finishes it.

    Args:
        store: where the measurements are stored; rows that depend on the same bytes and code are not measured again.
        run: the run.
        request: what to measure.
        progress: called with (bytes done, total bytes).

    Returns:
        what was done.

    Raises:
        StoreError: the store cannot be written; what was measured before is kept.
        DeviceError: the device is not available.
        WeightlapseError: not even one stream fits in ``max_memory``.
    """
    metrics = request.metrics
    work = _worker(metrics, request.device)
    with store.transaction():
        has_only_grown = store.has_only_grown(run)
        gone = store.put_run(run, tensor_rows(run), [*(metric.row for metric in metrics), *DERIVED])
        if not has_only_grown:
            store.forget_rows(run.name, _outdated(store, run, metrics))
    # In one transaction: a process that finished the same before left no task; one that finishes later ends this too.
    with store.transaction():
        tasks, jobs = _planned(run, request, partial(store.bases, run.name))
        if tasks or (request.shard and not store.measured_metrics(run.name)):
            store.begin(run.name, request.asked)
    total = sum(task.bytes for task in tasks)
    new_writer = partial(store.writer, run.name, {metric.row.name: metric.needs for metric in metrics})
    _collect(store, new_writer, run_tasks(tasks, work, jobs, may_fork=request.device == "cpu"), total, progress)
    if request.shard is None:
        derive(store, run.name, metrics)
    return Summary(total, _checkpoints(tasks), tuple(gone))


def _worker(metrics: Sequence[Metric], device: str) -> Callable[[Task], Iterator[Observation]]:
    """Return the worker function, bound to the metrics and the device, with all that it needs imported."""
    work = partial(walk, metrics={metric.row.name: metric for metric in metrics})
    for module in {module for metric in metrics for need in metric.needs for module in need.imports}:
        import_module(module)
    if device == "cpu":
        return work
    from analyzer.numerics.torch_backend import check_device, spectra

    check_device(device)
    return partial(work, decompose=partial(spectra, device=device))


def _outdated(store: Store, run: Run, metrics: Sequence[Metric]) -> Iterator[RowKey]:
    """Yield the stored rows that depend on other bytes than the run has now, requested or not.

    Rows of metrics that are not loaded now (from a user's file, for example) cannot be checked and are included.
    """
    known_metrics = {**METRICS, **{metric.row.name: metric for metric in metrics}}
    for name in tensor_names(run):
        bases = store.bases(run.name, name)
        expected = {
            (metric, run.checkpoints[position].name): basis
            for position, metric, basis in expected_bases(run, name, list(known_metrics.values()))
        }
        yield from (key for key, basis in bases.items() if expected.get((key[1], key[2])) != basis)


def _collect(
    store: Store,
    new_writer: Callable[[], Writer],
    observations: Iterator[Observation],
    total: int,
    progress: Progress | None,
) -> None:
    """Store observations as they arrive, one batch per transaction; an interruption stores the last batch too."""
    batch: list[Observation] = []
    done, last = 0, time.monotonic()
    writer = new_writer()

    def write() -> None:
        nonlocal writer
        try:
            with store.transaction():
                writer.add(batch)
        except BaseException:
            writer = new_writer()  # the ids that it knew may have been rolled back
            raise
        batch.clear()

    try:
        for observation in observations:
            batch.append(observation)
            done += observation.bytes
            if progress:
                progress(done, total)
            if time.monotonic() - last > COMMIT_SECONDS:
                write()
                last = time.monotonic()
    finally:
        write()
