"""Which curves are correlated, the means over blocks, and changes between the checkpoints that a row compares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from curve_tables import tables_of

from analyzer.statistics import curves as curves_module
from analyzer.statistics.curves import (
    WeightCurve,
    block_of,
    compared_positions,
    ordered_scalars,
    score_changes,
    weight_curves,
)

LINE = np.arange(1.0, 5.0)
SCORES = {"test_accuracy": LINE}


def of(curves, kind="matrix"):
    return tables_of(curves, SCORES, kind)


def keys(curves):
    return [(one.scope, one.tensor, one.metric) for one in curves]


@pytest.mark.parametrize(
    ("references", "of_intervals"),
    [
        ((None, None, None), False),
        ((None, "c0", "c0"), False),  # distances from the first checkpoint
        ((None, "c0", "c1"), True),
        (("c0", "c1"), True),
        ((), False),
    ],
)
def test_a_curve_of_intervals_compares_with_more_than_one_checkpoint(references, of_intervals):
    curve = WeightCurve("tensor", "w", "m", np.zeros(len(references)), references)
    assert curve.of_intervals is of_intervals


def test_all_curves_but_those_of_one_matrix_of_a_stack_come_in_their_order_then_the_blocks():
    every = {
        ("tensor", "h.0.a", "rms"): LINE,
        ("tensor", "h.0.e[0]", "rms"): 3 * LINE,
        ("tensor", "h.0.e[12]", "rms"): 5 * LINE,
        ("tensor", "h.0.e[x]", "rms"): 7 * LINE,
        ("tensor", "h.0.e[3].w", "rms"): 9 * LINE,
        ("mean", "", "rms"): LINE,
        ("total", "", "step_distance"): LINE,
    }
    found, left_out = weight_curves(of(every), 1)
    stays = [key for key in every if key[1] not in ("h.0.e[0]", "h.0.e[12]")]
    assert keys(found) == [*stays, ("block", "h.0", "rms")] and left_out == ()
    assert found[-1].values.tolist() == (5 * LINE).tolist()
    assert found[0].values.tolist() == LINE.tolist() and found[0].references == (None,) * 4
    assert found[4].references == (None, "c0", "c1", "c2")


@pytest.mark.parametrize(
    ("most", "left_out"),
    [
        (16, ()),
        (15, ("stable_rank",)),
        (12, ("stable_rank",)),
        (11, ("rms", "stable_rank")),
        (8, ("rms", "stable_rank")),
        (7, ("condition_number", "rms", "stable_rank")),
        (3, ("step_distance", "condition_number", "rms", "stable_rank")),
    ],
)
def test_the_first_metrics_have_the_room_first_and_a_full_room_is_enough(monkeypatch, most, left_out):
    monkeypatch.setattr(curves_module, "MOST_PAIRS", most)
    every = {("tensor", f"w{i}", "rms"): LINE for i in range(2)}
    every |= {("tensor", f"w{i}", "stable_rank"): LINE for i in range(2)}
    every |= {("tensor", f"w{i}", "step_distance"): LINE for i in range(2)}
    every |= {("tensor", f"w{i}", "condition_number"): LINE for i in range(2)}
    every["mean", "", "rms"] = LINE
    found, omitted = weight_curves(of(every), 2)
    assert omitted == left_out
    assert keys(found) == [key for key in every if key[0] != "tensor" or key[2] not in omitted]


def test_a_million_pairs_are_the_most():
    assert curves_module.MOST_PAIRS == 1_000_000
    assert curves_module.PICTURED == "step_distance"
    assert curves_module.FIRST_METRICS == ("step_distance", "condition_number")


@pytest.mark.parametrize("kind", ["matrix", "stack", "vector", "buffer"])
def test_a_block_has_two_matrices_or_more(kind):
    every = {("tensor", f"h.0.{name}", "rms"): value * LINE for name, value in (("a", 1), ("b", 2), ("c", 6))}
    every["tensor", "h.1.a", "rms"] = LINE
    every["tensor", "out", "rms"] = LINE
    blocks = [one for one in weight_curves(of(every, kind), 1)[0] if one.scope == "block"]
    if kind in ("vector", "buffer"):
        assert blocks == []
        return
    (block,) = blocks
    assert block[:3] == ("block", "h.0", "rms")
    assert block.values.tolist() == (3 * LINE).tolist() and block.references == (None,) * 4


def test_a_block_compares_with_a_checkpoint_where_all_of_its_matrices_do():
    tables = of({("tensor", f"h.0.{name}", "step_distance"): LINE for name in "ab"})
    key = ("tensor", "h.0.b", "step_distance")
    other = replace(tables.curves[key], references=(None, "c0", "c0", "c2"))
    (block,) = weight_curves(replace(tables, curves={**tables.curves, key: other}), 1)[0][2:]
    assert block.references == (None, "c0", None, "c2")
    assert np.isnan(block.values[0]) and block.values[1:].tolist() == [2, 3, 4]
    (same,) = weight_curves(tables, 1)[0][2:]
    assert same.references == (None, "c0", "c1", "c2")


@pytest.mark.parametrize(
    ("tensor", "block"),
    [("a.1.2.w", "a.1"), ("0.w", "0"), ("a.b1.w", None), ("a.1", None), ("a.².w", None), ("a.-1.w", None)],
)
def test_a_block_is_named_up_to_its_first_number(tensor, block):
    assert block_of(tensor) == block


def test_scores_that_are_known_come_first_and_each_comes_once():
    names = ["lr", "test_loss", "eval_f1", "test_accuracy", "generalization_gap", "train_accuracy"]
    assert ordered_scalars(dict.fromkeys(names, LINE)) == [
        "train_accuracy", "test_accuracy", "generalization_gap", "test_loss", "lr", "eval_f1",
    ]  # fmt: skip


def test_what_a_row_compares_with_is_a_position_in_the_run():
    assert compared_positions((None, "a", "b", "a"), {"a": 0, "b": 1}) == (None, 0, 1, 0)


def test_changes_of_several_scores_are_later_minus_earlier():
    scores = np.array([[1.0, 3.0, 6.0], [2.0, 1.0, np.nan]])
    found = score_changes(scores, (None, 0, 1))
    assert found == pytest.approx(np.array([[np.nan, 2, 3], [np.nan, -1, np.nan]]), nan_ok=True)
    assert np.isnan(score_changes(scores, (None,) * 3)).all()
