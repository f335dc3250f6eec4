"""Low-rank updates, and layers that could be cut or pruned."""

from __future__ import annotations

import numpy as np
import pytest
from builders import random_walk
from planted import ALL_FAMILIES, SHAPES, drawn_out, finding_of, found_in, name, only, tables_with

from analyzer.findings.compression import could_be_cut_in_rank, could_be_pruned, low_rank_updates, pruning_mask_settled
from analyzer.model.run import PRODUCT


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


# ------------------------------------------------------------------------------------------------- edges of rules


@pytest.mark.parametrize(
    ("ranks", "shape", "reported"),
    [
        ([4, 4, 4], (20, 30), True),  # exactly a fifth
        ([4, 4.05, 4.05], (20, 30), False),
        ([4, 4], (20, 30), False),  # two steps
        ([1, 1, 1], (16, 30), True),
        ([1, 1, 1], (15, 30), False),
    ],
)
def test_updates_are_low_rank_at_a_fifth_of_a_side_of_16_in_three_steps(ranks, shape, reported):
    tables = tables_with({"update_effective_rank": [np.nan, *ranks]}, shape=shape)
    assert (finding_of(low_rank_updates, tables) is not None) == reported
    assert (
        finding_of(low_rank_updates, tables_with({"update_effective_rank": ranks}, shape=shape, rule=PRODUCT)) is None
    )


@pytest.mark.parametrize(("rank", "reported"), [(250, True), (251, False)])
def test_a_cut_in_rank_saves_at_least_half(rank, reported):
    one = finding_of(could_be_cut_in_rank, tables_with({"energy_rank_95": [30, rank]}, shape=(1000, 1000)))
    assert (one is not None) == reported and (one is None or "with 50 % fewer parameters. Check" in one.sentence)


@pytest.mark.parametrize(("rank", "saved"), [(4, None), (3, "25 %"), (5, None)])
def test_an_adapter_may_save_anything(rank, saved):
    tables = tables_with({"energy_rank_95": [rank], "numerical_rank": [4]}, shape=(64, 64), rule=PRODUCT)
    one = finding_of(could_be_cut_in_rank, tables)
    assert (one is not None) == (saved is not None) and (one is None or f"with {saved} fewer" in one.sentence)


def test_more_layers_that_could_be_cut_are_named():
    rows = {("a", "energy_rank_95"): [8], ("b", "energy_rank_95"): [4]}
    one = finding_of(could_be_cut_in_rank, tables_with(rows))
    assert one.sentence.startswith("b could be cut to rank 4 of 64") and "; also a. Check" in one.sentence


@pytest.mark.parametrize(
    ("churn", "since"),
    [
        ([0.5, 0.099, 0.09, 0.09, 0.09, 0.09], "c1"),
        ([0.5, 0.1, 0.09, 0.09, 0.09, 0.09], None),  # four at the end
        ([0.5, 0.1, 0.09, 0.09, 0.09, 0.09, 0.09], "c2"),
        ([0.09] * 8, None),  # never unsettled
    ],
)
def test_a_mask_settles_below_a_tenth_for_five_checkpoints(churn, since):
    calm = [0.01] * len(churn)
    one = finding_of(pruning_mask_settled, tables_with({("a", "mask_churn"): churn, ("b", "mask_churn"): calm}))
    assert (one.checkpoints if one else None) == ((since,) if since else None)


@pytest.mark.parametrize(
    ("share", "zeros", "reported"), [(0.97, 0.199, True), (0.969, 0.19, False), (0.97, 0.2, False), (1, 0, True)]
)
def test_half_could_be_pruned_from_97_percent_unless_a_fifth_is_zero(share, zeros, reported):
    one = finding_of(could_be_pruned, tables_with({"magnitude_share_50": [0.9, share], "zero_fraction": [0.0, zeros]}))
    assert (one is not None) == reported


def test_more_layers_that_could_be_pruned_are_named():
    rows = {("a", "magnitude_share_50"): [0.98], ("b", "magnitude_share_50"): [0.99]}
    one = finding_of(could_be_pruned, tables_with({"magnitude_share_50": [0.98]}))
    assert one.sentence == (
        "Half of w could be pruned: the larger half of its entries has 98.0 % of its squared weights. Check the "
        "accuracy after the cut."
    )
    one = finding_of(could_be_pruned, tables_with(rows))
    assert "Half of b could be pruned" in one.sentence and "squared weights; also a. Check" in one.sentence
