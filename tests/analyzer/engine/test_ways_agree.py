"""Random runs, cut and held in random ways: whatever way a tensor is taken, all that is stored of it is the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import ml_dtypes
import numpy as np
import pytest
from builders import full_count, save_weights
from commands import everything

from analyzer import measure as measure_run
from analyzer import open_run
from analyzer.engine import planning
from analyzer.engine import walk as engine
from analyzer.numerics import blocks as cutting
from analyzer.numerics import singular_values as decomposition

DTYPES = [
    np.float32,
    np.float64,
    np.float16,
    ml_dtypes.bfloat16,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e5m2,
]
SHAPES = [(), (1,), (37,), (500,), (60, 7), (200, 9), (7, 60), (30, 30), (40, 3, 2, 2), (5, 40, 4), (1, 50), (50, 1),
          (300, 4), (64, 8, 1, 1), (0, 4), (90, 13)]  # fmt: skip
METRICS = [None, ["motion"], ["size"], ["motion", "size"], ["near_zero_fraction"], ["dead_row_count"], ["spectrum"],
           ["tail", "motion"], ["subspace", "motion"], ["update", "size"], ["nonfinite_count", "motion"],
           ["initial_distance"], ["update_cosine"], ["unmoved_row_count"]]  # fmt: skip
CHOICES = {
    (cutting, "CHUNK"): [3, 64, 1000],
    (cutting, "MIN_BLOCK"): [8, 100, 400],
    (cutting, "MAX_BLOCK"): [100, 400, 3 << 20],
    (cutting, "BLOCK_HEIGHT"): [1, 6],
    (planning, "MOST_BLOCKS"): [1, 2, 4, 6],
    (planning, "LEAST_BLOCKS"): [1, 3],
    (planning, "MOST_FILES"): [1, 2, 5, 128],
    (planning, "MOST_KEEPING"): [1, 2, 16],
    (planning, "SHORTEST_SEGMENT"): [1, 3],
    (planning, "BUNDLE_BYTES"): [1, 2000, 8 << 20],
    (decomposition, "SMALL_WORK"): [0, 1000, 300_000],
}


def states(chance: random.Random, count: int) -> Iterator[np.ndarray | None]:
    """A tensor at each checkpoint: it walks, or holds still, has zeros, NaN or gaps, changes its type or its shape."""
    numbers = np.random.default_rng(chance.randrange(2**32))
    shape, dtype = chance.choice(SHAPES), chance.choice(DTYPES)
    scale = chance.choice([1, 1, 1e-160, 1e160, 1e-300] if dtype is np.float64 else [1])
    weights = scale * numbers.standard_normal(shape)
    few = np.where(numbers.random(shape) < chance.choice([0.004, 0.1, 0.5]), 1e-5, 1)
    weights = weights * chance.choice([1, 1, 1, 0, few, few > 0.5])
    is_other, moment = chance.choice(["", "", "", "dtype", "shape", "nan", "gone"]), chance.randrange(count)
    for position in range(count):
        with np.errstate(all="ignore"):
            stored = np.asarray(weights).astype(dtype)
        if is_other == "dtype" and position >= moment:
            stored = stored.astype(np.float16)
        elif is_other == "shape" and position >= moment:
            stored = stored.reshape(-1)
        elif is_other == "nan" and position == moment and stored.size:
            stored.reshape(-1)[chance.randrange(stored.size)] = chance.choice([np.nan, np.inf])
        yield None if is_other == "gone" and position == moment else stored
        if chance.random() > 0.25:
            weights = weights + 0.01 * scale * numbers.standard_normal(shape)


def written(folder: Path, chance: random.Random) -> int:
    """A run of some tensors; how many checkpoints it has."""
    count = chance.choice([1, 2, 3, 5, 8, 13])
    names = [f"{chance.choice(['', 'experts.', 'embedding.'])}w{number}" for number in range(chance.choice([1, 3, 6]))]
    columns = {name: list(states(chance, count)) for name in names}
    for position in range(count):
        weights = {name: column[position] for name, column in columns.items() if column[position] is not None}
        save_weights(folder / f"step_{position}.safetensors", {**weights, "anchor": np.ones(3, np.float32) * position})
    return count


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", range(full_count(400, 40)))
def test_every_way_stores_the_same(tmp_path, monkeypatch, seed):
    chance = random.Random(seed)
    count = written(tmp_path / "run", chance)
    for (module, name), choices in CHOICES.items():
        monkeypatch.setattr(module, name, chance.choice(choices))
    metrics, every, jobs = chance.choice(METRICS), chance.choice([1, 1, 2, 4]), chance.choice([1, 1, 2, 3])
    before = chance.choice(METRICS) if chance.random() < 0.4 else False  # what was measured at another time

    def stored(name: str, jobs: int) -> object:
        run, store = open_run(tmp_path / "run"), tmp_path / f"{name}.sqlite"
        if before is not False:
            measure_run(run, store, before, jobs, spectra_every=1 + count % 3)
        return everything(measure_run(run, store, metrics, jobs, spectra_every=every))

    through_time = stored("time", jobs)
    with mock.patch.object(engine, "_together", lambda stream: 0):
        assert stored("general", 1) == through_time
