"""Correlations beside scipy's, and what is left undefined."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
from builders import random_walk, save_weights, weightlapse_metadata
from commands import measured
from hypothesis import given
from hypothesis import strategies as st

from analyzer.model.tables import is_tested
from analyzer.report.reading import read_tables, with_statistics
from analyzer.statistics.coefficients import pearson, ranks, z_scores
from analyzer.statistics.curves import score_changes
from analyzer.store.store import open_store

FINITE = st.floats(-1e6, 1e6, allow_subnormal=False)


def spearman(x, y):
    """Correlate ranks, as :mod:`analyzer.statistics.relating` does."""
    return pearson(ranks(x), ranks(y))


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30))
def test_ranks_give_ties_their_mean_rank_as_scipy_does(values):
    assert ranks(np.array(values, dtype=float)).tolist() == scipy.stats.rankdata(values).tolist()


def test_ranks_of_nothing_are_nothing():
    assert len(ranks(np.array([]))) == 0


@pytest.mark.parametrize("n", [3, 4, 10, 51, 1000])
def test_coefficients_agree_with_scipy(n):
    generator = np.random.default_rng(n)
    x = generator.standard_normal(n)
    y = 0.3 * x + generator.standard_normal(n).round(1)
    assert pearson(x, y).value == pytest.approx(scipy.stats.pearsonr(x, y).statistic, rel=1e-12, abs=1e-14)
    assert spearman(x, y).value == pytest.approx(scipy.stats.spearmanr(x, y).statistic, rel=1e-12, abs=1e-14)
    assert pearson(x, y).n == spearman(x, y).n == n


@given(st.lists(st.tuples(FINITE, FINITE), min_size=3, max_size=20))
def test_coefficients_stay_between_minus_one_and_one(pairs):
    x, y = np.array(pairs).T
    for function in (pearson, spearman):
        result = function(x, y)
        assert (result.value is None) == (result.status != "ok")
        assert result.value is None or -1 <= result.value <= 1


def test_pairs_with_a_gap_on_either_side_are_left_out():
    x = np.array([np.nan, 1.0, 2.0, 3.0, 4.0, 50.0, np.inf])
    y = np.array([1.0, 2.0, 4.0, 5.0, 9.0, np.nan, 3.0])
    result = pearson(x, y)
    assert result.n == 4
    assert result.value == pytest.approx(scipy.stats.pearsonr(x[1:5], y[1:5]).statistic, rel=1e-13)


@pytest.mark.parametrize("function", [pearson, spearman])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_fault_41_fewer_than_three_pairs_are_undefined_with_n(function, n):
    assert function(np.arange(float(n)), np.arange(float(n))) == (None, n, "undefined")


@pytest.mark.parametrize("function", [pearson, spearman])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e300, -3.3])
def test_fault_41_a_constant_series_is_undefined_with_n(function, constant):
    assert function(np.full(7, constant), np.arange(7.0)) == (None, 7, "undefined")
    assert function(np.arange(7.0), np.full(7, constant)) == (None, 7, "undefined")


def test_fault_41_a_constant_series_with_rounding_noise_is_not_blown_up():
    noisy = np.array([0.1 + 0.2, 0.3, 0.1 + 0.2, 0.3])
    assert len(set(noisy)) == 2
    assert pearson(noisy, np.array([1.0, 2.0, 1.5, 9.0])).status == "undefined"


def test_z_scores_have_mean_zero_and_deviation_one_with_ddof_0():
    z = z_scores(np.array([1.0, 2.0, 3.0, 6.0]))
    assert z == pytest.approx((np.array([1, 2, 3, 6]) - 3) / np.sqrt(3.5), rel=1e-15)
    assert np.isnan(z_scores(np.array([2.0, 2.0]))).all()
    assert len(z_scores(np.array([]))) == 0


def test_a_score_is_differenced_between_the_two_checkpoints_that_the_row_compares():
    score = np.array([0.1, 0.4, 0.9, np.nan])
    assert score_changes(score, (None, 0, 0, 2)) == pytest.approx([np.nan, 0.3, 0.8, np.nan], nan_ok=True)


def _tables(folder):
    measurements = measured(folder)
    with open_store(measurements.path) as store:
        return with_statistics(read_tables(store, measurements.run))


def all_rows(tables):
    return [one for rows in tables.correlations.values() for one in rows]


def test_the_classic_picture_pairs_accuracy_differences_with_mean_step_distances(tmp_path):
    states = random_walk(9, {"a.weight": (6, 8), "b.weight": (4, 6), "b.bias": (4,)})
    generator = np.random.default_rng(4)
    accuracies = np.sort(generator.random(9))
    for epoch, weights in enumerate(states):
        changes = {"test_accuracy": repr(float(accuracies[epoch])), "train_accuracy": None}
        save_weights(tmp_path / f"run/epoch_{epoch}.safetensors", weights, weightlapse_metadata(epoch, **changes))
    tables = _tables(tmp_path / "run")

    distance = [
        np.mean([np.linalg.norm(new[key].astype(float) - old[key]) for key in ("a.weight", "b.weight")])
        for old, new in pairwise(states)
    ]
    expected = scipy.stats.pearsonr(np.diff(accuracies), distance).statistic
    (pair,) = tables.change_pairs
    assert (pair.scalar, pair.n, pair.status) == ("test_accuracy", 8, "ok")
    assert pair.coefficient == pytest.approx(expected, rel=1e-9)
    assert pair.positions.tolist() == list(range(1, 9))
    assert pair.score_change == pytest.approx(scipy.stats.zscore(np.diff(accuracies)), rel=1e-9)
    assert pair.weight_change == pytest.approx(scipy.stats.zscore(distance), rel=1e-9)
    row = next(
        one
        for one in all_rows(tables)
        if (one.scope, one.metric, one.scalar, one.method) == ("mean", "step_distance", "test_accuracy", "pearson")
    )
    assert row.transform == "score difference, z-scored"
    assert (row.coefficient, row.n, row.status) == (pytest.approx(expected, rel=1e-9), 8, "ok")


def test_a_training_accuracy_has_no_difference_into_epoch_1(make_run):
    tables = _tables(make_run(random_walk(7)))
    assert np.isnan(tables.scalars["train_accuracy"][0])
    pairs = {pair.scalar: pair for pair in tables.change_pairs}
    assert (pairs["train_accuracy"].n, pairs["test_accuracy"].n) == (5, 6)
    assert pairs["train_accuracy"].positions.tolist() == [2, 3, 4, 5, 6]


def test_correlations_cover_every_layer_and_the_whole_with_no_p_value_for_so_few(make_run):
    tables = _tables(make_run(random_walk(7)))
    keys = [(one.scope, one.tensor, one.metric, one.scalar, one.method) for one in all_rows(tables)]
    found = set(keys)
    scores = ("train_accuracy", "test_accuracy", "train_loss", "test_loss", "generalization_gap")
    metrics = {key[:3] for key in tables.curves}
    assert {metric for scope, _, metric in metrics if scope == "total"}
    expected = {(*key, score, method) for key in metrics for score in scores for method in ("pearson", "spearman")}
    assert found == expected
    assert len(keys) == 3 * len(found)  # as drawn, as differences, and without trend
    for one in all_rows(tables):
        assert one.p_value is one.q_value is one.low is one.high is None and one.lag == 0
        if is_tested(one):
            assert one.coefficient is None and one.status in ("too_few", "undefined")


def test_the_generalization_gap_is_train_minus_test_accuracy_and_correlates_as_scipy_says(make_run):
    tables = _tables(make_run(random_walk(7)))
    gap = tables.scalars["train_accuracy"] - tables.scalars["test_accuracy"]
    assert tables.scalars["generalization_gap"] == pytest.approx(gap, nan_ok=True)
    curve = tables.curves["tensor", "fc1.weight", "condition_number"]
    one = next(
        row
        for row in all_rows(tables)
        if (row.tensor, row.metric, row.scalar, row.method)
        == ("fc1.weight", "condition_number", "train_accuracy", "pearson")
    )
    expected = scipy.stats.pearsonr(tables.scalars["train_accuracy"][1:], curve.values[1:]).statistic
    assert (one.n, one.coefficient) == (6, pytest.approx(expected, rel=1e-9))


def test_fault_41_a_constant_accuracy_is_undefined_with_n_in_every_table(tmp_path):
    for epoch, weights in enumerate(random_walk(6)):
        changes = {"test_accuracy": "0.5", "train_accuracy": None}
        save_weights(tmp_path / f"run/epoch_{epoch}.safetensors", weights, weightlapse_metadata(epoch, **changes))
    tables = _tables(tmp_path / "run")
    rows = [one for one in all_rows(tables) if one.scalar == "test_accuracy"]
    assert rows
    assert {(one.coefficient, one.status) for one in rows} == {(None, "undefined")}
    assert {one.n for one in rows} == {3, 4, 5, 6}  # 3: differences of update cosines, which begin at the third
    (pair,) = tables.change_pairs
    assert (pair.coefficient, pair.status, pair.n) == (None, "undefined", 5)
