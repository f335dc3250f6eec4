"""Made-up runs as a store would return them, to be compared without measuring anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analyzer.model.comparison import StoredRun
from analyzer.model.run import Status
from analyzer.model.tables import CheckpointRow, Curve, Tables, TensorRow

LAYERS = ("fc1.weight", "fc2.weight", "out.weight")


def stored_run(
    name: str,
    *,
    seed: int = 0,
    settings: Mapping[str, str] | None = None,
    epochs: Sequence[float] = tuple(range(13)),
    distance: float = 4.0,
    condition: float = 5.0,
    accuracy: float = 0.9,
    noise: float = 0.02,
    contents: Mapping[str, Mapping[str, str]] | None = None,
    layers: Sequence[str] = LAYERS,
) -> StoredRun:
    """Return a run that saturates at these values, each with a random deviation of relative size ``noise``."""
    generator = np.random.default_rng(seed)
    off = np.exp(noise * generator.standard_normal(3))
    grown = 1 - np.exp(-np.array(epochs, dtype=float) / 4)
    rows = tuple(CheckpointRow(f"epoch_{epoch:g}", float(epoch), int(100 * epoch), "p", 1) for epoch in epochs)
    curves: dict[tuple[str, str, str], Curve] = {}

    def add(scope: str, tensor: str, metric: str, values: np.ndarray) -> None:
        statuses: tuple[Status, ...] = ("ok",) * len(values)
        curves[scope, tensor, metric] = Curve(scope, tensor, metric, values, statuses, (None,) * len(values))

    moved = distance * off[0] * grown
    steps = np.abs(np.diff(moved)) * np.exp(0.2 * generator.standard_normal(len(moved) - 1))
    for scope, tensor in (("total", ""), *(("tensor", layer) for layer in layers)):
        add(scope, tensor, "initial_distance", moved)
        add(scope, tensor, "frobenius_norm", 10 + moved)
        add(scope, tensor, "path_length", np.concatenate([[0.0], np.cumsum(steps)]))
    for layer in layers:
        add("tensor", layer, "condition_number", 1 + condition * off[1] * grown)
    add("mean", "", "effective_rank", 30 - grown)
    noisy = accuracy * off[2] * grown + 0.01 * generator.standard_normal(len(grown))
    tables = Tables(
        run=name,
        axis=np.array(epochs, dtype=float),
        axis_label="epoch",
        checkpoints=rows,
        tensors=tuple(TensorRow(layer, layer, "matrix", (4, 4), (4, 4), "", "float32") for layer in layers),
        metrics={},
        scalars={"test_accuracy": noisy, "test_loss": 2.3 - 2 * grown},
        curves=curves,
        correlations={},
        change_pairs=(),
        findings=(),
    )
    own = {row.name: {layer: f"{name}{row.name}{layer}" for layer in layers} for row in rows}
    return StoredRun(name, "store.sqlite", f"runs/{name}", tables, contents or own, settings or {})


def lone_runs(count: int, **values: Any) -> list[StoredRun]:
    """Return ``count`` runs that share no settings, so that each is a group of its own."""
    return [stored_run(f"run {chr(97 + i)}{'x' * i}", seed=i, **values) for i in range(count)]


def with_settings(init: str, seed: int) -> dict[str, str]:
    """Return settings as weightlapse-train writes them, as JSON by name."""
    return {"init": f'"{init}"', "lr": "0.005", "seed": str(seed)}


def two_groups(count: int = 6, first_seed: int = 0, **second: float) -> list[StoredRun]:
    """Return ``count`` runs each of ``plain`` and of ``other``, which has the values of ``second``."""
    return [
        stored_run(
            f"{init}-{number}", seed=first_seed + 100 * group + number, settings=with_settings(init, number), **values
        )
        for group, (init, values) in enumerate((("plain", {}), ("other", second)))
        for number in range(count)
    ]  # type: ignore[arg-type]
