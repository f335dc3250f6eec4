"""Tall matrices taken slab by slab through time: the same bits as whole ones, whatever the numbers are like."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from builders import save_weights
from commands import everything

from analyzer import cutting, decomposition, engine, open_run
from analyzer import measure as measure_run

SHAPE = (900, 24)  # 900 · 24² is above what the SVD takes
SLAB_ROWS = 170


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch):
    monkeypatch.setattr(cutting, "LEAST_SLAB", SLAB_ROWS * SHAPE[1])
    monkeypatch.setattr(engine, "MOST_TOGETHER", 6)
    assert cutting.slab_rows(SHAPE[1]) == SLAB_ROWS
    assert SHAPE[0] * SHAPE[1] ** 2 > decomposition.SMALL_WORK


@pytest.fixture
def taken(monkeypatch):
    """How many checkpoints each walk by slabs took, and None where it left them to the general way."""
    calls = []
    plain = engine.walk_slabs

    def counted(*arguments):
        states = plain(*arguments)
        calls.append(states and len(states))
        return states

    monkeypatch.setattr(engine, "walk_slabs", counted)
    return calls


def walk(count, shape=SHAPE, dtype=np.float32, seed=0):
    generator = np.random.default_rng(seed)
    weights = generator.standard_normal(shape)
    for _ in range(count):
        yield weights.astype(dtype)
        weights += 0.01 * generator.standard_normal(shape)


def series(folder, states):
    for step, state in enumerate(states):
        save_weights(folder / f"step_{step}.safetensors", {"w": state})
    return open_run(folder)


def both_ways(run, tmp_path, monkeypatch, **options):
    """What is measured slab by slab, after it was seen to be what is measured of whole tensors."""
    by_slabs = everything(measure_run(run, store=tmp_path / "slabs.sqlite", jobs=1, **options))
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_slabs_together", lambda stream: 0)
        whole = everything(measure_run(run, store=tmp_path / "whole.sqlite", jobs=1, **options))
    assert by_slabs == whole
    return by_slabs[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
@pytest.mark.parametrize("shape", [SHAPE, (1000, 3, 2, 4)])
def test_slabs_give_the_bits_of_whole_tensors(tmp_path, monkeypatch, taken, dtype, shape):
    both_ways(series(tmp_path / "run", walk(5, shape, dtype)), tmp_path, monkeypatch)
    assert taken == [5]


def test_more_checkpoints_than_go_together(tmp_path, monkeypatch, taken):
    monkeypatch.setattr(engine, "MOST_TOGETHER", 3)
    both_ways(series(tmp_path / "run", walk(8)), tmp_path, monkeypatch)
    assert taken == [3, 6, 5]  # with W_0, W_{t−2} and W_{t−1} of the first one


def test_spectra_of_some_checkpoints_only(tmp_path, monkeypatch, taken):
    found = both_ways(series(tmp_path / "run", walk(6)), tmp_path, monkeypatch, spectra_every=4)
    assert len(found) == 3
    assert taken == [6]


def test_zeros_and_rows_and_columns_of_them(tmp_path, monkeypatch, taken):
    states = list(walk(4))
    states[1][:, 5] = 0
    states[2][:, 5] = 0
    states[2][SLAB_ROWS - 1 : SLAB_ROWS + 1] = 0
    states[3][:SLAB_ROWS, 5] = 0
    run = series(tmp_path / "run", states)
    both_ways(run, tmp_path, monkeypatch)
    assert taken == [4]
    measurements = measure_run(run, store=tmp_path / "slabs.sqlite")
    assert list(measurements.series("w", "dead_column_count").values) == [0, 1, 1, 0]
    assert list(measurements.series("w", "dead_row_count").values) == [0, 0, 2, 0]


@pytest.mark.parametrize("small", ["at_first", "many"])
def test_where_too_many_elements_may_be_near_zero_they_are_counted_afterwards(tmp_path, monkeypatch, taken, small):
    states = list(walk(3))
    if small == "at_first":
        states[1][:SLAB_ROWS] *= 1e-9
    else:
        states[1][:, ::2] *= 1e-5
    run = series(tmp_path / "run", states)
    both_ways(run, tmp_path, monkeypatch)
    assert taken == [None]
    true = np.count_nonzero(np.abs(states[1]) < 1e-3 * np.sqrt(np.mean(states[1].astype(np.float64) ** 2)))
    assert (
        measure_run(run, store=tmp_path / "slabs.sqlite").series("w", "near_zero_fraction").values[1]
        == true / states[1].size
    )


def with_spectrum(values, seed=0):
    generator = np.random.default_rng(seed)
    left = np.linalg.qr(generator.standard_normal(SHAPE))[0]
    right = np.linalg.qr(generator.standard_normal((SHAPE[1], SHAPE[1])))[0]
    return ((left * values) @ right).astype(np.float32)


@pytest.mark.parametrize("values", [[*np.linspace(2, 1, 23), 1e-6], np.geomspace(1, 1e-7, 24)])
def test_small_singular_values_are_taken_from_the_matrix_read_anew(tmp_path, monkeypatch, taken, values):
    """The first by products with W, the second, of a dense lower end, by the SVD."""
    states = [with_spectrum(values, seed) for seed in range(3)]
    found = both_ways(series(tmp_path / "run", states), tmp_path, monkeypatch)
    assert taken == [3]
    for step, state in enumerate(states):
        true = np.linalg.svd(state.astype(np.float64), compute_uv=False)
        ours = np.frombuffer(found["w", f"step_{step}.safetensors"])
        np.testing.assert_allclose(ours, true, rtol=1e-6)


def test_nan_at_one_checkpoint_leaves_the_portions_before_it_to_the_slabs(tmp_path, monkeypatch, taken):
    monkeypatch.setattr(engine, "MOST_TOGETHER", 3)
    states = list(walk(6))
    states[4][800, 3] = np.nan
    run = series(tmp_path / "run", states)
    both_ways(run, tmp_path, monkeypatch)
    assert taken == [3, None]


def test_a_file_that_shrinks_while_it_is_read_is_told_as_ever(tmp_path, monkeypatch, taken):
    run = series(tmp_path / "run", walk(4))
    path = tmp_path / "run/step_2.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    measurements = measure_run(run, store=tmp_path / "s.sqlite", jobs=1)
    assert taken == []
    assert list(measurements.series("w", "frobenius_norm").statuses) == ["ok", "ok", "error", "ok"]


def test_wide_and_double_and_small_matrices_and_own_metrics_go_the_general_way(tmp_path, taken):
    measure_run(series(tmp_path / "wide", walk(3, SHAPE[::-1])), store=tmp_path / "1.sqlite")
    measure_run(series(tmp_path / "double", walk(3, dtype=np.float64)), store=tmp_path / "2.sqlite")
    measure_run(series(tmp_path / "small", walk(3, (SLAB_ROWS, SHAPE[1]))), store=tmp_path / "3.sqlite")
    measure_run(series(tmp_path / "own", walk(3)), store=tmp_path / "4.sqlite", metrics=["subspace", "motion"])
    assert taken == []
