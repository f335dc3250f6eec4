"""Relate the scores of one training to the weights of another one of the same schedule, which nothing but it couples.

python tests/benchmarks/exchanged_seeds.py FOLDER [--seeds 8]

Trains MLPs that differ in their seed, measures them with all default metrics, and prints how often p is at most 5 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations
from math import cos, pi
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from healthy_trainings import tables_in
from scipy.stats import binomtest

import analyzer
from analyzer.model.tables import Tables, is_tested
from analyzer.statistics.correlating import Correlations
from trainer import checkpoints
from trainer.checkpoints import Checkpoint
from trainer.config import TrainingConfig
from trainer.datasets import Dataset, load
from trainer.models import build_model
from trainer.training import evaluate, shuffled, train_epoch

HIDDEN, BATCH, IMAGES = (64, 32), 50, 2000
STEPS_PER_EPOCH = IMAGES // BATCH
MOST_FALSE = 0.07


class Schedule(NamedTuple):
    """The learning rate of each epoch from 1, and the epochs that are saved."""

    rate: Callable[[int], float]
    saved: tuple[int, ...]


def cyclic(period: int) -> Callable[[int], float]:
    """Return a triangular learning rate between 0.01 and 0.1."""
    return lambda epoch: 0.01 + 0.09 * (1 - abs(2 * (epoch % period) / period - 1))


def cosine(epochs: int) -> Callable[[int], float]:
    """Return a learning rate that falls from 0.1 to 0."""
    return lambda epoch: 0.05 * (1 + cos(pi * (epoch - 1) / epochs))


def constant(epoch: int) -> float:
    """Return the learning rate of an epoch."""
    return 0.05


def places(gaps: Sequence[int]) -> tuple[int, ...]:
    """Return the epochs of checkpoints with these gaps, from epoch 0."""
    return (0, *np.cumsum(gaps).tolist())


RANDOM_GAPS = places(np.random.default_rng(14).integers(1, 7, 59).tolist())
FIFTH_LONG = places([6 if gap % 5 == 4 else 1 for gap in range(59)])
SCHEDULES = {
    "learning rate with a cycle of 10": Schedule(cyclic(10), tuple(range(61))),
    "gaps of 1 to 6, cosine": Schedule(cosine(RANDOM_GAPS[-1]), RANDOM_GAPS),
    "every fifth gap six times as long, cosine": Schedule(cosine(FIFTH_LONG[-1]), FIFTH_LONG),
    "gaps of 1 to 6, constant": Schedule(constant, RANDOM_GAPS),
    "every fifth gap six times as long, constant": Schedule(constant, FIFTH_LONG),
}


def train(schedule: Schedule, dataset: Dataset, seed: int, folder: Path) -> None:
    """Write the checkpoints of one training, as weightlapse-train does."""
    config = TrainingConfig(hidden=HIDDEN, seed=seed, batch_size=BATCH)
    model = build_model(HIDDEN, "pytorch", seed)
    folder.mkdir(parents=True)
    for epoch in range(schedule.saved[-1] + 1):
        scores = {}
        if epoch > 0:
            batches = torch.split(shuffled(IMAGES, seed, epoch), BATCH)
            found = train_epoch(model, dataset, batches, schedule.rate(epoch))
            scores = dict(zip(("train_accuracy", "train_loss"), found, strict=True))
        if epoch in schedule.saved:
            scores |= dict(zip(("test_accuracy", "test_loss"), evaluate(model, dataset), strict=True))
            weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            stored = checkpoints.config_as_stored(config)
            checkpoints.save(folder, Checkpoint(epoch, epoch * STEPS_PER_EPOCH, scores, stored, weights))


def exchanged(runs: Sequence[Tables]) -> dict[str, list[float | None]]:
    """Return the p-values of all pairs of different runs by metric: tensors × scores × methods."""
    found: dict[str, list[float | None]] = {}
    for one, other in permutations(runs, 2):
        related = Correlations(replace(one, scalars=other.scalars))
        for metric, rows in related.items():
            found.setdefault(metric, []).extend(row.p_value for row in rows if is_tested(row))
    return found


def told(p_values: Sequence[float | None]) -> str:
    """Return the number of pairs, the share with a p-value and the share with at most 5 % in words."""
    printed = sum(p is not None for p in p_values)
    return f"{len(p_values)} pairs, p for {printed / len(p_values):.0%}, at most 5 % in {false_share(p_values):.1%}"


def false_share(p_values: Sequence[float | None]) -> float:
    """Return the share of all pairs whose p is at most 5 %."""
    return sum(p is not None and p <= 0.05 for p in p_values) / len(p_values)


def main() -> None:
    """Train what is not yet there, and print the shares of each schedule and of its worst metrics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where trainings and their stores are, or will be, written")
    parser.add_argument("--seeds", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    whole = load("mnist-sample", Path())
    dataset = whole._replace(train_images=whole.train_images[:IMAGES], train_labels=whole.train_labels[:IMAGES])
    for name, schedule in SCHEDULES.items():
        runs = []
        for seed in range(arguments.seeds):
            folder = arguments.folder / f"{name.replace(' ', '_')}_{seed}"
            store = folder.with_suffix(".sqlite")
            if not folder.exists():
                train(schedule, dataset, seed, folder)
            if not store.exists():
                analyzer.measure(analyzer.open_run(folder), store, jobs=1)
            runs.append(tables_in(store))
        by_metric = exchanged(runs)
        print(f"{name}: {told([p for values in by_metric.values() for p in values])}", flush=True)
        for metric, values in sorted(by_metric.items(), key=lambda item: -false_share(item[1]))[:5]:
            small = sum(p is not None and p <= 0.05 for p in values)
            low = binomtest(small, len(values)).proportion_ci().low
            print(f"    {metric}: {told(values)}{', WHOLLY ABOVE 7 %' if low > MOST_FALSE else ''}")


if __name__ == "__main__":
    main()
