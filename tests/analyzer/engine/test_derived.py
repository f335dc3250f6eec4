"""Sums over tensors, means over matrices and paths over time, from rows that were put in the store by hand."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from builders import random_walk, save_weights, weightlapse_metadata
from commands import measured, rows_of

from analyzer.engine import derived
from analyzer.engine.derived import DERIVED, WORST_FIRST, derive
from analyzer.metrics.needs import NEEDS
from analyzer.model.run import STATUSES_WITH_VALUE
from analyzer.model.tables import CheckpointRow, Curve
from analyzer.report.measurements import Measurements
from analyzer.store.store import open_store
from analyzer.store.writer import Observation


def run_of(tmp_path, states, steps=None):
    for t, weights in enumerate(states):
        step = None if steps is None else str(steps[t])
        save_weights(tmp_path / f"run/epoch_{t}.safetensors", weights, weightlapse_metadata(t, step=step))
    return rows_of(measured(tmp_path / "run"))


def row(rows, t, metric, scope, tensor=""):
    return rows[f"epoch_{t}.safetensors", scope, tensor, metric]


def test_statuses_with_a_value_are_better_than_all_others():
    assert set(WORST_FIRST[-3:]) == STATUSES_WITH_VALUE


def test_a_total_is_the_root_of_summed_squares_and_never_a_sum_of_norms(tmp_path):
    rows = run_of(tmp_path, [{"a": np.zeros(2), "b": np.zeros(2)}, {"a": np.array([3.0, 0]), "b": np.array([0, 4.0])}])
    assert row(rows, 1, "step_distance", "total")["value"] == 5.0
    assert row(rows, 1, "frobenius_norm", "total")["value"] == 5.0


def test_a_total_cosine_comes_from_summed_products_not_from_a_mean_of_cosines(tmp_path):
    first = {"a": np.array([1.0, 0]), "b": np.array([10.0, 0])}
    second = {"a": np.array([0, 1.0]), "b": np.array([10.0, 0])}
    rows = run_of(tmp_path, [first, second])
    assert row(rows, 1, "initial_cosine", "total")["value"] == pytest.approx(100 / 101)


def test_a_total_is_defined_where_one_of_its_tensors_is_zero(tmp_path):
    first = {"a": np.ones(4), "b": np.zeros(3)}
    second = {"a": np.ones(4) * 1.5, "b": np.ones(3)}
    rows = run_of(tmp_path, [first, second])
    assert row(rows, 1, "relative_step_distance", "tensor", "b")["status"] == "undefined"
    assert row(rows, 1, "relative_step_distance", "total")["value"] == pytest.approx(sqrt(1 + 3) / 2)


def test_a_total_is_never_short_of_a_tensor_whose_sums_are_absent(tmp_path):
    states = random_walk(3)
    for t, weights in enumerate(states):
        save_weights(tmp_path / f"run/epoch_{t}.safetensors", weights, weightlapse_metadata(t))
    rows = rows_of(measured(tmp_path / "run"))
    norm = sqrt(sum(float((weights.astype(np.float64) ** 2).sum()) for weights in states[1].values()))
    assert row(rows, 1, "frobenius_norm", "total")["value"] == pytest.approx(norm, rel=1e-12)
    path = tmp_path / "run.sqlite"
    with open_store(str(path), create=True) as store:
        needs = {"mine": [NEEDS["weights"]]}  # of a metric that finds none now
        absent = [
            Observation(row.name, "fc1.bias", (), {"mine": "x"}, {}, {}, None, {}, 0)
            for row in store.checkpoints("run")
        ]
        with store.transaction():
            store.writer("run", needs).add(absent)
        assert "fc1.bias" not in store.sums("run", "epoch_1.safetensors")["weights"]
        derive(store, "run", [])
    rows = rows_of(Measurements(str(path), "run"))
    for t in range(3):
        total = row(rows, t, "frobenius_norm", "total")
        assert (total["value"], total["status"]) == (None, "undefined")
        assert row(rows, t, "rms", "total")["status"] == "ok"


def test_a_total_is_undefined_where_a_tensor_that_had_a_row_has_none(tmp_path):
    states = [{"a": np.ones((2, 2), np.float32), "b": np.ones(3, np.float32)} for _ in range(3)]
    states[2]["b"] = np.ones(0, np.float32)  # an empty tensor has no rows
    rows = run_of(tmp_path, states)
    assert row(rows, 1, "frobenius_norm", "total")["value"] == pytest.approx(sqrt(7))
    total = row(rows, 2, "frobenius_norm", "total")
    assert (total["value"], total["status"]) == (None, "undefined")


def test_a_mean_has_a_value_only_where_every_matrix_has_one(tmp_path):
    states = random_walk(2, {"a.weight": (4, 5), "b.weight": (3, 3)})
    states[1]["b.weight"][0] = 0
    rows = run_of(tmp_path, states)
    assert row(rows, 0, "condition_number", "mean")["status"] == "ok"
    assert (row(rows, 1, "condition_number", "mean")["value"], row(rows, 1, "condition_number", "mean")["status"]) == (
        None, "singular",
    )  # fmt: skip


def test_a_mean_is_over_the_matrices_that_exist_by_then(tmp_path):
    states = random_walk(3, {"a.weight": (4, 5), "b.weight": (3, 3)})
    del states[0]["b.weight"]
    rows = run_of(tmp_path, states)
    for t, names in enumerate([["a.weight"], ["a.weight", "b.weight"]]):
        norms = [row(rows, t, "frobenius_norm", "tensor", name)["value"] for name in names]
        assert row(rows, t, "frobenius_norm", "mean")["value"] == pytest.approx(np.mean(norms), rel=1e-12)


def test_the_mean_leaves_out_vectors_and_buffers(tmp_path):
    states = random_walk(2, {"a.weight": (4, 5), "a.bias": (4,), "bn.running_mean": (4,)})
    rows = run_of(tmp_path, states)
    own = row(rows, 1, "step_distance", "tensor", "a.weight")["value"]
    assert row(rows, 1, "step_distance", "mean")["value"] == own
    assert row(rows, 1, "step_distance", "total")["value"] > own


def test_a_run_without_matrices_has_totals_and_no_means(tmp_path):
    rows = run_of(tmp_path, random_walk(3, {"bias": (7,)}))
    assert {scope for _, scope, *_ in rows} == {"tensor", "total"}


def test_the_total_rate_divides_by_the_steps_between_and_is_undefined_without(tmp_path):
    states = random_walk(3)
    rows = run_of(tmp_path, states, [0, 30, 31])
    for t, steps in ((1, 30), (2, 1)):
        distance = row(rows, t, "step_distance", "total")["value"]
        assert row(rows, t, "distance_rate", "total")["value"] == pytest.approx(distance / steps)
    rows = run_of(tmp_path / "b", states)
    assert row(rows, 1, "distance_rate", "total")["status"] == "undefined"


def test_a_path_that_returns_is_long_though_its_end_is_near(tmp_path):
    rows = run_of(tmp_path, [{"w": np.array([x, 0.0])} for x in (0, 3, 0, 3, 1)])
    assert [row(rows, t, "path_length", "tensor", "w")["value"] for t in range(5)] == [0, 3, 6, 9, 11]
    bent = [row(rows, t, "tortuosity", "tensor", "w") for t in range(5)]
    assert [one["value"] for one in bent] == [None, 1, None, 3, 11]
    assert [one["status"] for one in bent] == ["undefined", "ok", "undefined", "ok", "ok"]
    assert {one["reference"] for one in bent} == {"epoch_0.safetensors"}


def test_a_stretch_without_motion_does_not_spoil_a_path_and_a_hidden_step_marks_it(tmp_path):
    import ml_dtypes

    w = np.random.default_rng(0).standard_normal((30, 30))
    nudged = w.copy()
    nudged[0, 0] *= 1.02
    states = [{"w": one.astype(ml_dtypes.bfloat16)} for one in (w, w * 2, w * 2, w * 2 + (nudged - w))]
    rows = run_of(tmp_path, states)
    assert [row(rows, t, "step_distance", "tensor", "w")["status"] for t in (1, 2, 3)] == [
        "ok", "below_precision", "below_precision",
    ]  # fmt: skip
    assert row(rows, 2, "step_distance", "tensor", "w")["value"] == 0
    paths = [row(rows, t, "path_length", "tensor", "w")["status"] for t in range(4)]
    assert paths == ["ok", "ok", "ok", "below_precision"]
    assert row(rows, 3, "path_length", "tensor", "w")["value"] > 0


def test_derived_metrics_are_described_like_the_others(tmp_path):
    assert {one.name for one in DERIVED} == {"path_length", "tortuosity"}
    assert all(one.definition and one.source and "density" in one.definition for one in DERIVED)


def curve(values, statuses=None, references=None, tensor="w", metric="step_distance"):
    """A curve by hand, ok wherever it has a value."""
    values = np.array(values, dtype=float)
    statuses = statuses or tuple(None if np.isnan(value) else "ok" for value in values)
    return Curve("tensor", tensor, metric, values, statuses, references or (None,) * len(values))


ROWS = [CheckpointRow(f"c{at}", float(at), 10 * at, "", 0) for at in range(5)]
NAN = float("nan")


def path_of(step, distance):
    """(checkpoint, value, status) of the path and of the tortuosity."""
    rows = derived._path(ROWS[: len(step.values)], step, distance)
    assert all(one.reference == rows[0].checkpoint for one in rows)
    paths, bent = rows[::2], rows[1::2]
    assert {one.metric for one in paths} <= {"path_length"} and {one.metric for one in bent} <= {"tortuosity"}
    return [[(one.checkpoint, one.value, one.status) for one in group] for group in (paths, bent)]


def test_a_path_begins_where_its_tensor_does():
    paths, bent = path_of(curve([NAN, NAN, 2.0, 3.0]), curve([NAN, 0.0, 2.0, 4.0]))
    assert paths == [("c1", 0.0, "ok"), ("c2", 2.0, "ok"), ("c3", 5.0, "ok")]
    assert bent == [("c1", None, "undefined"), ("c2", 1.0, "ok"), ("c3", 1.25, "ok")]
    assert derived._path(ROWS[:2], curve([NAN, 1.0]), None) == []


@pytest.mark.parametrize(
    ("status", "value", "paths"),
    [
        ("nonfinite", NAN, [("c2", None, "nonfinite"), ("c3", None, "nonfinite")]),
        ("undefined", NAN, [("c2", None, "undefined"), ("c3", None, "undefined")]),
        ("below_precision", 2.0, [("c2", 3.0, "below_precision"), ("c3", 4.0, "below_precision")]),
        ("below_precision", 0.0, [("c2", 1.0, "ok"), ("c3", 2.0, "ok")]),
        ("missing", NAN, [("c2", None, "missing"), ("c3", 2.0, "ok")]),
        (None, NAN, [("c2", 1.0, "ok"), ("c3", 2.0, "ok")]),
    ],
)
def test_a_step_that_is_not_known_spoils_the_path_from_there_on_and_a_gap_only_itself(status, value, paths):
    step = curve([NAN, 1.0, value, 1.0], (None, "ok", status, "ok"))
    found, bent = path_of(step, curve([0.0, 1.0, 1.0, 1.0]))
    assert found[2:] == paths
    assert bent[2:] == paths  # over a distance of one


def test_the_worst_status_of_a_path_stays():
    step = curve([NAN, 1.0, 1.0, NAN], (None, "below_precision", "ok", "nonfinite"))
    paths, _ = path_of(step, curve([0.0, 1.0, 2.0, NAN]))
    assert [status for *_, status in paths] == ["ok", "below_precision", "below_precision", "nonfinite"]
    assert derived._worst(["ok", "precision_limited", "below_precision"]) == "below_precision"


def test_a_mean_is_of_those_that_have_a_row_with_their_common_reference():
    first = curve([1.0, 2.0, 4.0, NAN], references=(None, "c0", "c1", None))
    second = curve([NAN, 4.0, 8.0, NAN], references=(None, "c0", "c0", None), tensor="v")
    rows = derived._means(ROWS[:4], "m", [first, second])
    assert [(one.checkpoint, one.value, one.reference) for one in rows] == [
        ("c0", 1.0, None), ("c1", 3.0, "c0"), ("c2", 6.0, None),
    ]  # fmt: skip
    assert {(one.scope, one.tensor, one.metric, one.bound, one.status) for one in rows} == {
        ("mean", "", "m", None, "ok")
    }
    limited = replace(second, statuses=(None, "precision_limited", "singular", None))
    found = [(one.value, one.status) for one in derived._means(ROWS[:4], "m", [first, limited])]
    assert found == [(1.0, "ok"), (3.0, "precision_limited"), (None, "singular")]
    assert derived._means(ROWS, "m", []) == []


@pytest.mark.parametrize(
    ("now", "before", "reference", "steps"),
    [(30, 10, "c0", 20), (30, 10, None, None), (None, 10, "c0", None), (30, None, "c0", None), (30, 0, "c0", 30),
     (0, 0, "c0", 0)],
)  # fmt: skip
def test_an_interval_is_known_where_both_steps_are(now, before, reference, steps):
    row = CheckpointRow("c1", 1.0, now, "", 0)
    assert derived._interval({"c0": before, "c1": now}, row, reference).steps == steps


def test_parameters_are_all_tensors_but_buffers_and_integers():
    assert {"matrix", "stack", "vector", "scalar"} == derived.PARAMETERS
    assert WORST_FIRST[0] == "nonfinite" and [row.version for row in DERIVED] == [1, 1]
