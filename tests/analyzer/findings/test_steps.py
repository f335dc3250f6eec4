"""Steps that are too small, too long, or that undo each other."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from builders import random_walk, save_weights, weightlapse_metadata
from commands import measured
from planted import SHAPES, alarming, checked, drawn_out, found_in, name, only

from analyzer.findings import find
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
    assert "0.00097 % of its norm per epoch from epoch 4 to 13, 1000 times less" in one.sentence


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
    weights = {key: generator.standard_normal(shape) for key, shape in SHAPES.items()}
    kept = range(41) if spacing == "every epoch" else (0, 1, 2, 4, 6, 9, 13, 18, 24, 31, 40)
    for epoch in range(41):
        if epoch in kept:
            single = {key: array.astype(np.float32) for key, array in weights.items()}
            save_weights(tmp_path / f"run/epoch_{epoch}.safetensors", single, weightlapse_metadata(epoch))
        drift = 0.01 * schedule(epoch / 40)
        weights = {key: array + drift * generator.standard_normal(array.shape) for key, array in weights.items()}
    with open_store(measured(tmp_path / "run").path) as store:
        findings = checked(find(read_tables(store, "run"), store.problems("run")))
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
