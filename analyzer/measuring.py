"""Brings a store up to date with a run: plans what is missing, measures it, keeps it, derives the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from analyzer.derivation import DERIVED, derive
from analyzer.engine import walk
from analyzer.executors import available_cores, run_in_threads
from analyzer.metrics.registry import Metric
from analyzer.planning import plan
from analyzer.run import Run
from analyzer.store import Observation, Store
from analyzer.tensors import tensor_rows

COMMIT_SECONDS = 1.0

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """What one call did: bytes walked, how many checkpoints had to be measured, and those that are gone."""

    bytes: int
    checkpoints: int
    gone: tuple[str, ...]


def bring_up_to_date(
    store: Store,
    run: Run,
    metrics: Sequence[Metric],
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Measure what the store does not know yet of a run.

    Args:
        store: where the measurements are kept; what is there already and rests on the same bytes is not measured again.
        run: the run.
        metrics: what to measure.
        jobs: threads; by default as many as the process may use.
        progress: called with (bytes done, bytes in all).

    Raises:
        StoreError: the store cannot be written; what was measured before is kept.

    """
    with store.transaction():
        gone = store.put_run(run, tensor_rows(run), [*(metric.row for metric in metrics), *DERIVED])
    tasks = plan(run, metrics, partial(store.bases, run.name))
    total = sum(task.bytes for task in tasks)
    work = partial(walk, metrics={metric.row.name: metric for metric in metrics})
    _collect(store, run.name, run_in_threads(tasks, work, jobs or available_cores()), total, progress)
    derive(store, run.name, metrics)
    with store.transaction():
        store.mark_complete(run.name)
    return Summary(total, len({position for task in tasks for position, _ in task.wanted}), tuple(gone))


def _collect(
    store: Store, run: str, observations: Iterator[Observation], total: int, progress: Progress | None
) -> None:
    """Keep observations as they come, a batch per transaction, the last batch also when interrupted."""
    writer = store.writer(run)
    batch: list[Observation] = []
    done, last = 0, time.monotonic()

    def keep() -> None:
        with store.transaction():
            for observation in batch:
                writer.add(observation)
        batch.clear()

    try:
        for observation in observations:
            batch.append(observation)
            done += observation.bytes
            if progress:
                progress(done, total)
            if time.monotonic() - last > COMMIT_SECONDS:
                keep()
                last = time.monotonic()
    finally:
        keep()
