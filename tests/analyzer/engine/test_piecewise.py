"""Tensors taken piece by piece through time: the same bits as whole ones, whatever the numbers are like."""

from __future__ import annotations

from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from builders import save_weights
from commands import everything

from analyzer import measure as measure_run
from analyzer import open_run
from analyzer.engine import piecewise as through_time
from analyzer.engine import planning
from analyzer.engine import walk as engine
from analyzer.model.observed import DeadLines
from analyzer.numerics import blocks as cutting
from analyzer.numerics import singular_values as decomposition

SHAPE = (900, 24)  # 900 · 24² is above what the SVD takes
BLOCK_ROWS = 170


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(cutting, "CHUNK", 1000)
    monkeypatch.setattr(through_time, "CHUNK", 1000)
    monkeypatch.setattr(cutting, "MIN_BLOCK", BLOCK_ROWS * SHAPE[1])
    monkeypatch.setattr(planning, "MOST_BLOCKS", 6)
    assert cutting.block_rows(SHAPE[1]) == BLOCK_ROWS
    assert SHAPE[0] * SHAPE[1] ** 2 > decomposition.SMALL_WORK


@pytest.fixture
def taken(monkeypatch):
    """What each walk kept (blocks or nothing), and of how many checkpoints; None if it left them to the general way."""
    calls = []
    plain = engine.summarize_through_time

    def counted(states, memory):
        found = plain(states, memory)
        calls.append(found and ("blocks" if memory else "nothing", len(found)))
        return found

    monkeypatch.setattr(engine, "summarize_through_time", counted)
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
    """What is measured through time, after it was seen to be what the general way measures."""
    through_time = everything(measure_run(run, store=tmp_path / "time.sqlite", jobs=1, **options))
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_together", lambda stream: 0)
        general = everything(measure_run(run, store=tmp_path / "general.sqlite", jobs=1, **options))
    assert through_time == general
    return through_time[1]


DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [SHAPE, (1000, 3, 2, 4)])
def test_it_gives_the_bits_of_the_general_way(tmp_path, monkeypatch, taken, dtype, shape):
    both_ways(series(tmp_path / "run", walk(5, shape, dtype)), tmp_path, monkeypatch)
    assert taken == [("blocks", 5)]


@pytest.mark.parametrize("dtype", [*DTYPES, np.float64])
@pytest.mark.parametrize("metrics", [["motion"], ["motion", "size"], ["size"]])
def test_without_spectra_too(tmp_path, monkeypatch, taken, dtype, metrics):
    both_ways(series(tmp_path / "run", walk(5, dtype=dtype)), tmp_path, monkeypatch, metrics=metrics)
    assert taken == [("nothing" if metrics == ["motion"] else "blocks", 5)]


def test_vectors_hold_nothing(tmp_path, monkeypatch, taken):
    both_ways(series(tmp_path / "run", walk(5, (7000,))), tmp_path, monkeypatch)
    assert taken == [("nothing", 5)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_checkpoints_than_go_together(tmp_path, monkeypatch, taken, dtype):
    monkeypatch.setattr(planning, "MOST_BLOCKS", 3)
    metrics = ["motion", "size"] if dtype == np.float64 else None
    both_ways(series(tmp_path / "run", walk(8, dtype=dtype)), tmp_path, monkeypatch, metrics=metrics)
    assert taken == [("blocks", 2), ("blocks", 5), ("blocks", 6)]  # with W_0, W_{t−2} and W_{t−1} of the first one


def test_no_more_files_are_open_than_may_be(tmp_path, monkeypatch, taken):
    monkeypatch.setattr(planning, "MOST_FILES", 4)
    both_ways(series(tmp_path / "run", walk(7)), tmp_path, monkeypatch, metrics=["motion"])
    assert taken == [("nothing", 3), ("nothing", 7)]


def test_spectra_of_some_checkpoints_only(tmp_path, monkeypatch, taken):
    found = both_ways(series(tmp_path / "run", walk(6)), tmp_path, monkeypatch, spectra_every=4)
    assert len(found) == 3
    assert taken == [("blocks", 6)]


def test_zeros_and_rows_and_columns_of_them(tmp_path, monkeypatch, taken):
    states = list(walk(4))
    states[1][:, 5] = 0
    states[2][:, 5] = 0
    states[2][BLOCK_ROWS - 1 : BLOCK_ROWS + 1] = 0
    states[3][:BLOCK_ROWS, 5] = 0
    run = series(tmp_path / "run", states)
    both_ways(run, tmp_path, monkeypatch)
    assert taken == [("blocks", 4)]
    measurements = measure_run(run, store=tmp_path / "time.sqlite")
    assert list(measurements.series("w", "dead_column_count").values) == [0, 1, 1, 0]
    assert list(measurements.series("w", "dead_row_count").values) == [0, 0, 2, 0]


@pytest.mark.parametrize("small", ["at_first", "many"])
def test_where_too_many_elements_may_be_near_zero_they_are_counted_afterwards(tmp_path, monkeypatch, taken, small):
    states = list(walk(3))
    if small == "at_first":
        states[1][:BLOCK_ROWS] *= 1e-9
    else:
        states[1][:, ::2] *= 1e-5
    run = series(tmp_path / "run", states)
    both_ways(run, tmp_path, monkeypatch)
    assert taken == [None]
    true = np.count_nonzero(np.abs(states[1]) < 1e-3 * np.sqrt(np.mean(states[1].astype(np.float64) ** 2)))
    assert (
        measure_run(run, store=tmp_path / "time.sqlite").series("w", "near_zero_fraction").values[1]
        == true / states[1].size
    )


def with_spectrum(values, seed=0):
    generator = np.random.default_rng(seed)
    left = np.linalg.qr(generator.standard_normal(SHAPE))[0]
    right = np.linalg.qr(generator.standard_normal((SHAPE[1], SHAPE[1])))[0]
    return ((left * values) @ right).astype(np.float32)


@pytest.mark.parametrize("values", [[*np.linspace(2, 1, 23), 1e-6], np.geomspace(1, 1e-7, 24)])
def test_small_singular_values_are_taken_from_the_matrix_itself(tmp_path, monkeypatch, taken, values):
    """The first by products with W, the second, of a dense lower end, by the SVD."""
    states = [with_spectrum(values, seed) for seed in range(3)]
    found = both_ways(series(tmp_path / "run", states), tmp_path, monkeypatch)
    assert taken == [("blocks", 3)]
    for step, state in enumerate(states):
        true = np.linalg.svd(state.astype(np.float64), compute_uv=False)
        ours = np.frombuffer(found["w", f"step_{step}.safetensors"])
        np.testing.assert_allclose(ours, true, rtol=1e-6)


def test_nan_at_one_checkpoint_leaves_the_portions_before_it_as_they_are(tmp_path, monkeypatch, taken):
    monkeypatch.setattr(planning, "MOST_BLOCKS", 3)
    states = list(walk(6))
    states[4][800, 3] = np.nan
    run = series(tmp_path / "run", states)
    both_ways(run, tmp_path, monkeypatch)
    assert taken == [("blocks", 3), None]


def test_a_file_that_shrank_before_it_is_read_is_told_as_ever(tmp_path, taken):
    run = series(tmp_path / "run", walk(4))
    path = tmp_path / "run/step_2.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    measurements = measure_run(run, store=tmp_path / "s.sqlite", jobs=1)
    assert taken == []
    assert list(measurements.series("w", "frobenius_norm").statuses) == ["ok", "ok", "error", "ok"]


def test_a_file_that_changes_while_it_is_read_is_told_as_ever(tmp_path, monkeypatch, taken):
    run = series(tmp_path / "run", walk(4))
    path = tmp_path / "run/step_2.safetensors"
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    plain = through_time._walk_block

    def change(*arguments):
        if path.read_bytes() != changed:
            path.write_bytes(changed)
        return plain(*arguments)

    monkeypatch.setattr(through_time, "_walk_block", change)
    measurements = measure_run(run, store=tmp_path / "s.sqlite", jobs=1)
    assert taken == []
    assert list(measurements.series("w", "frobenius_norm").statuses) == ["ok", "ok", "error", "ok"]
    assert list(measurements.series("w", "step_distance").statuses)[1:] == ["ok", "error", "error"]


@pytest.mark.parametrize(
    "metrics", [["size"], ["spectrum"], ["step_distance"], ["initial_distance"], ["update_cosine"]]
)
def test_states_that_no_metric_looks_at_are_not_asked_for(tmp_path, monkeypatch, taken, metrics):
    monkeypatch.setattr(planning, "MOST_BLOCKS", 3)
    monkeypatch.setattr(planning, "MOST_FILES", 3)
    both_ways(series(tmp_path / "run", walk(7)), tmp_path, monkeypatch, metrics=metrics)
    assert None not in taken
    are_fewer = metrics in (["step_distance"], ["update_cosine"])  # there is none of the first checkpoint
    assert len(taken) == (2 if are_fewer else 3)


def test_metrics_that_are_added_later_find_the_states_that_they_compare_with(tmp_path, monkeypatch):
    def grown(folder, general):
        run = series(tmp_path / folder / "run", walk(6))
        with monkeypatch.context() as patch:
            if general:
                patch.setattr(engine, "_together", lambda stream: 0)
            measure_run(run, store=tmp_path / folder / "s.sqlite", jobs=1, metrics=["size", "step_distance"])
            save_weights(tmp_path / folder / "run/step_6.safetensors", {"w": list(walk(7))[6]})
            run = open_run(tmp_path / folder / "run")
            return everything(measure_run(run, store=tmp_path / folder / "s.sqlite", jobs=1))

    assert grown("time", general=False) == grown("general", general=True)


def test_a_tensor_without_values_beside_a_large_one(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(planning, "BUNDLE_BYTES", 1000)
    (tmp_path / "run").mkdir()
    for epoch, state in enumerate(walk(3)):
        weights = {"absent": torch.empty(4, 4, device="meta"), "w": torch.from_numpy(state)}
        torch.save(weights, tmp_path / f"run/epoch_{epoch}.pt")
    measurements = measure_run(open_run(tmp_path / "run"), store=tmp_path / "s.sqlite", jobs=1, metrics=["motion"])
    assert list(measurements.series("w", "step_distance").statuses)[1:] == ["ok", "ok"]


def test_a_tensor_of_which_only_its_absence_is_new(tmp_path):
    states = list(walk(4))
    for step, state in enumerate(states):
        weights = {"w": state} if step < 3 else {}
        save_weights(tmp_path / f"run/step_{step}.safetensors", {**weights, "v": state[0]})
        run = open_run(tmp_path / "run")
        measurements = measure_run(run, store=tmp_path / "s.sqlite", jobs=1, metrics=["size"])
    assert list(measurements.series("w", "frobenius_norm").statuses) == ["ok", "ok", "ok", "missing"]


def test_what_is_kept_near_zero_does_not_grow_with_the_run(tmp_path, taken):
    measure_run(series(tmp_path / "run", walk(40, (9000,))), store=tmp_path / "s.sqlite", jobs=1, metrics=["size"])
    assert taken == [("nothing", 13), ("nothing", 13), ("nothing", 14)]


def test_a_frozen_matrix_is_decomposed_once(tmp_path, monkeypatch, taken):
    from analyzer.engine import observing

    states = list(walk(5))
    run = series(tmp_path / "run", [*states[:1] * 3, *states[1:3]])
    both_ways(run, tmp_path, monkeypatch)
    decomposed = []
    for module, name in ((observing, "spectrum"), (through_time, "spectrum_of_blocks")):
        plain = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *of, plain=plain: decomposed.append(1) or plain(*of))
    measure_run(run, store=tmp_path / "once.sqlite", jobs=1)
    assert taken == [("blocks", 5)] * 2
    assert len(decomposed) == 3


def test_small_tensors_and_metrics_that_compare_matrices_go_the_general_way(tmp_path, taken):
    measure_run(series(tmp_path / "wide", walk(3, SHAPE[::-1])), store=tmp_path / "1.sqlite")
    measure_run(series(tmp_path / "double", walk(3, dtype=np.float64)), store=tmp_path / "2.sqlite")
    measure_run(series(tmp_path / "small", walk(3, (BLOCK_ROWS, SHAPE[1]))), store=tmp_path / "3.sqlite")
    measure_run(series(tmp_path / "compared", walk(3)), store=tmp_path / "4.sqlite", metrics=["subspace", "motion"])
    assert taken == []


@pytest.mark.parametrize("shape", [(7, 60), (60, 7), (7, 7)])
@pytest.mark.parametrize("with_zeros_counted", [True, False])
def test_one_dead_line_of_a_block_is_counted(shape, with_zeros_counted):
    """As many zeros as the shorter side are enough for a dead row or column, so the block must be inspected."""
    rows, columns = shape
    is_column = rows <= columns
    block = np.ones(shape, np.float32)
    block[:, 3] = 0 if is_column else 1
    block[3] = block[3] if is_column else 0
    tally = SimpleNamespace(zeros=0, summarize=with_zeros_counted)
    lines = through_time._LineCounts(SimpleNamespace(tally=tally, columns=columns))
    tally.zeros += int((block == 0).sum())
    lines.add(block)
    assert lines.dead() == (DeadLines(0, 1) if is_column else DeadLines(1, 0))


def test_a_dead_row_and_a_dead_column_alone_are_counted(tmp_path, taken):
    """The last block has seven rows, fewer than columns: seven zeros in it are enough for a column."""
    shape = (3 * BLOCK_ROWS + 7, 24)
    states = list(walk(3, shape))
    states[1][BLOCK_ROWS + 5] = 0
    states[2][:, 5] = 0
    measurements = measure_run(series(tmp_path / "run", states), store=tmp_path / "s.sqlite", jobs=1, metrics=["size"])
    assert taken == [("blocks", 3)]
    assert list(measurements.series("w", "dead_row_count").values) == [0, 1, 0]
    assert list(measurements.series("w", "dead_column_count").values) == [0, 0, 1]
