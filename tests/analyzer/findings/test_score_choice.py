"""Which score is compared with the weights, and in which unit."""

from __future__ import annotations

import numpy as np
import pytest
from planted import tables_with

from analyzer.findings.score_choice import accuracy, impossible, loss, minimized


@pytest.mark.parametrize(
    ("values", "points"),
    [
        ([0.5, 1.0], [50, 100]),
        ([0.5, 1.2, 1.4], [0.5, 1.2, 1.4]),  # percent, since most are above one
        ([0.5, 0.9, 1.01], [50, 90, np.nan]),  # a share that is none
        ([50, 100], [50, 100]),
        ([50, 60, 100.1], [50, 60, np.nan]),
        ([-0.1, 0.5], [np.nan, 50]),
        ([0, 0.5], [0, 50]),
        ([0.5, 1 + 1e-7], [50, 100]),  # rounding
        ([np.nan, np.nan], None),
        ([-1, -2], None),
    ],
)
def test_accuracies_are_shares_or_percentages(values, points):
    score = accuracy(tables_with({}, {"test_accuracy": values}), trained=False)
    assert score is None if points is None else score.values == pytest.approx(points, nan_ok=True)


@pytest.mark.parametrize(
    ("train", "test", "points"),
    [
        ([3, 100, 100], [3.8, 0, 0.4], [3.8, 0, 0.4]),  # at chance with hundreds of classes, in percent
        ([0.9, 100, 100], [0.8, 0.2, 0.4], [0.8, 0.2, 0.4]),
        ([10, 95, 99], [0.1, 0.85, 0.9], [10, 85, 90]),  # the one in percent, the other as a share
        ([0.03, 1, 1], [0.038, 0, 0.004], [3.8, 0, 0.4]),
    ],
)
def test_an_accuracy_below_one_goes_by_the_other_one(train, test, points):
    tables = tables_with({}, {"train_accuracy": train, "test_accuracy": test})
    assert accuracy(tables, trained=False).values == pytest.approx(points)


def test_impossible_accuracies_have_their_places():
    scores = {
        "train_accuracy": [0.1, 0.9, 7, 0.9, -0.2],
        "test_accuracy": [10.0, 90, np.nan, 80, 90],
        "test_f1": [9] * 5,
    }
    (name, places), *others = impossible(tables_with({}, scores)).items()
    assert (name, places.tolist(), others) == ("train_accuracy", [2, 4], [])


def test_scores_on_the_training_data_are_told_from_others():
    names = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")
    tables = tables_with({}, {name: [0.5, 0.6] for name in names})
    assert accuracy(tables, trained=True).name == "train_accuracy"
    assert accuracy(tables, trained=False).name == "test_accuracy"
    assert loss(tables, trained=True).name == minimized(tables).name == "train_loss"
    assert loss(tables, trained=False).name == "test_loss"


def test_a_loss_of_unknown_data_is_the_one_that_training_minimizes():
    tables = tables_with({}, {"loss": [0.5, 0.6], "test_loss": [0.5, 0.6]})
    assert minimized(tables).name == "loss" and minimized(tables).words == "loss"
    assert loss(tables, trained=True) is None
