"""Norms that explode, collapse, or jump and come back."""

from __future__ import annotations

import numpy as np
import pytest
from builders import random_walk
from planted import SHAPES, alarming, found_in, name, only


def test_an_exploding_layer_is_named_with_the_epoch(tmp_path):
    states = random_walk(12, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc2.weight"] = weights["fc2.weight"] * np.float32(2.0 ** max(0, epoch - 4))
    findings = found_in(tmp_path, states)
    one = only(findings, "norm_explodes")
    assert (one.severity, one.tensor, one.checkpoints) == ("warning", "fc2.weight", name(8, 11))
    assert one.evidence["growth"]["fc2.weight"] == pytest.approx(128, rel=0.05)
    assert "at epoch 11 its norm is 130 times the first one, and was ten times it at epoch 8" in one.sentence
    assert alarming(findings) == ["norm_explodes"]


def test_a_layer_that_starts_near_zero_may_grow(tmp_path):
    states = random_walk(12, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc2.weight"] = weights["fc2.weight"] * np.float32(0.001 + 0.09 * epoch)
    assert alarming(found_in(tmp_path, states)) == []


def test_a_collapsing_layer(tmp_path):
    states = random_walk(12, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc2.weight"] = weights["fc2.weight"] * np.float32(0.7**epoch)
    one = only(found_in(tmp_path, states), "norm_collapses")
    assert (one.severity, one.tensor, one.checkpoints) == ("warning", "fc2.weight", name(0, 11))


@pytest.mark.parametrize("epoch", [1, 5, 10])
@pytest.mark.parametrize("factor", [4e36, 1e-30])
def test_one_damaged_checkpoint_is_neither_an_explosion_nor_a_collapse(tmp_path, epoch, factor):
    states = random_walk(12, SHAPES)
    if factor > 1:
        states[epoch]["fc2.weight"][3, 4] = factor
    else:
        states[epoch]["fc2.weight"] *= np.float32(factor)
    findings = found_in(tmp_path, states)
    assert [one.rule for one in findings if one.severity == "warning"] == ["norm_jumps"]
    one = only(findings, "norm_jumps")
    assert (one.tensor, one.checkpoints) == ("fc2.weight", name(epoch))
    assert f"at epoch {epoch} and is back at the next checkpoint" in one.sentence
    assert "motion_spike" not in {one.rule for one in findings}  # the same, said twice


def test_a_collapse_is_seen_beside_a_damaged_checkpoint(tmp_path):
    states = random_walk(12, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc2.weight"] = weights["fc2.weight"] * np.float32(0.7**epoch)
    states[6]["fc2.weight"][0, 0] = 4e36
    one = only(found_in(tmp_path, states), "norm_collapses")
    assert one.checkpoints == name(0, 11) and 0.01 < one.evidence["left"]["fc2.weight"] < 0.1
