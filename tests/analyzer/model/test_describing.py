"""A run as tables before anything is measured: its axis, its scores, and a finding as a record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analyzer.model.describing import describe, finding_record
from analyzer.model.run import Checkpoint, FileStamp, Finding, Run
from analyzer.model.tables import StoredElements, TensorRow


def run_of(places, scores=None):
    """A run with these (epoch, step), and these scores of each checkpoint."""
    checkpoints = tuple(
        Checkpoint(f"c{at}", f"/c{at}", epoch, step, (scores or [{}] * len(places))[at], {}, ())
        for at, (epoch, step) in enumerate(places)
    )
    return Run("r", "", "", "", checkpoints)


@pytest.mark.parametrize(
    ("places", "axis", "label"),
    [
        ([(0.0, 0), (1.0, 10), (2.5, 20)], [0, 1, 2.5], "epoch"),
        ([(0.0, 0), (0.0, 10), (1.0, 20)], [0, 10, 20], "step"),  # two in one epoch
        ([(0.0, 0), (None, 10), (1.0, 20)], [0, 10, 20], "step"),
        ([(1.0, 5), (0.0, 10)], [5, 10], "step"),
        ([(0.0, 3), (0.0, 3)], [0, 1], "checkpoint (in order)"),
        ([(None, None), (None, 4), (None, 5)], [0, 1, 2], "checkpoint (in order)"),
        ([(7.0, None)], [7], "epoch"),
        ([(None, 7)], [7], "step"),
        ([(None, None)], [0], "checkpoint (in order)"),
    ],
)
def test_the_axis_is_the_epoch_where_each_has_its_own_then_the_step_then_the_order(places, axis, label):
    tables = describe(run_of(places), [], {})
    assert (tables.axis.tolist(), tables.axis_label) == (axis, label)
    assert tables.axis.dtype == np.float64
    assert [(row.epoch, row.step) for row in tables.checkpoints] == places


@pytest.mark.parametrize(
    ("tokens", "axis", "label"),
    [
        ([500_000_000, 10**9, 10**12], [0.5, 1.0, 1000.0], "billion tokens"),
        ([0, 0, 10**9], [0, 1, 2], "checkpoint (in order)"),
        ([0, None, 10**9], [0, 1, 2], "checkpoint (in order)"),
    ],
)
def test_tokens_are_the_axis_where_they_rise_and_nothing_else_is_known(tokens, axis, label):
    run = run_of([(None, None)] * 3)
    counted = replace(
        run, checkpoints=tuple(replace(o, tokens=t) for o, t in zip(run.checkpoints, tokens, strict=True))
    )
    tables = describe(counted, [], {})
    assert (tables.axis.tolist(), tables.axis_label) == (axis, label)
    assert [row.tokens for row in tables.checkpoints] == tokens
    stepped = replace(counted, checkpoints=tuple(replace(o, step=i) for i, o in enumerate(counted.checkpoints)))
    assert describe(stepped, [], {}).axis_label == "step"


def test_a_checkpoint_is_as_large_as_its_files_together():
    stamps = (FileStamp("a", 5, 1), FileStamp("b", 7, 2))
    run = Run("r", "", "", "", (Checkpoint("c", "/c", 1.0, 2, {}, {}, stamps), Checkpoint("d", "", 2.0, 3, {}, {}, ())))
    row = TensorRow("w", "", "matrix", (2, 3), (2, 3), "as stored", "float32")
    elements = {"c": {"w": StoredElements("digest")}}
    tables = describe(run, [row], elements)
    assert [one.bytes for one in tables.checkpoints] == [12, 0]
    first = tables.checkpoints[0]
    assert (first.name, first.path, first.epoch, first.step) == ("c", "/c", 1.0, 2)
    assert (tables.run, tables.tensors, tables.source, tables.elements) == ("r", (row,), run, elements)
    assert not any((tables.metrics, tables.curves, tables.correlations, tables.change_pairs, tables.findings))


def test_scores_are_sorted_and_nan_where_absent_and_the_gap_is_training_less_held_out():
    scores = [{"train_acc": 0.5, "val_acc": 0.25, "a": 1.0}, {"val_acc": 0.5}, {"train_acc": 1.0, "val_acc": 0.75}]
    found = describe(run_of([(0.0, 0), (1.0, 1), (2.0, 2)], scores), [], {}).scalars
    assert list(found) == ["a", "train_acc", "val_acc", "generalization_gap"]
    assert found["train_acc"] == pytest.approx([0.5, np.nan, 1.0], nan_ok=True)
    assert found["a"] == pytest.approx([1.0, np.nan, np.nan], nan_ok=True)
    assert found["generalization_gap"] == pytest.approx([0.25, np.nan, 0.25], nan_ok=True)


@pytest.mark.parametrize("names", [["train_acc"], ["val_acc"], ["accuracy"], ["train_acc", "val_loss"], []])
def test_without_both_accuracies_there_is_no_gap(names):
    found = describe(run_of([(0.0, 0)], [dict.fromkeys(names, 0.5)]), [], {}).scalars
    assert sorted(found) == sorted(names)


def test_a_gap_that_was_recorded_is_kept_and_a_test_is_held_out_before_a_validation():
    scores = {"train_acc": 0.9, "train_acc_top1_ema": 0.8, "val_acc": 0.5, "test_acc": 0.6}
    (gap,) = describe(run_of([(0.0, 0)], [scores]), [], {}).scalars["generalization_gap"]
    assert gap == pytest.approx(0.9 - 0.6)
    found = describe(run_of([(0.0, 0)], [{**scores, "generalization_gap": 7.0}]), [], {}).scalars
    assert found["generalization_gap"].tolist() == [7.0]


def test_a_finding_is_recorded_without_its_figure():
    finding = Finding("rule", "notice", "Said.", "w", ("c",), {"x": 1}, "figure")
    assert finding_record(finding) == {
        "rule": "rule", "severity": "notice", "sentence": "Said.", "tensor": "w", "checkpoints": ("c",),
        "evidence": {"x": 1},
    }  # fmt: skip
