"""The figure of accuracy and loss."""

from __future__ import annotations

import dataclasses

import numpy as np
from figure_parts import DRAW, texts
from figure_tables import make_tables


def test_accuracy_without_test_scores_or_losses():
    tables = make_tables(4)
    alone = dataclasses.replace(tables, scalars={"train_accuracy": tables.scalars["train_accuracy"]})
    assert "Loss" not in texts(DRAW["accuracy"](alone))
    percent = dataclasses.replace(tables, scalars={"eval_accuracy": 100 * tables.scalars["test_accuracy"]})
    assert "Accuracy (percent)" in texts(DRAW["accuracy"](percent))
    other = {"eval_f1": tables.scalars["test_accuracy"], "loss": tables.scalars["test_loss"]}
    assert {"eval f1", "loss"} <= set(texts(DRAW["accuracy"](dataclasses.replace(tables, scalars=other))))
    rate = dataclasses.replace(tables, scalars={"learning_rate": np.ones(51)})
    assert DRAW["accuracy"](rate) is None
