"""Low-rank updates, and layers that could be cut or pruned."""

from __future__ import annotations

import numpy as np
import pytest
from builders import random_walk
from planted import ALL_FAMILIES, SHAPES, drawn_out, found_in, name, only


def test_low_rank_updates_are_told_from_full_ones(tmp_path):
    generator = np.random.default_rng(6)

    def rank_two(epoch):
        return 0.01 * generator.standard_normal((40, 2)) @ generator.standard_normal((2, 30))

    one = only(
        found_in(tmp_path, drawn_out(random_walk(6, SHAPES), "fc1.weight", rank_two), ALL_FAMILIES), "low_rank_updates"
    )
    assert (one.severity, one.tensor) == ("info", "fc1.weight")
    assert 1.5 < one.evidence["median_effective_rank"]["fc1.weight"] < 2.5
    assert "of 30 directions" in one.sentence and "1 of 2 layers" in one.sentence  # out.weight is too small to tell


def test_a_layer_of_low_rank_could_be_cut(tmp_path):
    generator = np.random.default_rng(7)
    states = random_walk(4, SHAPES)
    left, right = generator.standard_normal((40, 3)), generator.standard_normal((3, 30))
    for weights in states:
        weights["fc1.weight"] = (left @ right + 0.05 * weights["fc1.weight"]).astype(np.float32)
    one = only(found_in(tmp_path, states), "could_be_cut_in_rank")
    assert (one.tensor, one.evidence["rank"]) == ("fc1.weight", {"fc1.weight": 3})
    assert "rank 3 of 30" in one.sentence and "82 % fewer parameters" in one.sentence


def test_a_settled_pruning_mask_and_a_layer_that_could_be_pruned(tmp_path):
    states = random_walk(12, SHAPES)
    generator = np.random.default_rng(8)
    for weights in states[:4]:
        weights["fc1.weight"] = generator.standard_normal((40, 30)).astype(np.float32)
    for weights in states:
        weights["fc2.weight"] = weights["fc2.weight"] ** 3
    findings = found_in(tmp_path, states, ALL_FAMILIES)
    settled, light = only(findings, "pruning_mask_settled"), only(findings, "could_be_pruned")
    assert settled.checkpoints == name(5) and settled.severity == "info"
    assert light.tensor == "fc2.weight" and light.evidence["share"]["fc2.weight"] > 0.97


@pytest.mark.parametrize("zeros", [0.3, 0.6])
def test_a_layer_that_is_sparse_already_is_not_said_to_be_prunable(tmp_path, zeros):
    states = random_walk(6, SHAPES)
    for weights in states:
        sizes = np.abs(states[0]["fc1.weight"])
        weights["fc1.weight"][sizes < np.quantile(sizes, zeros)] = 0
    findings = found_in(tmp_path, states, ALL_FAMILIES)
    assert "could_be_pruned" not in {one.rule for one in findings}
