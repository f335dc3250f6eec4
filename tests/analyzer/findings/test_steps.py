"""Steps that are too small, too long, or that undo each other."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from builders import random_walk, save_weights, weightlapse_metadata
from commands import measured
from planted import SHAPES, alarming, checked, drawn_out, finding_of, found_in, name, only, tables_with

from analyzer.findings import find
from analyzer.findings.steps import (
    layer_hardly_moves,
    motion_below_precision,
    motion_spike,
    oscillating_updates,
)
from analyzer.report.reading import read_tables
from analyzer.store.store import open_store


def test_motion_below_precision_is_said_and_a_frozen_tensor_is_not_that(tmp_path):
    w = np.random.default_rng(0).standard_normal((20, 20))
    moved = w.copy()
    moved[0, 0] += 0.1
    states = [{"w": one.astype(ml_dtypes.bfloat16), "still": np.ones(3, ml_dtypes.bfloat16)} for one in (w, moved)]
    one = only(found_in(tmp_path, states), "motion_below_precision")
    assert (one.tensor, one.evidence["steps"]) == ("w", {"w": 1})


def test_bfloat16_storage_hides_small_steps_and_no_other_finding_rests_on_them(tmp_path):
    """Steps of 0.01 %, a layer that moves a hundred times less, and one that swings: all below what bf16 shows."""
    generator = np.random.default_rng(0)
    states = [{key: generator.standard_normal(shape) for key, shape in SHAPES.items()}]
    for epoch in range(1, 14):
        step = {key: 1e-4 * generator.standard_normal(shape) for key, shape in SHAPES.items()}
        step["fc2.weight"] *= 0.01
        step["out.weight"] = 2e-4 * (-1) ** epoch * np.ones(SHAPES["out.weight"])
        states.append({key: states[-1][key] + step[key] for key in SHAPES})
    narrow = [{key: array.astype(ml_dtypes.bfloat16) for key, array in weights.items()} for weights in states]
    findings = found_in(tmp_path / "narrow", narrow)
    one = only(findings, "motion_below_precision")
    assert {"fc1.weight", "out.weight"} <= set(one.evidence["tensors"]) and "bfloat16" in one.sentence
    assert not {"layer_hardly_moves", "oscillating_updates", "motion_spike"} & {other.rule for other in findings}
    wide = found_in(tmp_path / "wide", [{k: a.astype(np.float32) for k, a in w.items()} for w in states])
    assert alarming(wide) == ["layer_hardly_moves", "oscillating_updates"]


def test_a_layer_that_hardly_moves_has_its_interval_and_factor(tmp_path):
    generator = np.random.default_rng(1)
    shape = SHAPES["fc2.weight"]

    def slow_from_5(epoch):
        return (0.01 if epoch <= 4 else 1e-5) * generator.standard_normal(shape)

    one = only(found_in(tmp_path, drawn_out(random_walk(14, SHAPES), "fc2.weight", slow_from_5)), "layer_hardly_moves")
    assert (one.severity, one.tensor, one.checkpoints) == ("notice", "fc2.weight", name(4, 13))
    assert 800 < one.evidence["times_less"]["fc2.weight"] < 1200
    assert "0.00097 % of its norm per epoch (steps of 0.000308) from epoch 4 to 13, 1000 times less" in one.sentence


@pytest.mark.parametrize("back", [False, True])
def test_a_jump_at_one_checkpoint_and_a_foreign_checkpoint(tmp_path, back):
    states = random_walk(14, SHAPES)
    for weights in states[6:7] if back else states[6:]:
        for key in ("fc1.weight", "fc2.weight"):
            weights[key] = weights[key] + np.float32(0.3) * np.sign(states[0][key])
    one = only(found_in(tmp_path, states), "motion_spike")
    assert one.evidence["tensors"] == ["fc1.weight", "fc2.weight"] and "2 of 3 layers" in one.sentence
    assert one.severity == ("warning" if back else "notice") and one.evidence["came_back"] == back
    assert one.checkpoints == (name(6, 7) if back else name(6))
    assert ("at epoch 6 and came back at epoch 7" in one.sentence) == back


def test_a_jump_is_as_far_as_the_figure_shows_though_the_norm_grows_with_it(tmp_path):
    generator = np.random.default_rng(1)
    shape = SHAPES["fc2.weight"]
    lengths = {epoch: 0.3 if epoch < 6 else 120.0 if epoch == 6 else 10.0 for epoch in range(1, 14)}

    def walking(epoch):
        step = generator.standard_normal(shape)
        return lengths[epoch] * step / np.linalg.norm(step)

    one = only(found_in(tmp_path, drawn_out(random_walk(14, SHAPES), "fc2.weight", walking)), "motion_spike")
    assert one.evidence["times_as_far"]["fc2.weight"] == pytest.approx(12, rel=1e-3)
    assert "fc2.weight moved in one jump at epoch 6, 12 times as far per epoch as between any of" in one.sentence


SCHEDULES = {
    "warm-up and cosine": lambda share: min(1.0, 20 * share) * (1 + np.cos(np.pi * share)) / 2 + 1e-4,
    "a jump after a warm-up": lambda share: 0.001 if share < 0.15 else 1.0,
    "one restart": lambda share: (1 + np.cos(np.pi * (2 * share % 1))) / 2 + 1e-4,
    "many restarts": lambda share: (1 + np.cos(np.pi * (8 * share % 1))) / 2 + 1e-4,
    "steps of ten": lambda share: 0.1 ** int(3 * share),
}


@pytest.mark.parametrize("spacing", ["every epoch", "widening"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_healthy_schedule_of_the_learning_rate_is_no_warning(tmp_path, schedule, spacing):
    generator = np.random.default_rng(0)
    weights = {key: 0.1 * generator.standard_normal(shape) for key, shape in SHAPES.items()}
    kept = range(41) if spacing == "every epoch" else (0, 1, 2, 4, 6, 9, 13, 18, 24, 31, 40)
    for epoch in range(41):
        if epoch in kept:
            single = {key: array.astype(np.float32) for key, array in weights.items()}
            save_weights(tmp_path / f"run/epoch_{epoch}.safetensors", single, weightlapse_metadata(epoch))
        drift = 0.001 * schedule(epoch / 40)
        weights = {key: array + drift * generator.standard_normal(array.shape) for key, array in weights.items()}
    with open_store(measured(tmp_path / "run").path) as store:
        findings = checked(find(read_tables(store, "run")))
    assert [one.sentence for one in findings if one.severity in ("warning", "serious")] == []
    assert not {"layer_hardly_moves", "oscillating_updates", "motion_spike"} & {one.rule for one in findings}


def test_oscillating_updates_have_their_interval(tmp_path):
    generator = np.random.default_rng(2)

    def swinging(epoch):
        noise = 0.01 * generator.standard_normal(SHAPES["fc1.weight"])
        return noise + (0.02 * (-1) ** epoch if epoch >= 5 else 0)

    one = only(found_in(tmp_path, drawn_out(random_walk(12, SHAPES), "fc1.weight", swinging)), "oscillating_updates")
    assert (one.severity, one.tensor, one.checkpoints) == ("notice", "fc1.weight", name(6, 11))
    assert one.evidence["median_cosine"]["fc1.weight"] == pytest.approx(-0.8, abs=0.05)


# ------------------------------------------------------------------------------------------------- edges of rules


def test_steps_of_exactly_zero_are_not_below_precision():
    tables = tables_with({"step_distance": [0, 1, 1, 0, 1]})
    key = ("tensor", "w", "step_distance")
    statuses = (None, "ok", "below_precision", "below_precision", "below_precision")
    tables = replace(tables, curves={key: replace(tables.curves[key], statuses=statuses)})
    one = finding_of(motion_below_precision, tables)
    assert one.evidence["steps"] == {"w": 2} and one.sentence.startswith("2 of 3 steps of w")


def slow_layer(rates, others=2, usual=100.0):
    """Return tables of a layer with these rates beside others that move as usual."""
    rows = {("w", "relative_step_distance"): [0, *rates]}
    rows |= {(f"other{n}", "relative_step_distance"): [0] + [usual] * len(rates) for n in range(others)}
    return tables_with(rows)


@pytest.mark.parametrize(
    ("rates", "others", "reported"),
    [
        ([100, 1, 1, 1, 100], 2, True),
        ([100, 1, 1, 100, 1], 2, False),  # two intervals on end are too few
        ([1, 1, 1, 1, 1], 1, False),  # two layers have no median
        ([2, 2, 2, 2, 2], 2, False),  # exactly 50 times less
        ([1.99, 1.99, 1.99, 2, 2], 2, True),
        ([0, 0, 0, 0, 0], 2, False),  # frozen, which is another finding
    ],
)
def test_a_layer_hardly_moves_if_it_is_50_times_slower_for_three_intervals(rates, others, reported):
    assert (finding_of(layer_hardly_moves, slow_layer(rates, others)) is not None) == reported


def test_the_median_layer_needs_three_layers_at_that_checkpoint():
    tables = slow_layer([1, 1, 1, 1, 1], others=2)
    key = ("tensor", "other1", "relative_step_distance")
    values = np.array([np.nan, 100, 100, np.nan, 100, 100])
    tables = replace(tables, curves={**tables.curves, key: replace(tables.curves[key], values=values)})
    assert finding_of(layer_hardly_moves, tables) is None


def test_one_slow_layer_is_alone():
    one = finding_of(layer_hardly_moves, slow_layer([1, 1, 1]))
    assert one.sentence == (
        "w hardly moves: 100 % of its norm per epoch from epoch 0 to 3, 100 times less than the median layer. Its "
        "gradient or its learning rate is tiny."
    )


def test_two_slow_layers_are_both_named_with_the_slower_one_first():
    rows = {("a", "relative_step_distance"): [0, 1, 1, 1], ("b", "relative_step_distance"): [0, 0.5, 0.5, 0.5]}
    rows |= {(f"other{n}", "relative_step_distance"): [0, 100, 100, 100] for n in range(3)}
    one = finding_of(layer_hardly_moves, tables_with(rows))
    assert one.evidence["tensors"] == ["b", "a"] and "200 times less than the median layer; so does a." in one.sentence


@pytest.mark.parametrize(
    ("steps", "reported"),
    [
        ([1, 1, 1, 5.01, 1, 1, 1], True),
        ([1, 1, 1, 5, 1, 1, 1], False),  # exactly five times
        ([1, 1, 5.01, 1, 1, 1], False),  # two steps before are too few
        ([1, 1, 1, 5.01, 1, 1], False),  # two after
        ([1.1, 1, 1, 5.01, 1, 1, 1], False),  # the third before counts
        ([1, 1, 1, 5.01, 1, 1, 1.1], False),  # the third after counts
        ([1.1, 1, 1, 1, 5.01, 1, 1, 1, 1.1], True),  # the fourth does not
        ([0, 0, 0, 5, 0, 0, 0], False),  # infinitely far is not a factor
        ([1, 1, 1, 9, 9, 1, 1, 1], False),  # two long steps that do not return
    ],
)
def test_a_spike_is_five_times_as_long_as_three_steps_on_each_side(steps, reported):
    assert (finding_of(motion_spike, tables_with({"step_distance": [0, *steps]})) is not None) == reported


@pytest.mark.parametrize(("cosine", "returns"), [(-0.5, False), (-0.51, True)])
def test_two_long_steps_return_if_their_cosine_is_below_a_half(cosine, returns):
    tables = tables_with({"step_distance": [0, 1, 1, 1, 9, 9, 1, 1, 1], "update_cosine": [0] * 5 + [cosine] + [0] * 3})
    one = finding_of(motion_spike, tables)
    assert (one is not None) == returns
    assert one is None or (one.severity, one.checkpoints) == ("warning", ("c4", "c5"))


def test_one_long_step_against_the_one_before_does_not_come_back():
    tables = tables_with({"step_distance": [0, 1, 1, 1, 9, 1, 1, 1], "update_cosine": [0] * 4 + [-0.9] + [0] * 3})
    assert finding_of(motion_spike, tables).severity == "notice"


def test_a_spike_is_measured_per_epoch():
    assert finding_of(motion_spike, tables_with({"step_distance": [0, 1, 1, 1, 9, 1, 1, 1]})) is not None
    axis = [0, 1, 2, 3, 12, 13, 14, 15]  # nine epochs in one interval
    assert finding_of(motion_spike, tables_with({"step_distance": [0, 1, 1, 1, 9, 1, 1, 1]}, axis=axis)) is None


@pytest.mark.parametrize(("zeros", "told"), [([0] * 4 + [0.5] * 4, False), ([0] * 5 + [0.5] * 3, True)])
def test_a_jump_that_sets_weights_to_zero_is_no_spike(zeros, told):
    tables = tables_with({"step_distance": [0, 1, 1, 1, 9, 1, 1, 1], "zero_fraction": zeros})
    assert (finding_of(motion_spike, tables) is not None) == told


@pytest.mark.parametrize("lost", [0.1, 0.9])
def test_a_jump_where_the_task_changes_is_no_spike(lost):
    """The test accuracy falls there while the training accuracy holds, or both hold."""
    scores = {"test_accuracy": [0.1, 0.8, 0.9, 0.9, *[lost] * 4], "train_accuracy": [0.1, 0.8, *[0.9] * 6]}
    tables = tables_with({"step_distance": [0, 1, 1, 1, 9, 1, 1, 1]}, scores)
    assert (finding_of(motion_spike, tables) is None) == (lost == 0.1)


@pytest.mark.parametrize("jumping", [1, 2, 4])
def test_a_cause_that_moves_all_layers_is_named_if_half_of_them_jump(jumping):
    rows = [[0, 1, 1, 1, 9 if n < jumping else 1, 1, 1, 1] for n in range(4)]
    tables = tables_with({(f"w{n}", "step_distance"): row for n, row in enumerate(rows)})
    sentence = finding_of(motion_spike, tables).sentence
    assert ("a spike of the loss" in sentence, "an edit of the weights" in sentence) == (jumping > 1, jumping == 1)


@pytest.mark.parametrize("count", [3, 4])
def test_the_three_largest_of_many_spikes_are_reported(count):
    steps = [0] + [step for n in range(count) for step in (1, 1, 1, 10 + n)] + [1, 1, 1]
    findings = list(motion_spike(tables_with({"step_distance": steps})))
    assert [one.checkpoints for one in findings] == [(f"c{4 * n + 4}",) for n in range(count - 3, count)]
    told = "There are 4 such jumps; only the 3 largest are reported."
    assert all((told in one.sentence) == (count > 3) for one in findings)


@pytest.mark.parametrize(
    ("cosines", "shape", "reported"),
    [
        ([-0.201] * 5, (64, 96), True),
        ([-0.21] * 4, (64, 96), False),  # four on end
        ([-0.21] * 4 + [0] + [-0.21] * 4, (64, 96), False),
        ([-0.2] * 5, (64, 96), False),
        ([-0.65] * 5, (10, 4), True),  # chance reaches 4/√40 = 0.632
        ([-0.63] * 5, (10, 4), False),
        ([-0.5] * 5, (8, 8), False),  # exactly 4/√64
        ([-0.51] * 5, (8, 8), True),
    ],
)
def test_updates_oscillate_if_five_cosines_on_end_are_below_chance(cosines, shape, reported):
    tables = tables_with({"update_cosine": [0, 0, *cosines, 0]}, shape=shape)
    assert (finding_of(oscillating_updates, tables) is not None) == reported


def test_one_oscillating_layer_is_alone():
    one = finding_of(oscillating_updates, tables_with({"update_cosine": [0, 0] + [-0.3] * 5}))
    assert one.sentence.startswith("w oscillates from epoch 2 to 6: each step undoes part of the one before (cosine")


def test_several_oscillating_layers_are_counted():
    rows = {(name, "update_cosine"): [0, 0] + [cosine] * 5 for name, cosine in (("a", -0.3), ("b", -0.4), ("c", 0.1))}
    one = finding_of(oscillating_updates, tables_with(rows))
    assert one.sentence.startswith("b oscillates from epoch 2 to 6, and so does 1 of 2 other layers: each step undoes")
