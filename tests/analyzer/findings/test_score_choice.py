"""Which score is compared with the weights, and in which unit."""

from __future__ import annotations

import numpy as np
import pytest
from planted import tables_with

from analyzer.findings.score_choice import accuracy, loss, minimized


@pytest.mark.parametrize(
    ("values", "points"),
    [
        ([0.5, 1.0], [50, 100]),
        ([0.5, 1.01], [0.5, 1.01]),  # percent, since it is above one
        ([50, 100], [50, 100]),
        ([50, 100.1], None),
        ([-0.1, 0.5], None),
        ([0, 0.5], [0, 50]),
        ([np.nan, np.nan], None),
    ],
)
def test_accuracies_are_shares_or_percentages(values, points):
    score = accuracy(tables_with({}, {"test_accuracy": values}), trained=False)
    assert (None if score is None else score.values.tolist()) == points


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
