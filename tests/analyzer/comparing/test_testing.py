"""Final values, differences with their q-values, and what goes into the swap test."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from compared_runs import LAYERS, stored_run, two_groups

from analyzer.comparing import compare_runs
from analyzer.statistics.swap import swap_test


def test_final_values_are_compared_with_the_first_run():
    runs = [stored_run("a"), stored_run("b", seed=1, distance=7.0), stored_run("c", seed=2, distance=1.0)]
    comparison = compare_runs(runs)
    for tensor in ("", *LAYERS):
        scope = "tensor" if tensor else "total"
        expected = [run.tables.curves[scope, tensor, "initial_distance"].values[-1] for run in runs]
        rows = [one for one in comparison.finals if (one.tensor, one.quantity) == (tensor, "initial_distance")]
        assert [row.value for row in rows] == expected
        assert [row.difference for row in rows] == [value - expected[0] for value in expected]


def test_differences_are_ratios_of_geometric_means_or_plain_and_share_their_q_values():
    runs = two_groups(6, distance=4.4, accuracy=0.8)
    comparison = compare_runs(runs)
    tested = [row for row in comparison.differences if row.p_value is not None]
    expected = scipy.stats.false_discovery_control([row.p_value for row in tested])
    assert [row.q_value for row in tested] == pytest.approx(expected)
    by_quantity = {row.quantity: row for row in comparison.differences}
    ends = np.array([run.tables.curves["total", "", "initial_distance"].values[-1] for run in runs])
    row = by_quantity["initial_distance"]
    first, second = np.log(ends[:6]), np.log(ends[6:])
    assert (row.form, row.first_mean) == ("ratio", pytest.approx(np.exp(first.mean())))
    assert row.difference == pytest.approx(np.exp(second.mean() - first.mean()))
    welch = scipy.stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    assert (row.low, row.high) == (pytest.approx(np.exp(welch.low)), pytest.approx(np.exp(welch.high)))
    scores = np.array([run.tables.scalars["test_accuracy"][-1] for run in runs])
    row = by_quantity["test_accuracy"]
    assert (row.form, row.difference) == ("difference", pytest.approx(scores[6:].mean() - scores[:6].mean()))
    assert (row.first, row.second, row.first_n, row.second_n) == ("plain", "other", 6, 6)


def test_the_swap_test_takes_changes_of_scores_of_the_path_and_of_the_logarithm_of_kappa():
    runs = two_groups(6, accuracy=0.7)
    comparison = compare_runs(runs)
    groups = {(row.group, row.score, row.quantity): row for row in comparison.swaps}
    assert {key[0] for key in groups} == {"plain", "other", None}
    chosen = runs[6:]
    scores = np.diff([run.tables.scalars["test_accuracy"] for run in chosen], axis=1)
    paths = np.diff([run.tables.curves["total", "", "path_length"].values for run in chosen], axis=1)
    kappas = np.diff(
        np.log([run.tables.curves["tensor", LAYERS[0], "condition_number"].values for run in chosen]), axis=1
    )
    for quantity, weights in (("path_length", paths), ("condition_number", kappas)):
        expected = swap_test(scores, weights)
        row = groups["other", "test_accuracy", quantity]
        assert row.coefficient == pytest.approx(expected.coefficient)
        assert (row.p_value, row.rank, row.runs, row.n) == (expected.p_value, expected.rank, 6, 12)
    assert groups[None, "test_accuracy", "path_length"].runs == 12
    tested = [row for row in comparison.swaps if row.p_value is not None]
    expected = scipy.stats.false_discovery_control([row.p_value for row in tested])
    assert [row.q_value for row in tested] == pytest.approx(expected)


def test_one_group_alone_is_not_tested_against_itself():
    assert {row.group for row in compare_runs(two_groups(3)[:3]).swaps} == {"plain"}
    assert {row.group for row in compare_runs(two_groups(1)).swaps} == {None}
