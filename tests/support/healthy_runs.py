"""Simulated curves of healthy trainings: scores and step lengths under the usual schedules of the learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from curve_tables import tables_of

from analyzer.model.tables import Tables

Array = np.ndarray
LAYERS = {"embed.weight": 1.0, "fc1.weight": 0.6, "fc2.weight": 0.4, "head.weight": 0.2}

# The learning rate over the share of the run.
SCHEDULES: Mapping[str, Callable[[Array], Array]] = {
    "constant": np.ones_like,
    "noisy": np.ones_like,
    "cosine": lambda share: (1 + np.cos(np.pi * share)) / 2 + 1e-3,
    "one cycle": lambda share: np.where(share < 0.3, share / 0.3, (1 + np.cos(np.pi * (share - 0.3) / 0.7)) / 2) + 1e-3,
    "steps": lambda share: 0.1 ** np.floor(3 * np.minimum(share, 0.999)),
    "halves": lambda share: 0.5 ** np.floor(5 * np.minimum(share, 0.999)),
    "restarts": lambda share: (1 + np.cos(np.pi * (3 * share % 1))) / 2 + 1e-3,
    "triangles": lambda share: 1 - np.abs(2 * (4 * share % 1) - 1) + 0.02,
}


def healthy_run(schedule: str, seed: int, epochs: int = 40) -> Tables:
    """Return the tables of one run: it learns while the rate is high, scatters with it, and slows down as it learns."""
    generator = np.random.default_rng([seed, list(SCHEDULES).index(schedule)])
    rate = SCHEDULES[schedule](np.linspace(0, 1, epochs + 1)[1:])
    learned = np.concatenate(([0.0], 1 - np.exp(-np.cumsum(rate) / generator.uniform(2, 5))))
    scatter = (0.03 if schedule == "noisy" else 0.004) * np.concatenate(([0.0], np.sqrt(rate)))
    top, behind = generator.uniform(0.85, 0.99), generator.uniform(0.0, 0.04)

    def scattered(values: Array) -> Array:
        return values + scatter * generator.standard_normal(epochs + 1)

    raised = 0.05 * np.concatenate(([0.0], rate))  # a high rate keeps the loss up
    scores = {
        "train_accuracy": np.clip(scattered(0.1 + (top - 0.1) * learned - raised), 0, 1),
        "test_accuracy": np.clip(scattered(0.1 + (top - behind - 0.1) * learned - raised), 0, 1),
        "train_loss": np.abs(2.3 - 2.2 * learned + scattered(4 * raised)) + 0.02,
        "test_loss": np.abs(2.3 - 2.0 * learned + scattered(4 * raised)) + 0.02,
    }
    slowing = 1 - 0.8 * learned[1:]
    steps = {
        name: np.append(np.nan, size * rate * slowing * np.exp(0.06 * generator.standard_normal(epochs)))
        for name, size in LAYERS.items()
    }
    curves = {("tensor", name, "step_distance"): values for name, values in steps.items()}
    curves |= {("tensor", name, "relative_step_distance"): values / 10 for name, values in steps.items()}
    total = np.sqrt(np.sum([values**2 for values in steps.values()], axis=0))
    curves["total", "", "step_distance"] = total
    curves["total", "", "relative_step_distance"] = total / 10
    curves["total", "", "initial_distance"] = np.append(0, np.sqrt(np.cumsum(total[1:] ** 2)))
    curves["total", "", "frobenius_norm"] = np.full(epochs + 1, 10.0)
    return tables_of(curves, scores)


def healthy_runs(seeds: int = 5) -> Iterator[tuple[str, Tables]]:
    """Yield (name, tables) of runs under each schedule."""
    for schedule in SCHEDULES:
        for seed in range(seeds):
            yield f"{schedule}, seed {seed}", healthy_run(schedule, seed)
