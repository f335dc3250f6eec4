"""Cut what is to be measured of a run into shards, which several machines measure without knowing of each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analyzer.engine.planning import Task, plan
from analyzer.errors import ArgumentError
from analyzer.metrics.registry import METRICS, Metric
from analyzer.model.run import Run
from analyzer.store.run_reader import Asked
from analyzer.store.store import Store


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``of`` parts of the work, numbered from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        """Return it as I/N."""
        return f"{self.number}/{self.of}"


def parse_shard(text: str) -> Shard:
    """Parse I/N, such as 2/8.

    Raises:
        ArgumentError: it is not of this form, or I is not among 1 to N.
    """
    number, slash, count = text.partition("/")
    if not (slash and number.isascii() and number.isdigit() and count.isascii() and count.isdigit()):
        raise ArgumentError(f"{text!r} is no shard; write I/N, such as 2/8 for the second of eight")
    shard = Shard(int(number), int(count))
    if not 1 <= shard.number <= shard.of:
        raise ArgumentError(f"there is no shard {shard}; they are numbered from 1/{shard.of} to {shard.of}/{shard.of}")
    return shard


def shard_tasks(run: Run, metrics: Sequence[Metric], spectra_every: int, count: int) -> list[list[Task]]:
    """Return the tasks of each of ``count`` shards.

    They depend on the run, the metrics and ``count`` alone, so that all machines cut alike. Each task goes to the shard
    that has the least to do so far, the longest first (Graham 1969).
    """
    shards: list[list[Task]] = [[] for _ in range(count)]
    costs = [0.0] * count
    for task in plan(run, metrics, lambda _: {}, count, spectra_every):
        least = costs.index(min(costs))
        shards[least].append(task)
        costs[least] += task.cost
    return shards


def places_of(tasks: Sequence[Task]) -> Mapping[str, frozenset[int]]:
    """Return the positions at which tasks measure each tensor."""
    places: dict[str, set[int]] = {}
    for task in tasks:
        for name, wanted in task.wanted.items():
            places.setdefault(name, set()).update(wanted)
    return {name: frozenset(its) for name, its in places.items()}


def missing_shards(store: Store, name: str) -> list[str]:
    """Return which shards of a run are missing from a store, in words; finish what is complete.

    Args:
        store: where shards were measured or merged, in a transaction.
        name: the run.

    Raises:
        ArgumentError: one was measured with a metric that is not known.
    """
    run = store.run(name)
    stored = {
        tensor.name: {(metric, at) for _, metric, at in store.bases(name, tensor.name)}
        for tensor in store.tensors(name)
    }
    missing = []
    begun = [one for one in store.begun(name) if one.shard]
    for names, spectra_every, count in dict.fromkeys(
        (one.metrics, one.spectra_every, parse_shard(one.shard).of) for one in begun
    ):
        if unknown := [metric for metric in names if metric not in METRICS]:
            raise ArgumentError(
                f"{store.path}: metric {unknown[0]} is not known here; name its file with --metrics-from"
            )
        shards = shard_tasks(run, [METRICS[metric] for metric in names], spectra_every, count)
        absent = [_absent(run, tasks, stored) for tasks in shards]
        if not any(lacking for lacking, _ in absent):
            store.finish(name, Asked(names, spectra_every))
        for number, (lacking, of) in enumerate(absent, 1):
            if lacking:
                what = "is missing" if lacking == of else f"lacks {lacking} of {of} tensors × checkpoints"
                missing.append(f"shard {Shard(number, count)} of {name} {what}")
    return missing


def _absent(run: Run, tasks: Sequence[Task], stored: Mapping[str, set[tuple[str, str]]]) -> tuple[int, int]:
    """Return at how many tensors × checkpoints rows of tasks are absent, and of how many."""
    absent = of = 0
    for task in tasks:
        for tensor, wanted in task.wanted.items():
            for position, metrics in wanted.items():
                of += 1
                at = run.checkpoints[position].name
                absent += any((metric, at) not in stored[tensor] for metric in metrics)
    return absent, of
