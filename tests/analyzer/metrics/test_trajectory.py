"""The family ``trajectory`` from files to distances: accuracy, the same bits, gaps, and updates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import save_weights
from commands import measured

from analyzer.engine import walk as engine
from analyzer.numerics import blocks
from analyzer.report.reading import read_tables
from analyzer.store.sketches import SKETCH_METRIC
from analyzer.store.store import open_store

FAMILIES = ["motion", "trajectory"]
State = dict[str, np.ndarray]


def write(folder: Path, states: list[State], first: int = 0) -> Path:
    for number, state in enumerate(states, first):
        save_weights(folder / f"epoch_{number:03d}.safetensors", state)
    return folder


def trajectory(store: Path):
    with open_store(str(store)) as opened:
        return read_tables(opened, opened.runs()[0]).trajectory


def bits(store: Path) -> list[tuple[object, ...]]:
    with open_store(str(store)) as opened:
        (run,) = opened.runs()
        rows = opened._connection.execute(
            "SELECT checkpoints.name, names.name, compared.name, buckets, first, exponent, numbers FROM sketches "
            "JOIN checkpoints ON checkpoints.id = checkpoint JOIN names ON names.id = tensor "
            "JOIN names AS compared ON compared.id = reference ORDER BY position, names.name"
        )
        bases = {name: opened.bases(run, name) for name in {row.name for row in opened.tensors(run)}}
        return [(*row, bases[row[1]][row[1], SKETCH_METRIC, row[0]]) for row in rows]


def walk(count: int, shapes: dict[str, tuple[int, ...]], relative: float, dtype=np.float32, seed=0, drift=0.0):
    """A walk with steps of a relative size, optionally in one direction too."""
    generator = np.random.default_rng(seed)
    weights = {name: generator.standard_normal(shape) for name, shape in shapes.items()}
    ahead = {name: generator.standard_normal(shape) for name, shape in shapes.items()}
    states = []
    for _ in range(count):
        states.append({name: one.astype(dtype) for name, one in weights.items()})
        for name, one in weights.items():
            one += relative * (generator.standard_normal(one.shape) + drift * ahead[name])
    return states


def exact_distances(states: list[State]) -> np.ndarray:
    flat = np.stack([np.concatenate([one.astype(np.float64).ravel() for one in state.values()]) for state in states])
    return np.stack([np.linalg.norm(flat - row, axis=1) for row in flat])


FEW = {"a.weight": (60, 40), "a.bias": (60,), "b.weight": (8, 60)}
MORE = {f"layers.{number}.weight": (12, 30) for number in range(40)}
MANY = {f"layers.{number}.weight": (9, 8) for number in range(140)}
SERIES = {
    "plain": (walk(8, FEW, 1e-2), 4099),
    "tiny steps": (walk(8, FEW, 1e-7, np.float64), 4099),
    "tiny steps in float32": (walk(8, FEW, 1e-7), 4099),
    "straight": (walk(8, FEW, 1e-3, drift=3.0), 4099),
    "large steps": (walk(8, FEW, 10.0), 4099),
    "more tensors": (walk(6, MORE, 1e-2), 1031),
    "more tensors, tiny steps": (walk(6, MORE, 1e-7, np.float64), 1031),
    "many tensors": (walk(5, MANY, 1e-2), 257),
    "many tensors, straight": (walk(5, MANY, 1e-4, drift=1.0), 257),
    "one long vector": (walk(6, {"w": (150_000,)}, 1e-3), 4099),
}


@pytest.mark.parametrize("name", SERIES)
def test_distances_agree_with_exact_ones(tmp_path, name):
    states, buckets = SERIES[name]
    measured(write(tmp_path / "run", states), metrics=FAMILIES)
    found, exact = trajectory(tmp_path / "run.sqlite"), exact_distances(states)
    assert found.positions.shape == (len(states), buckets)
    pairs = np.triu_indices(len(states), 1)
    errors = found.distances[pairs] / exact[pairs] - 1
    assert np.sqrt(np.mean(errors**2)) < 2 / np.sqrt(2 * buckets)


@pytest.mark.parametrize("seed", range(3))
def test_the_bits_do_not_depend_on_jobs_cutting_or_the_way(tmp_path, monkeypatch, seed):
    shapes = {"a.weight": (300, 20), "a.bias": (300,), "b.weight": (20, 300)}
    run = write(tmp_path / "run", walk(9, shapes, 1e-2, seed=seed))
    monkeypatch.setattr(blocks, "CHUNK", 1000)
    monkeypatch.setattr("analyzer.engine.piecewise.CHUNK", 1000)
    measured(run, tmp_path / "plain.sqlite", FAMILIES)
    expected = bits(tmp_path / "plain.sqlite")
    assert len(expected) == 24 and all(row[6] for row in expected)
    with monkeypatch.context() as patch:
        patch.setattr("analyzer.engine.planning.OBSERVATION_COST", 10.0)  # many segments
        measured(run, tmp_path / "jobs.sqlite", FAMILIES, jobs=2)
        patch.setattr("analyzer.engine.planning.MOST_FILES", 4)
        measured(run, tmp_path / "portions.sqlite", FAMILIES)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_together", lambda stream: 0)
        measured(run, tmp_path / "whole.sqlite", FAMILIES)
    measured(run, tmp_path / "every.sqlite")
    measured(run, tmp_path / "alone.sqlite", ["trajectory"])
    for name in ("jobs", "portions", "whole", "every", "alone"):
        assert bits(tmp_path / f"{name}.sqlite") == expected, name


def test_it_has_no_rows_and_its_sketches_are_measured_once(tmp_path, monkeypatch):
    run, store = write(tmp_path / "run", walk(5, FEW, 1e-2)), tmp_path / "s.sqlite"
    assert {row["metric"] for row in measured(run, store, ["trajectory"]).rows()} == set()
    before = bits(store)
    monkeypatch.setattr("analyzer.engine.update.walk", lambda *_, **__: pytest.fail("nothing is to be measured"))
    measured(run, store, ["trajectory"])
    assert bits(store) == before


def test_a_checkpoint_that_is_added_is_the_only_one_sketched(tmp_path, monkeypatch):
    states = walk(7, FEW, 1e-2)
    run, store = write(tmp_path / "run", states[:6]), tmp_path / "s.sqlite"
    measured(run, store, FAMILIES)
    write(run, states[6:], 6)
    observed = []
    plain = engine.walk
    monkeypatch.setattr(
        "analyzer.engine.update.walk",
        lambda task, metrics, **options: (observed.append(one) or one for one in plain(task, metrics, **options)),
    )
    measured(run, store, FAMILIES)
    assert {one.checkpoint for one in observed} == {"epoch_006.safetensors"}
    measured(run, tmp_path / "anew.sqlite", FAMILIES)
    assert bits(store) == bits(tmp_path / "anew.sqlite")


def test_a_checkpoint_that_changed_is_sketched_again_with_the_next(tmp_path):
    states = walk(5, FEW, 1e-2)
    run, store = write(tmp_path / "run", states), tmp_path / "s.sqlite"
    measured(run, store, FAMILIES)
    write(run, [{name: 2 * one for name, one in states[2].items()}], 2)
    measured(run, store, FAMILIES)
    measured(run, tmp_path / "anew.sqlite", FAMILIES)
    assert bits(store) == bits(tmp_path / "anew.sqlite")
    (run / "epoch_003.safetensors").unlink()
    measured(run, store, FAMILIES)
    assert [row[2] for row in bits(store) if row[0] == "epoch_004.safetensors"] == ["epoch_002.safetensors"] * 3


def test_another_number_of_buckets_is_another_sketch(tmp_path):
    """The first checkpoint decides, so that a tensor that appears later does not outdate what is stored."""
    states = walk(3, {f"w{number}": (6, 5) for number in range(32)}, 1e-2)
    states[2]["late"] = np.ones((2, 2), np.float32)
    run, store = write(tmp_path / "run", states), tmp_path / "s.sqlite"
    measured(run, store, FAMILIES)
    assert {row[3] for row in bits(store)} == {4099}
    states[0]["late"] = np.ones((2, 2), np.float32)
    write(run, states[:1])
    measured(run, store, FAMILIES)
    assert {row[3] for row in bits(store) if row[6]} == {1031}


GAPS = {
    "nan": (lambda state: state["a.bias"].__setitem__(0, np.nan), (0, 0, -1, 3, 3, 3)),
    "inf": (lambda state: state["a.bias"].__setitem__(0, np.inf), (0, 0, -1, 3, 3, 3)),
    "reshaped": (lambda state: state.update({"a.bias": np.zeros(7, np.float32)}), (0, 0, -1, 3, 3, 3)),
    "missing": (lambda state: state.pop("a.bias"), (0, 0, -1, 3, 3, 3)),
    "more": (lambda state: state.update({"c": np.zeros(7, np.float32)}), (0, 0, -1, 3, 3, 3)),
}


@pytest.mark.parametrize("name", GAPS)
def test_a_state_without_a_sketch_is_a_gap(tmp_path, name):
    states = walk(6, FEW, 1e-2)
    harm, parts = GAPS[name]
    harm(states[2])
    measured(write(tmp_path / "run", states), metrics=FAMILIES)
    found = trajectory(tmp_path / "run.sqlite")
    assert found.parts == parts
    exact = exact_distances([state for number, state in enumerate(states) if number != 2])
    np.testing.assert_allclose(found.distances[3:, 3:], exact[2:, 2:], rtol=0.1)
    assert np.isnan(found.distances[1, 3])


def test_buffers_and_integers_are_not_in_the_distance(tmp_path):
    states = walk(4, FEW, 1e-2)
    plain = exact_distances(states)
    for number, state in enumerate(states):
        state["bn.running_mean"] = np.full(60, 100.0 * number, np.float32)
        state["bn.num_batches_tracked"] = np.array(1000 * number)
    measured(write(tmp_path / "run", states), metrics=FAMILIES)
    np.testing.assert_allclose(trajectory(tmp_path / "run.sqlite").distances, plain, rtol=0.1)


def test_without_sketches_there_is_no_trajectory(tmp_path):
    measured(write(tmp_path / "run", walk(3, FEW, 1e-2)), metrics=["motion"])
    assert trajectory(tmp_path / "run.sqlite").parts == ()
