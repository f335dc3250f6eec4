"""Which rows there are, what they are called, and what stands where there is nothing to say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from curve_tables import correlations, even_trend, tables_of

from analyzer.model.tables import is_tested
from analyzer.statistics import curves as curves_module
from analyzer.statistics.change_pairs import change_pairs
from analyzer.statistics.coefficients import pearson
from analyzer.statistics.correlating import Correlations
from analyzer.statistics.curves import block_of, ordered_scalars
from analyzer.statistics.stationary import logarithms


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).standard_normal(n))


@pytest.mark.parametrize(
    ("tensor", "block"),
    [
        ("model.layers.3.mlp.up_proj.weight", "model.layers.3"),
        ("transformer.h.11.attn.c_attn.weight", "transformer.h.11"),
        ("layer1.0.conv1.weight", "layer1.0"),
        ("0.weight", "0"),
        ("model.layers.3.mlp.experts.7.up.weight", "model.layers.3"),
        ("fc1.weight", None),
        ("weight", None),
        ("", None),
        ("a.٣.weight", None),
        ("3", None),
    ],
)
def test_the_block_is_the_path_up_to_the_first_number(tensor, block):
    assert block_of(tensor) == block


def test_a_block_is_the_mean_of_its_matrices():
    names = ["h.0.a.weight", "h.0.b.weight", "h.1.a.weight", "out.weight"]
    curves = {("tensor", name, "condition_number"): np.exp(noise(40, seed)) for seed, name in enumerate(names)}
    curves["tensor", "h.0.a.weight", "step_distance"] = np.exp(noise(40, 7))
    tables = tables_of(curves, {"test_accuracy": noise(40, 9)})
    rows = [row for row in correlations(tables) if row.scope == "block"]
    assert {(row.tensor, row.metric) for row in rows} == {("h.0", "condition_number")}  # one matrix is no block
    mean = (curves["tensor", names[0], "condition_number"] + curves["tensor", names[1], "condition_number"]) / 2
    expected = pearson(mean, tables.scalars["test_accuracy"]).value
    assert rows[0].coefficient == pytest.approx(expected)
    tested = [row for row in rows if is_tested(row)]
    assert [row.q_value for row in tested] == [row.p_value for row in tested]  # a family of its own


def test_matrices_of_a_stack_count_in_their_block_only():
    names = [f"h.0.experts[{e}]" for e in range(3)]
    curves = {("tensor", name, "condition_number"): np.exp(noise(30, seed)) for seed, name in enumerate(names)}
    rows = correlations(tables_of(curves, {"test_accuracy": noise(30, 9)}))
    assert {(row.scope, row.tensor) for row in rows} == {("block", "h.0")}


def test_a_vector_is_related_alone_but_belongs_to_no_block():
    curves = {("tensor", f"h.0.{name}", "step_distance"): np.exp(noise(30)) for name in ("a.bias", "b.bias")}
    rows = correlations(tables_of(curves, {"test_accuracy": noise(30, 9)}, kind="vector"))
    assert {row.scope for row in rows} == {"tensor"}


def test_any_score_counts_and_known_ones_come_first():
    scores = {"eval_f1": noise(30, 1), "test_loss": noise(30, 2), "train_accuracy": noise(30, 3)}
    rows = correlations(tables_of({("mean", "", "condition_number"): np.exp(noise(30))}, scores))
    assert list(dict.fromkeys(row.scalar for row in rows)) == ["train_accuracy", "test_loss", "eval_f1"]
    many = {f"score{i}": noise(5) for i in range(40)}
    assert ordered_scalars({**many, "loss": noise(5)}) == ["loss", *many]


def test_what_is_no_positive_scale_is_not_put_on_a_log():
    signed = ("update_cosine", "initial_cosine", "my_own")
    curves = {("tensor", "w", metric): 0.5 + 0.01 * noise(30) for metric in signed}
    curves["tensor", "w", "rms"] = np.exp(noise(30))
    rows = correlations(tables_of(curves, {"test_accuracy": noise(30, 9)}))
    names = {row.metric: row.transform for row in rows if is_tested(row)}
    assert names == {
        "update_cosine": "differences of score differences and of metric, trend removed",
        "initial_cosine": "differences of score and of metric, trend removed",
        "my_own": "differences of score and of metric, trend removed",
        "rms": "differences of score and of log metric, trend removed",
    }
    assert logarithms(np.array([1.0, 0.0, -1.0])) == pytest.approx([0, np.nan, np.nan], nan_ok=True)


def statuses(rows):
    return {(is_tested(row), row.transform.startswith("differences"), row.status) for row in rows if not row.lag}


def test_a_frozen_layer_and_a_constant_score_are_undefined_in_every_row():
    curves = {("tensor", "w", "step_distance"): np.zeros(30), ("tensor", "w", "rms"): np.full(30, 0.1)}
    rows = correlations(tables_of(curves, {"test_accuracy": noise(30)}))
    assert {row.status for row in rows} == {"undefined"}
    curves = {("tensor", "w", "rms"): np.exp(noise(30))}
    rows = correlations(tables_of(curves, {"test_accuracy": np.full(30, 0.5)}))
    assert {(row.status, row.coefficient, row.n_effective) for row in rows} == {("undefined", None, None)}
    assert {row.n for row in rows} >= {30, 29}


def test_a_score_that_rises_evenly_has_constant_differences_whatever_the_rounding():
    score = np.arange(30) * 0.01 + 0.1
    assert len(set(np.diff(score))) > 1
    rows = correlations(tables_of({("tensor", "w", "rms"): np.exp(noise(30))}, {"test_accuracy": score}))
    assert statuses(rows) == {(False, False, "ok"), (False, True, "undefined"), (True, True, "undefined")}


def test_below_ten_effective_pairs_a_coefficient_only_describes():
    """Two slow waves: every difference is like the one before it."""
    t = np.arange(24)
    curves = {("tensor", "w", "rms"): np.exp(np.sin(t / 5))}
    rows = correlations(tables_of(curves, {"test_accuracy": np.cos(t / 6)}))
    differences = [row for row in rows if row.transform == "differences of score and of log metric"]
    assert differences
    for row in differences:
        assert row.n == 23 and row.n_effective < 10
        assert (row.status, row.p_value, row.coefficient is not None) == ("too_few", None, True)


@pytest.mark.parametrize(("n", "printed"), [(33, False), (60, True)])
def test_a_period_needs_twelve_points_beyond_the_parameters_of_the_trend(n, printed):
    pattern = np.tile(noise(7, 5), n)[:n]
    curves = {("tensor", "w", "rms"): np.exp(noise(n) / 20 + pattern)}
    rows = correlations(tables_of(curves, {"test_accuracy": noise(n, 3) / 20 + pattern}))
    tested = [row for row in rows if is_tested(row)]
    assert len(tested) == 2
    for row in tested:
        assert "period of 7" in row.transform
        assert (row.p_value is not None) == printed


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9, 12])
def test_short_runs_get_no_p_value(n):
    curves = {("tensor", "w", metric): np.exp(noise(n)) for metric in ("rms", "step_distance")}
    rows = correlations(tables_of(curves, {"test_accuracy": noise(n, 3)}))
    assert rows
    assert all(row.p_value is None for row in rows)
    assert all(row.status != "ok" or not row.transform.startswith("differences") or row.n > 2 for row in rows)


def test_gaps_are_left_out_on_either_side():
    curve, score = np.exp(noise(40)), noise(40, 5)
    curve[7], score[20] = np.nan, np.nan
    rows = correlations(tables_of({("tensor", "w", "rms"): curve}, {"test_accuracy": score}))
    assert {row.n for row in rows if row.transform == "levels"} == {38}
    assert {row.n for row in rows if row.transform == "differences of score and of log metric"} == {35}
    x, y = np.diff(np.log(curve)), np.diff(score)
    both = np.isfinite(x) & np.isfinite(y)
    found = next(row for row in rows if row.transform == "differences of score and of log metric")
    assert found.coefficient == pytest.approx(np.corrcoef(x[both], y[both])[0, 1])


def test_rows_do_not_depend_on_which_other_curves_there_are():
    curves = {("tensor", f"w{i}", "rms"): np.exp(noise(40, i)) for i in range(5)}
    curves["tensor", "w3", "rms"][4] = np.nan
    score = {"test_accuracy": noise(40, 9)}
    together = correlations(tables_of(curves, score))
    for key in curves:
        alone = correlations(tables_of({key: curves[key]}, score))
        for one, other in zip(alone, [row for row in together if row.tensor == key[1]], strict=True):
            assert (one.n, one.status, one.transform) == (other.n, other.status, other.transform)
            for name in ("coefficient", "low", "high", "n_effective", "p_value"):
                mine, its = getattr(one, name), getattr(other, name)
                assert mine is its is None or mine == pytest.approx(its, rel=1e-9)


def test_extreme_numbers_are_survived():
    t = np.arange(30.0)
    curves = {
        ("tensor", "w", "rms"): np.exp(noise(30)) * 1e300,
        ("tensor", "w", "norm_change"): 1e308 * np.sin(t),
        ("tensor", "w", "mean_absolute"): np.exp(noise(30)) * 1e-310,
    }
    rows = correlations(tables_of(curves, {"loss": 1e307 * np.cos(t), "test_loss": 1e-320 * t}))
    assert all(row.coefficient is None or -1 <= row.coefficient <= 1 for row in rows)


def test_too_many_layers_leave_whole_metrics_to_blocks_and_the_mean_and_say_so(monkeypatch):
    monkeypatch.setattr(curves_module, "MOST_PAIRS", 19)
    metrics = ("rms", "step_distance", "condition_number", "stable_rank")
    curves = {("tensor", f"w{i}", metric): np.exp(noise(20, i)) for i in range(4) for metric in metrics}
    curves["mean", "", "rms"] = np.exp(noise(20))
    found = Correlations(tables_of(curves, {"test_accuracy": noise(20, 3), "eval_f1": noise(20, 4)}))
    assert found.left_out == ("rms", "stable_rank")
    assert set(found) == set(metrics)
    for metric in found.left_out:
        (one, other) = [row for row in found[metric] if row.scope == "tensor"]
        assert (one.scalar, other.scalar) == ("test_accuracy", "eval_f1")
        for row in (one, other):
            assert (row.tensor, row.coefficient, row.n, row.status) == ("", None, 0, "missing")
            assert row.transform == "not related: too many tensors" and not is_tested(row)
    assert {row.scope for row in found["rms"]} == {"tensor", "mean"}
    assert {row.tensor for row in found["step_distance"]} == {"w0", "w1", "w2", "w3"}


def test_a_metric_that_is_small_enough_is_kept_whatever_came_before_it(monkeypatch):
    monkeypatch.setattr(curves_module, "MOST_PAIRS", 5)
    curves = {("tensor", f"w{i}", "rms"): np.exp(noise(20, i)) for i in range(4)}
    curves |= {("tensor", f"w{i}", "stable_rank"): np.exp(noise(20, i)) for i in range(3)}
    curves |= {("tensor", "w0", "nuclear_norm"): np.exp(noise(20))}
    found = Correlations(tables_of(curves, {"test_accuracy": noise(20, 3)}))
    assert found.left_out == ("stable_rank",)


def test_every_score_of_many_is_related():
    scores = {f"score{i}": noise(20, i) for i in range(30)}
    rows = correlations(tables_of({("tensor", "w", "rms"): np.exp(noise(20))}, scores))
    assert {row.scalar for row in rows} == set(scores)


def test_only_the_motion_of_layers_and_the_whole_network_are_explored_with_lags():
    curves = {
        (scope, name, metric): np.exp(noise(40, seed))
        for seed, (scope, name, metric) in enumerate(
            (scope, name, metric)
            for metric in ("rms", "step_distance")
            for scope, name in (("tensor", "a"), ("tensor", "b"), ("total", ""))
        )
    }
    rows = correlations(tables_of(curves, {"test_accuracy": noise(40, 9)}))
    lagged = {(row.scope, row.tensor, row.metric) for row in rows if row.lag}
    assert lagged == set(curves) - {("tensor", "a", "rms"), ("tensor", "b", "rms")}


def test_at_a_positive_lag_the_score_is_taken_later():
    driver = noise(62)
    rows = correlations(tables_of({("total", "", "rms"): np.exp(driver[2:])}, {"test_accuracy": driver[:-2]}))
    by_lag = {row.lag: row.coefficient for row in rows if row.lag and row.method == "pearson"}
    assert max(by_lag, key=by_lag.__getitem__) == 2
    assert by_lag[2] > 0.9


def test_the_classic_picture_names_its_stationary_row():
    curves = {("mean", "", "step_distance"): np.exp(noise(40))}
    tables = tables_of(curves, {"test_accuracy": noise(40, 3), "train_accuracy": noise(40, 4)})
    rows = Correlations(tables)["step_distance"]
    pairs = {pair.scalar: pair for pair in change_pairs(tables, rows)}
    for scalar, pair in pairs.items():
        assert pair.stationary in rows
        assert (pair.stationary.scalar, pair.stationary.method, pair.stationary.lag) == (scalar, "pearson", 0)
        assert is_tested(pair.stationary)
    assert change_pairs(tables)[0].stationary is None


@pytest.mark.parametrize("n", [10, 11, 12, 13, 15, 16, 20])
def test_a_trend_is_removed_from_ten_differences_or_more_and_needs_ten_beside_it(n):
    rows = correlations(tables_of({("total", "", "rms"): np.exp(noise(n))}, {"test_accuracy": noise(n, 3)}))
    kept = n - 1 if n - 1 < 10 else int(even_trend(n - 1).kept.sum())
    tested = [row for row in rows if is_tested(row)]
    assert {row.n for row in tested} == {kept}
    assert {row.coefficient is None for row in tested} == {kept < 10}
    assert {row.lag for row in rows} == ({0} if kept < 10 else {-3, -2, -1, 0, 1, 2, 3})
    assert {row.n for row in rows if row.lag == 0 and not is_tested(row)} == {n, n - 1}


def test_each_lag_pairs_the_score_with_earlier_or_later_weights_without_their_trend():
    curve, score = np.exp(noise(40)), noise(40, 3)
    rows = correlations(tables_of({("total", "", "rms"): curve}, {"test_accuracy": score}))
    trend = even_trend(39)
    x, y = trend.removed(np.diff(np.log(curve))[None])[0], trend.removed(np.diff(score)[None])[0]
    for row in rows:
        if row.lag and row.method == "pearson":
            early, late = slice(None, -abs(row.lag)), slice(abs(row.lag), None)
            pair = (x[early], y[late]) if row.lag > 0 else (x[late], y[early])
            assert row.coefficient == pytest.approx(np.corrcoef(*pair)[0, 1])
            assert (row.n, row.p_value, row.q_value) == (len(x) - abs(row.lag), None, None)


def test_scores_and_curves_with_different_gaps_are_each_paired_with_their_own():
    curves = {("tensor", f"w{i}", "rms"): np.exp(noise(30, i)) for i in range(4)}
    curves["tensor", "w1", "rms"][5] = curves["tensor", "w3", "rms"][9] = np.nan
    curves["tensor", "w2", "rms"][3] = -1.0  # has no logarithm
    scores = {"test_accuracy": noise(30, 8), "test_loss": noise(30, 9)}
    scores["test_loss"][20] = np.nan
    levels = {(row.tensor, row.scalar): row for row in correlations(tables_of(curves, scores))
              if row.transform == "levels" and row.method == "pearson"}  # fmt: skip
    for (tensor, scalar), row in levels.items():
        expected = pearson(curves["tensor", tensor, "rms"], scores[scalar])
        assert (row.coefficient, row.n) == (pytest.approx(expected.value), expected.n)
    differences = {row.tensor: row.n for row in correlations(tables_of(curves, scores))
                   if row.transform.endswith("of log metric") and row.scalar == "test_accuracy"}  # fmt: skip
    assert differences == {"w0": 29, "w1": 27, "w2": 27, "w3": 27}


@pytest.mark.parametrize("is_relative_to_the_curve", [False, True])
def test_differences_are_noise_beside_the_magnitude_of_what_they_were_taken_from(is_relative_to_the_curve):
    flat, rough = 1 + 1e-13 * noise(30), noise(30, 4)
    curve, score = (flat, rough) if is_relative_to_the_curve else (np.abs(rough) + 1, flat)
    rows = correlations(tables_of({("tensor", "w", "my_own"): curve}, {"test_accuracy": score}))
    assert {row.status for row in rows} == {"undefined"}


def test_a_run_without_scores_or_curves_has_no_rows():
    tables = tables_of({("tensor", "w", "rms"): noise(5)}, {"test_accuracy": noise(5)})
    assert len(Correlations(replace(tables, scalars={}))) == 0
    found = Correlations(replace(tables, curves={}))
    assert list(found) == [] and found.left_out == ()
    with pytest.raises(KeyError):
        found["rms"]
    assert len(Correlations(tables)) == 1


def test_q_values_are_of_one_scope_and_metric():
    curves = {("tensor", f"w{i}", "rms"): np.exp(noise(40, i)) for i in range(3)}
    curves |= {("tensor", f"w{i}", "stable_rank"): np.exp(noise(40, 5 + i)) for i in range(2)}
    curves["total", "", "rms"] = np.exp(noise(40, 9))
    rows = [
        row for row in correlations(tables_of(curves, {"loss": noise(40, 11), "acc": noise(40, 12)})) if is_tested(row)
    ]
    families = {}
    for row in rows:
        families.setdefault((row.scope, row.metric, row.scalar, row.method), []).append(row)
    assert sorted(len(family) for family in families.values()) == [1] * 4 + [2] * 4 + [3] * 4
    for family in families.values():
        expected = scipy.stats.false_discovery_control([row.p_value for row in family])
        assert [row.q_value for row in family] == pytest.approx(expected)
