"""What is measured again and what is not, whole rows after any interruption, and stores that cannot be read."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import commands
import numpy as np
import pytest
from builders import full_count, random_walk, save_weights, weightlapse_metadata
from commands import rows_of

import analyzer
from analyzer.engine import update as measuring
from analyzer.engine import walk as engine
from analyzer.errors import StoreError
from analyzer.model.run import Checkpoint, FileStamp, Finding, Measurement, Run, TensorInfo
from analyzer.model.tables import CheckpointRow, MetricRow, TensorRow
from analyzer.report.reading import read_tables
from analyzer.store.run_reader import Asked
from analyzer.store.store import Store, open_store
from analyzer.store.writer import Observation

FAMILIES = ("motion", "size", "spectrum")  # enough to tell what is measured again


def measured(folder, store=None, metrics=FAMILIES):
    return commands.measured(folder, store, metrics)


def written(folder: Path, states: dict[int, dict[str, np.ndarray]]) -> Path:
    for epoch, weights in states.items():
        save_weights(folder / f"epoch_{epoch:04d}.safetensors", weights, weightlapse_metadata(epoch))
    return folder


def numbered(count: int, **options) -> dict[int, dict[str, np.ndarray]]:
    return dict(enumerate(random_walk(count, **options)))


@pytest.fixture
def walked(monkeypatch):
    """The (epoch, tensor) pairs that were measured since the list was last emptied, with their metrics."""
    seen: list[tuple[int, str, frozenset[str]]] = []

    def watching(task, metrics):
        for observation in engine.walk(task, metrics):
            seen.append(
                (
                    int(observation.checkpoint[6:10]),
                    observation.tensor,
                    frozenset(row.metric for row in observation.measurements),
                )
            )
            yield observation

    monkeypatch.setattr(measuring, "walk", watching)
    return seen


def key_of(row):
    return row.checkpoint, row.scope, row.tensor, row.metric


def everything(measurements):
    with open_store(measurements.path) as store:
        return sorted(store.measurements(measurements.run), key=key_of)


def assert_same_rows(ours, theirs):
    """The same up to the rounding of a sum that was taken along with others or alone."""
    assert [row._replace(value=None) for row in ours] == [row._replace(value=None) for row in theirs]
    values, others = (np.array([one.value for one in rows], dtype=float) for rows in (ours, theirs))
    np.testing.assert_allclose(values, others, rtol=1e-12, atol=1e-14)


def assert_as_if_measured_at_once(folder: Path, measurements, tmp_path: Path, to_the_bit: bool = True) -> None:
    fresh = measured(folder, tmp_path / "fresh.sqlite")
    if to_the_bit:
        assert everything(measurements) == everything(fresh)
    assert_same_rows(everything(measurements), everything(fresh))
    with open_store(measurements.path) as ours, open_store(fresh.path) as theirs:
        assert ours.contents("run") == theirs.contents("run")
        for one in theirs.tensors("run"):
            a, b = (store.spectra("run", one.name) for store in (ours, theirs))
            assert {name: values.tolist() for name, values in a.items()} == {
                name: values.tolist() for name, values in b.items()
            }
        read_tables(ours, "run")
    Path(fresh.path).unlink()


# ------------------------------------------------------------------------------------------------------ reuse


def test_a_second_run_measures_nothing(make_run, walked, tmp_path):
    folder = make_run(random_walk(5))
    first = everything(measured(folder, tmp_path / "s.sqlite"))
    assert len(walked) == 5 * 4
    walked.clear()
    assert everything(measured(folder, tmp_path / "s.sqlite")) == first
    assert walked == []


def test_a_copy_of_the_store_and_the_run_elsewhere_measures_nothing(make_run, walked, tmp_path):
    measured(make_run(random_walk(3)), tmp_path / "s.sqlite")
    shutil.copytree(tmp_path / "run", tmp_path / "moved/run", copy_function=shutil.copy2)
    walked.clear()
    measured(tmp_path / "moved/run", tmp_path / "s.sqlite")
    assert walked == []


def test_new_checkpoints_at_the_end_are_all_that_is_measured(walked, tmp_path):
    states = numbered(6)
    folder = written(tmp_path / "run", {t: states[t] for t in range(4)})
    measured(folder, tmp_path / "s.sqlite")
    walked.clear()
    written(folder, {t: states[t] for t in (4, 5)})
    grown = measured(folder, tmp_path / "s.sqlite")
    assert {epoch for epoch, *_ in walked} == {4, 5}
    assert_as_if_measured_at_once(folder, grown, tmp_path)


def test_a_checkpoint_in_the_middle_touches_only_its_neighbours(walked, tmp_path):
    states = numbered(9)
    folder = written(tmp_path / "run", {t: states[t] for t in states if t != 4})
    measured(folder, tmp_path / "s.sqlite")
    walked.clear()
    written(folder, {4: states[4]})
    filled = measured(folder, tmp_path / "s.sqlite")
    assert {epoch for epoch, *_ in walked} == {4, 5, 6}
    needs = {epoch: metrics for epoch, tensor, metrics in walked if tensor == "fc1.weight"}
    assert "step_distance" in needs[5] and "frobenius_norm" not in needs[5] and "initial_distance" not in needs[5]
    assert needs[6] == {"update_cosine"}
    assert_as_if_measured_at_once(folder, filled, tmp_path)


@pytest.mark.parametrize("changed", range(6))
def test_a_changed_file_is_measured_again_with_what_depends_on_it(walked, tmp_path, changed):
    folder = written(tmp_path / "run", numbered(6))
    measured(folder, tmp_path / "s.sqlite")
    walked.clear()
    written(folder, {changed: random_walk(1, seed=99)[0]})
    again = measured(folder, tmp_path / "s.sqlite")
    expected = {t for t in range(6) if changed <= t <= changed + 2}
    assert {epoch for epoch, *_ in walked} == (set(range(6)) if changed == 0 else expected)
    if changed == 0:
        assert {metrics for epoch, tensor, metrics in walked if epoch == 5} == {
            frozenset({"initial_distance", "initial_cosine"})
        }
    assert_as_if_measured_at_once(folder, again, tmp_path)


@pytest.mark.parametrize("gone", [(0,), (3,), (5,), (0, 1), (2, 3)])
def test_a_checkpoint_that_is_gone_leaves_no_row_behind(tmp_path, gone):
    folder = written(tmp_path / "run", numbered(6))
    measured(folder, tmp_path / "s.sqlite")
    for epoch in gone:
        (folder / f"epoch_{epoch:04d}.safetensors").unlink()
    assert_as_if_measured_at_once(folder, measured(folder, tmp_path / "s.sqlite"), tmp_path)


def test_checkpoints_that_are_gone_are_remembered_until_they_are_back(tmp_path):
    states = numbered(4)
    folder = written(tmp_path / "run", states)
    measured(folder, tmp_path / "s.sqlite")
    first, second = "epoch_0001.safetensors", "epoch_0002.safetensors"
    for name, gone in ((first, [first]), (second, [first, second])):
        (folder / name).unlink()
        measured(folder, tmp_path / "s.sqlite")
        with open_store(str(tmp_path / "s.sqlite")) as store:
            assert store.vanished("run") == gone
    written(folder, {1: states[1]})
    measured(folder, tmp_path / "s.sqlite")
    with open_store(str(tmp_path / "s.sqlite")) as store:
        assert store.vanished("run") == [second]


REPLACEMENTS = {
    "a layer is gone": lambda state: state.pop("fc1.weight"),
    "a layer is new": lambda state: state.update({"new.weight": np.ones((3, 4), np.float32)}),
    "NaN": lambda state: state["fc1.weight"].__setitem__((0, 0), np.nan),
    "another shape": lambda state: state.update({"fc1.weight": np.ones((7, 3), np.float32)}),
    "no matrix any more": lambda state: state.update({"fc1.weight": np.ones(240, np.float32)}),
    "empty": lambda state: state.update({"fc1.weight": np.ones((0, 20), np.float32)}),
    "zero": lambda state: state["fc1.weight"].fill(0),
    "integers": lambda state: state.update({"fc1.weight": np.ones((12, 20), np.int32)}),
}


@pytest.mark.parametrize("changed", [0, 2])
@pytest.mark.parametrize("replacement", REPLACEMENTS)
@pytest.mark.parametrize("back", [False, True])
def test_fault_38_a_replaced_file_with_other_content_leaves_nothing_stale(tmp_path, changed, replacement, back):
    states = numbered(5)
    other = {name: array.copy() for name, array in states[changed].items()}
    REPLACEMENTS[replacement](other)
    before, after = (other, states[changed]) if back else (states[changed], other)
    folder = written(tmp_path / "run", {**states, changed: before})
    measured(folder, tmp_path / "s.sqlite")
    written(folder, {changed: after})
    assert_as_if_measured_at_once(folder, measured(folder, tmp_path / "s.sqlite"), tmp_path)


def test_a_family_that_is_added_later_is_all_that_is_measured(walked, make_run, tmp_path):
    folder = make_run(random_walk(4))
    measured(folder, tmp_path / "s.sqlite", ["motion"])
    walked.clear()
    measured(folder, tmp_path / "s.sqlite", ["spectrum"])
    chosen = {metric.row.name for metric in analyzer.metrics.select_metrics(["spectrum"])}
    assert {metric for *_, metrics in walked for metric in metrics} == chosen
    for family in FAMILIES:
        walked.clear()
        last = measured(folder, tmp_path / "s.sqlite", [family])
        seen = {metric for *_, metrics in walked for metric in metrics}
        if family in ("motion", "spectrum"):
            assert seen == set()
        else:
            chosen = {metric.row.name for metric in analyzer.metrics.select_metrics([family])}
            assert seen == chosen - {"unmoved_row_count"}  # there is no embedding
    rows = rows_of(last)
    for metric in ("step_distance", "frobenius_norm", "path_length", "tortuosity"):  # what was there stays
        assert rows["epoch_0003.safetensors", "total", "", metric]["status"] == "ok"
    assert_as_if_measured_at_once(folder, last, tmp_path, to_the_bit=False)


@pytest.mark.parametrize("metrics", [["size"], ["spectrum"], ["motion"]])
@pytest.mark.parametrize("what", ["changed", "first gone", "middle gone", "inserted"])
def test_families_that_are_not_asked_for_keep_no_row_of_other_bytes(tmp_path, metrics, what):
    states = numbered(6)
    start = {t: states[t] for t in states if (what, t) != ("inserted", 3)}
    folder = written(tmp_path / "run", start)
    measured(folder, tmp_path / "s.sqlite")
    if what == "changed":
        written(folder, {3: random_walk(1, seed=5)[0]})
    elif what == "inserted":
        written(folder, {3: states[3]})
    else:
        (folder / f"epoch_{0 if what == 'first gone' else 3:04d}.safetensors").unlink()
    partly = measured(folder, tmp_path / "s.sqlite", metrics)
    fresh = {key_of(row): row for row in everything(measured(folder, tmp_path / "fresh.sqlite"))}
    rows = [
        row for row in everything(partly) if row.scope == "tensor" and row.metric not in ("path_length", "tortuosity")
    ]
    assert len(rows) > 100 and {key_of(row) for row in rows} <= fresh.keys()
    assert_same_rows(rows, [fresh[key_of(row)] for row in rows])
    (tmp_path / "fresh.sqlite").unlink()
    with open_store(partly.path) as store:
        read_tables(store, "run")
    assert_as_if_measured_at_once(folder, measured(folder, tmp_path / "s.sqlite"), tmp_path, to_the_bit=False)


def test_no_spectrum_of_an_expert_is_left_of_other_bytes(tmp_path):
    name = "mlp.experts.w"
    states = dict(enumerate(random_walk(3, {name: (2, 5, 4), f"{name}2": (2, 5, 4)})))
    measurements = measured(written(tmp_path / "run", states))
    assert len(measurements.spectra(f"{name}[1]")) == len(measurements.spectra(f"{name}2[1]")) == 3
    states[1][name] = np.full((2, 5, 4), np.nan, np.float32)
    measurements = measured(written(tmp_path / "run", states))
    assert len(measurements.spectra(f"{name}[1]")) == 2
    assert len(measurements.spectra(f"{name}2[1]")) == 3


def test_spectra_of_every_second_checkpoint_include_those_of_every_fourth_and_not_the_reverse():
    second, fourth = Asked(("spectral_norm",), 2), Asked(("spectral_norm",), 4)
    assert second.includes(fourth) and second.includes(second)
    assert not fourth.includes(second)


def test_a_store_keeps_several_runs_apart(make_run, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        measured(make_run(random_walk(3, seed=seed), name), tmp_path / "s.sqlite")
    with open_store(str(tmp_path / "s.sqlite")) as store:
        assert store.runs() == ["a", "b"]
        assert store.contents("a") != store.contents("b")
        with pytest.raises(StoreError, match="no run named 'c'; it has a, b"):
            store.checkpoints("c")
        store.drop_runs_but({"b"})
        assert store.runs() == ["b"]
    with pytest.raises(StoreError, match="a"):
        analyzer.open_measurements(tmp_path / "s.sqlite", "a").rows()


# ------------------------------------------------------------------------------- interrupted, broken, two at a time


@pytest.mark.parametrize("when", range(full_count(20, 6)))
def test_an_interruption_leaves_whole_observations_and_the_next_run_finishes(
    make_run, walked, tmp_path, monkeypatch, when
):
    folder = make_run(random_walk(5))
    watching = measuring.walk

    def interrupted(task, metrics):
        for number, observation in enumerate(watching(task, metrics)):
            if number == when:
                raise KeyboardInterrupt
            yield observation

    monkeypatch.setattr(measuring, "walk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measured(folder, tmp_path / "s.sqlite")
    with open_store(str(tmp_path / "s.sqlite")) as store:
        kept = {(row.checkpoint, row.tensor) for row in store.measurements("run")}
        assert len(kept) == len({(e, t) for e, t, _ in walked[:when]})
        for checkpoint, tensor in kept:  # each of them whole
            metrics = next(m for e, t, m in walked if (f"epoch_{e:04d}.safetensors", t) == (checkpoint, tensor))
            rows = [row for row in store.measurements("run") if (row.checkpoint, row.tensor) == (checkpoint, tensor)]
            assert {row.metric for row in rows} == metrics
    walked.clear()
    monkeypatch.setattr(measuring, "walk", watching)
    finished = measured(folder, tmp_path / "s.sqlite")
    assert len(walked) == 20 - when
    assert_as_if_measured_at_once(folder, finished, tmp_path)


def test_a_transaction_that_fails_leaves_nothing(make_run, tmp_path):
    measurements = measured(make_run(), tmp_path / "s.sqlite")
    before = everything(measurements)
    row = Measurement("epoch_0001.safetensors", "tensor", "fc1.weight", "rms", 5.0, None, "ok", None)
    with open_store(measurements.path) as store:
        writer = store.writer("run")
        with pytest.raises(RuntimeError), store.transaction():
            writer.add([Observation(row.checkpoint, row.tensor, (row,), {"rms": "x"}, {}, {}, None, {}, 0)])
            raise RuntimeError
    assert everything(measurements) == before


def test_fault_29_a_full_disk_is_a_named_error_and_what_was_there_stays(make_run, tmp_path):
    folder = make_run(random_walk(4, {"w.weight": (30, 30)}))
    path = tmp_path / "s.sqlite"
    with open_store(str(path), create=True) as store:
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreError, match=r"s\.sqlite: the measurements cannot be written: .*full"):
            request = measuring.MeasureRequest(analyzer.metrics.select_metrics(), jobs=1)
            measuring.bring_up_to_date(store, analyzer.open_run(folder), request)
    assert_as_if_measured_at_once(folder, measured(folder, path), tmp_path)


def test_fault_43_another_version_is_refused_naming_both(make_run, tmp_path):
    path = tmp_path / "s.sqlite"
    measured(make_run(), path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(
        StoreError, match=r"s\.sqlite: has store format 7, this weightlapse reads formats 1 to 4; install"
    ):
        open_store(str(path))


@pytest.mark.parametrize("kind", ["text", "truncated", "another database", "zeros"])
def test_fault_43_what_is_no_store_is_refused_and_unchanged(make_run, tmp_path, kind):
    path = tmp_path / "s.sqlite"
    if kind == "text":
        path.write_text("This is a letter to my aunt, and longer than the header of a database. " * 20)
    elif kind == "zeros":
        path.write_bytes(bytes(5000))
    elif kind == "truncated":
        measured(make_run(random_walk(3)), path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE recipes (name TEXT)")
            connection.commit()
    before = path.read_bytes()
    for create in (False, True):
        with pytest.raises(StoreError, match=r"s\.sqlite"):
            open_store(str(path), create)
    assert path.read_bytes() == before


def test_fault_43_a_store_with_a_damaged_page_is_refused(make_run, tmp_path):
    path = tmp_path / "s.sqlite"
    measured(make_run(random_walk(5)), path)
    data = bytearray(path.read_bytes())
    for place in range(4096 * 3, len(data), 4096):
        data[place : place + 12] = os.urandom(12)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"s\.sqlite: is damaged"):
        open_store(str(path))


def test_an_empty_file_that_is_only_to_be_read_stays_empty(tmp_path):
    path = tmp_path / "notes"
    path.touch()
    with pytest.raises(StoreError, match="notes"):
        open_store(str(path))
    assert path.stat().st_size == 0


def test_a_store_that_is_not_there_is_a_named_error(tmp_path):
    with pytest.raises(StoreError, match="no such store; weightlapse measure makes one"):
        open_store(str(tmp_path / "absent.sqlite"))
    assert not (tmp_path / "absent.sqlite").exists()


def test_fault_32_many_openers_of_a_new_store_all_get_the_same(tmp_path):
    for attempt in range(full_count(50, 8)):
        path = str(tmp_path / f"{attempt}.sqlite")
        barrier = threading.Barrier(6)
        outcomes: list[object] = []

        def open_it(path=path, barrier=barrier, outcomes=outcomes):
            barrier.wait()
            try:
                with open_store(path, create=True) as store:
                    outcomes.append(store.runs())
            except BaseException as error:
                outcomes.append(error)

        threads = [threading.Thread(target=open_it) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes == [[]] * 6


def test_fault_32_two_measure_the_same_run_into_one_store(make_run, tmp_path):
    folder = make_run(random_walk(5))
    errors: list[BaseException] = []

    def measure():
        try:
            measured(folder, tmp_path / "s.sqlite")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=measure) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert_as_if_measured_at_once(folder, analyzer.open_measurements(tmp_path / "s.sqlite"), tmp_path)


def test_fault_32_a_locked_store_is_not_called_damaged(make_run, tmp_path, monkeypatch):
    path = tmp_path / "s.sqlite"
    measured(make_run(), path)
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: real(*args, **{**options, "timeout": 0.05}))
    with closing(real(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match=r"(?!.*damaged).*locked"):
            open_store(str(path))


# ------------------------------------------------------------------------------------------------ the Python API


def test_series_spectra_and_frames_from_python(make_run, tmp_path):
    pandas = pytest.importorskip("pandas")
    states = random_walk(4)
    measurements = measured(make_run(states), tmp_path / "s.sqlite")
    curve = measurements.series("fc1.weight", "condition_number")
    expected = [np.linalg.cond(state["fc1.weight"].astype(float)) for state in states]
    assert curve.values == pytest.approx(expected, rel=1e-9)
    assert curve.statuses == ("ok",) * 4
    step = measurements.series("fc1.weight", "step_distance")
    assert np.isnan(step.values[0]) and step.statuses == (None, "ok", "ok", "ok")
    assert step.references[1] == "epoch_0000.safetensors"
    total = measurements.series("total", "frobenius_norm")
    assert total.values[2] == pytest.approx(np.sqrt(sum((a.astype(float) ** 2).sum() for a in states[2].values())))
    assert measurements.series("mean", "condition_number").scope == "mean"

    spectra = measurements.spectra("out.weight")
    assert list(spectra) == [f"epoch_{t:04d}.safetensors" for t in range(4)]
    assert spectra["epoch_0003.safetensors"] == pytest.approx(
        np.linalg.svd(states[3]["out.weight"].astype(float), compute_uv=False), rel=1e-12
    )
    for wrong in (
        lambda: measurements.series("fc1.weight", "nonsense"),
        lambda: measurements.series("fc9.weight", "rms"),
        lambda: measurements.series("fc1.bias", "condition_number"),
        lambda: measurements.spectra("fc1.bias"),
    ):
        with pytest.raises(StoreError, match="contains no"):
            wrong()

    frame = measurements.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert ",".join(frame.columns) == "run,checkpoint,epoch,step,scope,tensor,metric,value,bound,status,reference"
    assert len(frame) == len(measurements.rows())
    one = frame[(frame.tensor == "fc1.weight") & (frame.metric == "condition_number")]
    assert one.value.to_numpy().tolist() == curve.values.tolist()
    assert one.epoch.tolist() == [0, 1, 2, 3]


def test_open_measurements_asks_which_of_several_runs(make_run, tmp_path):
    for name in ("a", "b"):
        measured(make_run(random_walk(2), name), tmp_path / "s.sqlite")
    with pytest.raises(StoreError, match=r"contains 2 runs \(a, b\); name one of them"):
        analyzer.open_measurements(tmp_path / "s.sqlite")
    assert analyzer.open_measurements(tmp_path / "s.sqlite", "b").run == "b"


def test_scores_of_a_run_are_replaced_not_added_up(make_run, tmp_path):
    run = analyzer.open_run(make_run(random_walk(3)))
    store = tmp_path / "s.sqlite"
    analyzer.measure(run, store, jobs=1)
    without = replace(run, checkpoints=tuple(replace(one, scores={"loss": 1.5}) for one in run.checkpoints))
    analyzer.measure(without, store, jobs=1)
    with open_store(str(store)) as opened:
        assert [one.scores for one in opened.run("run").checkpoints] == [{"loss": 1.5}] * 3


def test_a_store_is_a_plain_database_with_a_readable_view(make_run, tmp_path):
    measured(make_run(random_walk(2)), tmp_path / "s.sqlite")
    with closing(sqlite3.connect(tmp_path / "s.sqlite")) as connection:
        columns = [one[0] for one in connection.execute("SELECT * FROM readable").description]
        assert ",".join(columns) == "run,checkpoint,epoch,step,scope,tensor,metric,value,bound,status,reference"
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert isinstance(open_store(str(tmp_path / "s.sqlite")).close(), type(None)) and Store


# ----------------------------------------------------------------------------------- what is put in by hand comes out


def by_hand(names=("c0", "c1"), **changes):
    """A run of two checkpoints and three tensors, one of them a stack, none of whose files exist."""
    listed = {"w": TensorInfo("w", "float32", (2, 3), ()), "b": TensorInfo("b", "int8", (2,), (), "why")}
    checkpoints = tuple(
        Checkpoint(
            name, f"/run/{name}", 0.5 * at, 10 * at, {"loss": 1.5 + at, "acc": 0.25} if at else {},
            listed if at else {"w": listed["w"]},
            (FileStamp(f"{name}.a", 5 + at, 7, "e"), FileStamp(f"{name}.b", 10, 8)), {"lr": "0.1", "at": str(at)},
        )
        for at, name in enumerate(names)
    )  # fmt: skip
    return replace(Run("run", "/run", "plain", "epoch", checkpoints), **changes)


TENSORS = [
    TensorRow("w", "", "matrix", (2, 3), (2, 3), "as stored", "float32"),
    TensorRow("b", "m", "unsupported", (2,), None, "why", "int8"),
    TensorRow("w[1]", "", "matrix", (2, 3), (2, 3), "expert 1", "float32"),
]
METRICS = [
    MetricRow("z", "size", "1", "definition", "source", 2),
    MetricRow("a", "motion", "m", "another", "paper", 1),
]


@pytest.fixture
def kept(tmp_path):
    with open_store(str(tmp_path / "hand.sqlite"), create=True) as store:
        with store.transaction():
            assert store.put_run(by_hand(), TENSORS, METRICS) == []
        yield store


def measurement(checkpoint, tensor, metric, value=1.0, scope="tensor", reference=None):
    return Measurement(checkpoint, scope, tensor, metric, value, 0.125, "ok", reference)


def observed(checkpoint, tensor, rows=(), sums=None, spectra=None, content=None, problems=None, basis="x"):
    bases = {row.metric: basis for row in rows}
    return Observation(checkpoint, tensor, tuple(rows), bases, sums or {}, spectra or {}, content, problems or {}, 0)


def add(store, *observations, needs=None):
    with store.transaction():
        store.writer("run", needs).add(observations)


def test_a_run_comes_back_as_it_was_put(kept):
    findings = (Finding("rule", "notice", "Said.", "w", ("c0", "c1"), {"x": 1}, "figure"),)
    lost = Checkpoint("lost", "/lost", 3.0, 4, {"acc": 1.0}, {}, ())
    run = by_hand(
        findings=findings, score_files=("log.csv",), unplaced=(lost,), unread_tables=("t.csv",), is_partial=True
    )
    with kept.transaction():
        kept.put_run(run, TENSORS, METRICS)
    found = kept.run("run")
    assert (found.name, found.path, found.layout, found.ordered_by) == ("run", "/run", "plain", "epoch")
    assert (found.findings, found.score_files, found.unread_tables) == (findings, ("log.csv",), ("t.csv",))
    assert found.unplaced == (Checkpoint("lost", "", None, None, {}, {}, ()),) and found.is_partial is True
    for mine, its in zip(found.checkpoints, run.checkpoints, strict=True):
        assert replace(mine, settings={}) == replace(its, settings={})
        assert list(mine.scores) == sorted(its.scores) and mine.settings == {"lr": "0.1"}
    assert kept.checkpoints("run") == [
        CheckpointRow("c0", 0.0, 0, "/run/c0", 15), CheckpointRow("c1", 0.5, 10, "/run/c1", 16),
    ]  # fmt: skip
    assert kept.tensors("run") == TENSORS and kept.metrics() == {row.name: row for row in METRICS}
    assert list(kept.metrics()) == ["z", "a"]
    with kept.transaction():
        kept.put_run(replace(run, path="/new", layout="other", ordered_by="step", is_partial=False), TENSORS[:1], [])
    found = kept.run("run")
    assert (found.path, found.layout, found.ordered_by, found.is_partial) == ("/new", "other", "step", False)
    assert kept.tensors("run") == TENSORS[:1] and len(kept.metrics()) == 2


def test_settings_are_those_on_which_all_checkpoints_agree(kept):
    assert kept.settings("run") == {"lr": "0.1"}
    with kept.transaction():
        kept.put_run(by_hand(names=("c0",)), TENSORS, METRICS)
    assert kept.settings("run") == {"lr": "0.1", "at": "0"}
    with kept.transaction():
        kept.put_run(by_hand(names=()), TENSORS, METRICS)
    assert kept.settings("run") == {}


def test_a_checkpoint_that_moved_keeps_its_rows_and_one_that_was_replaced_loses_them(kept):
    rows = [measurement(name, "w", "z") for name in ("c0", "c1")]
    add(kept, *(observed(row.checkpoint, "w", [row], content=row.checkpoint) for row in rows))
    run = by_hand()
    first, second = run.checkpoints
    moved = replace(second, epoch=9.0, step=7, path="/new", scores={}, files=(replace(second.files[0], path="x"),
                    second.files[1]))  # fmt: skip
    with kept.transaction():
        assert kept.put_run(replace(run, checkpoints=(moved, first)), TENSORS, METRICS) == []
    assert kept.checkpoints("run") == [
        CheckpointRow("c1", 9.0, 7, "/new", 16),
        CheckpointRow("c0", 0.0, 0, "/run/c0", 15),
    ]
    assert [row.checkpoint for row in kept.measurements("run")] == ["c1", "c0"]
    assert [one.scores for one in kept.run("run").checkpoints] == [{}, {}]
    changed = replace(first, files=(first.files[0], replace(first.files[1], modified_ns=9)))
    with kept.transaction():
        assert kept.put_run(replace(run, checkpoints=(changed, moved)), TENSORS, METRICS) == []
    assert [row.checkpoint for row in kept.measurements("run")] == ["c1"]
    with kept.transaction():
        assert kept.put_run(replace(run, checkpoints=(changed,)), TENSORS, METRICS) == ["c1"]
        assert kept.put_run(replace(run, checkpoints=()), TENSORS, METRICS) == ["c1", "c0"]
    assert kept.vanished("run") == ["c1", "c0"]


def test_whether_a_run_has_only_grown(kept):
    run = by_hand()
    first, second = run.checkpoints
    third = replace(second, name="c2")
    assert kept.has_only_grown(run) and kept.has_only_grown(replace(run, name="unknown", checkpoints=()))
    assert kept.has_only_grown(replace(run, checkpoints=(first, second, third)))
    for others in (
        (first,), (second, first), (third, first, second), (first, replace(second, step=11)),
        (first, replace(second, files=second.files[:1])), (first, replace(second, name="x")),
    ):  # fmt: skip
        assert not kept.has_only_grown(replace(run, checkpoints=others))


def test_what_was_begun_is_told_until_it_or_more_is_finished(kept):
    one, two, more = Asked(("a",), 1), Asked(("a", "z"), 2), Asked(("a", "z"), 1)
    for asked in (one, two, one):
        kept.begin("run", asked)
    assert kept.begun("run") == [two, one]
    kept.finish("run", two)
    assert kept.begun("run") == [one]
    kept.begin("run", two)
    kept.finish("run", more)
    assert kept.begun("run") == []
    assert not one.includes(more) and more.includes(one) and not Asked(("a",), 2).includes(Asked(("a",), 3))


def test_rows_come_by_checkpoint_then_tensors_first_in_the_order_of_the_files(kept):
    rows = [
        measurement("c0", "w", "a"), measurement("c1", "w", "z", 2.0, reference="c0"), measurement("c0", "b", "z"),
        measurement("c0", "w", "z"), measurement("c0", "", "z", scope="total"),
        measurement("c0", "", "z", scope="mean"),
    ]  # fmt: skip
    with kept.transaction():
        kept.writer("run").add_measurements(rows)
    assert list(kept.measurements("run")) == [rows[at] for at in (0, 3, 2, 5, 4, 1)]
    curves = list(kept.curves("run"))
    assert [(one.scope, one.tensor, one.metric) for one in curves] == [
        ("mean", "", "z"), ("tensor", "w", "a"), ("tensor", "w", "z"), ("tensor", "b", "z"), ("total", "", "z"),
    ]  # fmt: skip
    assert curves[2].values.tolist() == [1.0, 2.0] and curves[2].statuses == ("ok", "ok")
    assert curves[2].references == (None, "c0")
    assert np.isnan(curves[1].values[1]) and curves[1].statuses == ("ok", None)
    for chosen, count in (({"scope": "tensor"}, 3), ({"metric": "z"}, 4), ({"tensor": "w"}, 2), ({"tensor": "x"}, 0)):
        assert len(list(kept.curves("run", **chosen))) == count
    assert [one.metric for one in kept.curves("run", "tensor", "a", "w")] == ["a"]
    assert kept.bases("run", "w") == {}  # derived rows rest on no bytes
    with kept.transaction():
        kept.writer("run").forget("tensor", "a")
        kept.writer("run").forget("mean")
    assert list(kept.measurements("run")) == [rows[at] for at in (3, 2, 4, 1)]


def test_rows_are_replaced_and_forgotten_one_by_one(kept):
    add(kept, observed("c0", "w", [measurement("c0", "w", "z"), measurement("c0", "w[1]", "z")], basis="x"))
    add(kept, observed("c0", "w", [measurement("c0", "w", "z", 5.0)], basis="y"))
    add(kept, observed("c0", "wx", [measurement("c0", "wx", "z")]), observed("c1", "w", [measurement("c1", "w", "z")]))
    assert kept.bases("run", "w") == {("w", "z", "c0"): "y", ("w[1]", "z", "c0"): "x", ("w", "z", "c1"): "x"}
    assert kept.bases("run", "wx") == {("wx", "z", "c0"): "x"}
    assert {row.value for row in kept.measurements("run") if row.tensor == "w" and row.checkpoint == "c0"} == {5.0}
    with kept.transaction():
        kept.forget_rows("run", [("w", "z", "c0"), ("w[1]", "a", "c0")])
    assert kept.bases("run", "w") == {("w[1]", "z", "c0"): "x", ("w", "z", "c1"): "x"}


def test_sums_spectra_contents_and_problems_are_those_of_their_checkpoint(kept):
    numbers = (3, 2.0, 1.0)
    add(
        kept,
        observed("c1", "w", sums={"finiteness": numbers, "other": numbers}, spectra={"w": np.array([3.0, 1.0])},
                 content="h1", problems={"z": "late"}),
        observed("c0", "w", sums={"finiteness": (3, 0, 0)}, spectra={"w": np.array([2.0]), "w[1]": np.array([9.0])},
                 content="h0", problems={"z": "early", "a": "first"}),
        observed("c0", "b", sums={"finiteness": (5, 1, 0)}),
    )  # fmt: skip
    assert kept.sums("run", "c1") == {"finiteness": {"w": numbers}, "other": {"w": numbers}}
    assert kept.sums("run", "c0") == {"finiteness": {"w": (3, 0, 0), "b": (5, 1, 0)}}
    assert kept.nan_counts("run") == {"c1": {"w": 1.0}, "c0": {"b": 0}}
    spectra = kept.spectra("run", "w")
    assert list(spectra) == ["c0", "c1"] and spectra["c1"].tolist() == [3.0, 1.0] and spectra["c0"].tolist() == [2.0]
    assert list(kept.spectra("run", "w[1]")) == ["c0"]
    assert kept.contents("run") == {"c0": {"w": "h0"}, "c1": {"w": "h1"}} and list(kept.contents("run")) == ["c0", "c1"]
    early = [("c0", "w", "a", "first"), ("c0", "w", "z", "early")]
    assert kept.problems("run") == [*early, ("c1", "w", "z", "late")]
    add(kept, observed("c1", "w"))  # problems that are no more are gone, and only these
    assert kept.problems("run") == early
    assert kept.contents("run")["c1"] == {"w": "h1"}


def test_sums_and_spectra_that_a_metric_rested_on_go_with_its_rows(kept):
    needs = {metric.row.name: metric.needs for metric in analyzer.metrics.select_metrics(["rms", "spectral_norm"])}
    names = ("w", "w[1]", "w2", "v")
    for name in ("c0", "c1"):
        sums = {"elements": (1.0,), "drift": (2.0,)}
        add(kept, *(observed(name, tensor, sums=sums, spectra={tensor: np.ones(1)}) for tensor in names))
    add(kept, observed("c0", "w", [measurement("c0", "w", "rms")]), needs=needs)
    assert set(kept.sums("run", "c0")["elements"]) == {"w[1]", "w2", "v"} and "w" in kept.sums("run", "c0")["drift"]
    assert set(kept.sums("run", "c1")["elements"]) == set(names)
    assert all(list(kept.spectra("run", name)) == ["c0", "c1"] for name in names)
    add(kept, observed("c0", "w", [measurement("c0", "w", "spectral_norm")]), needs=needs)
    assert [list(kept.spectra("run", name)) for name in names] == [["c1"], ["c1"], ["c0", "c1"], ["c0", "c1"]]
    add(kept, observed("c1", "w", [measurement("c1", "w", "unknown")]), needs=needs)
    assert list(kept.spectra("run", "w")) == ["c1"]


def test_a_tensor_that_is_no_longer_in_the_run_takes_its_rows_along(kept):
    add(kept, observed("c0", "w", [measurement("c0", "w", "z")]), observed("c0", "b", [measurement("c0", "b", "z")]))
    with kept.transaction():
        kept.writer("run").add_measurements([measurement("c0", "b", "z", scope="mine")])
        kept.put_run(by_hand(), TENSORS[:1], METRICS)
    assert {(row.scope, row.tensor) for row in kept.measurements("run")} == {("tensor", "w"), ("mine", "b")}


def test_a_store_without_runs_says_that_it_has_none(tmp_path):
    with open_store(str(tmp_path / "s.sqlite"), create=True) as store:
        assert store.runs() == [] and store.has_only_grown(by_hand())
        with pytest.raises(StoreError, match="contains no run named 'x'; it has none"):
            store.tensors("x")
