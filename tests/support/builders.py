"""Tiny runs for the tests, written by the safetensors library itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

CHECKOUT = Path(__file__).parents[2]
SUPPORT = Path(__file__).parent
Weights = Mapping[str, np.ndarray]
STRESS = os.environ.get("WEIGHTLAPSE_STRESS") == "1"


def full_count(full: Any, modest: Any) -> Any:
    """How many repetitions (or which cases): all of them under ``make stress``, modestly many otherwise."""
    return full if STRESS else modest


def save_weights(path: Path, weights: Weights, metadata: Mapping[str, str] | None = None) -> Path:
    """One safetensors file; arrays are made contiguous, which the library does not do by itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    save_file(tensors, path, metadata=dict(metadata) if metadata else None)
    return path


def random_walk(
    epochs: int, shapes: Mapping[str, tuple[int, ...]] | None = None, seed: int = 0, dtype: Any = np.float32
) -> list[dict[str, np.ndarray]]:
    """Weights that take a random step of about 1 % in each epoch; the first state comes first."""
    shapes = shapes or {"fc1.weight": (12, 20), "fc1.bias": (12,), "out.weight": (5, 12), "out.bias": (5,)}
    generator = np.random.default_rng(seed)
    weights = {name: generator.standard_normal(shape) for name, shape in shapes.items()}
    states = []
    for _ in range(epochs):
        states.append({name: array.astype(dtype) for name, array in weights.items()})
        weights = {name: array + 0.01 * generator.standard_normal(array.shape) for name, array in weights.items()}
    return states


def weightlapse_metadata(epoch: int, **changes: str | None) -> dict[str, str]:
    """The strings that weightlapse-train writes; a change to None leaves the key out."""
    accuracy = 0.9 - 0.8 * 0.7**epoch
    strings: dict[str, str | None] = {
        "format": "weightlapse",
        "schema": "1",
        "epoch": str(epoch),
        "step": str(100 * epoch),
        "test_accuracy": repr(accuracy),
        "test_loss": repr(2.3 * 0.8**epoch),
        "train_accuracy": repr(accuracy + 0.02) if epoch else None,
        "train_loss": repr(2.2 * 0.8**epoch) if epoch else None,
        "config": "{}",
    }
    return {key: value for key, value in {**strings, **changes}.items() if value is not None}
