"""The classic picture's pairs: which scores have one, at which places, and the row that tests it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from curve_tables import tables_of

from analyzer.model.tables import Correlation
from analyzer.statistics.change_pairs import change_pairs

MEAN = ("mean", "", "step_distance")
DISTANCE = np.array([0.0, 3.0, 1.0, 2.0, 5.0, 1.5])
ACCURACY = np.array([0.1, 0.5, 0.6, 0.9, 0.7, 0.8])


def row(**changes):
    text = {"scope": "mean", "tensor": "", "metric": "step_distance", "scalar": "test_accuracy"}
    tested = {"transform": "differences of score differences and of log metric, trend removed", "lag": 0}
    numbers = {"coefficient": 0.5, "low": None, "high": None, "n": 9, "n_effective": 9.0, "p_value": 0.1}
    return Correlation(**{**text, **tested, "method": "pearson", **numbers, "q_value": 0.1, "status": "ok", **changes})


@pytest.mark.parametrize("key", [("total", "", "step_distance"), ("mean", "", "rms"), ("mean", "w", "step_distance")])
def test_without_a_mean_step_distance_there_is_no_pair(key):
    assert change_pairs(tables_of({key: DISTANCE}, {"test_accuracy": ACCURACY})) == ()


def test_each_accuracy_has_a_pair_and_no_other_score():
    names = ["test_loss", "test_accuracy", "generalization_gap", "eval_f1", "train_accuracy"]
    pairs = change_pairs(tables_of({MEAN: DISTANCE}, dict.fromkeys(names, ACCURACY)))
    assert [pair.scalar for pair in pairs] == ["train_accuracy", "test_accuracy"]


def test_a_pair_has_the_places_at_which_both_are_known():
    distance, accuracy = DISTANCE.copy(), ACCURACY.copy()
    accuracy[0] = distance[4] = np.nan
    tables = replace(tables_of({MEAN: distance}, {"test_accuracy": accuracy}), axis=10.0 * np.arange(6))
    (pair,) = change_pairs(tables)
    change = np.diff(accuracy)[[1, 2, 4]]
    assert pair.positions.tolist() == [20, 30, 50]
    assert pair.score_change == pytest.approx(scipy.stats.zscore(change))
    assert pair.weight_change == pytest.approx(scipy.stats.zscore(distance[[2, 3, 5]]))
    expected = scipy.stats.pearsonr(change, distance[[2, 3, 5]]).statistic
    assert (pair.coefficient, pair.n, pair.status) == (pytest.approx(expected), 3, "ok")
    assert pair.stationary is None


def test_a_score_changes_since_the_checkpoint_that_the_distance_is_from():
    tables = tables_of({MEAN: DISTANCE}, {"test_accuracy": ACCURACY})
    curve = replace(tables.curves[MEAN], references=(None, "c0", "c0", "c2", "c3", "c4"))
    (pair,) = change_pairs(replace(tables, curves={MEAN: curve}))
    change = ACCURACY[1:] - ACCURACY[[0, 0, 2, 3, 4]]
    assert pair.score_change == pytest.approx(scipy.stats.zscore(change))


@pytest.mark.parametrize(
    "other",
    [
        {"scope": "total"}, {"metric": "rms"}, {"method": "spearman"}, {"scalar": "train_accuracy"}, {"lag": 1},
        {"transform": "score difference, z-scored"},
    ],
)  # fmt: skip
def test_a_pair_refers_to_its_own_tested_row_only(other):
    tables = tables_of({MEAN: DISTANCE}, {"test_accuracy": ACCURACY})
    assert change_pairs(tables, [row(), row(**other)])[0].stationary == row()
    assert change_pairs(tables, [row(**other)])[0].stationary is None
