"""Norms that explode, collapse, or jump and come back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import random_walk
from planted import SHAPES, alarming, finding_of, found_in, name, only, tables_with

from analyzer.findings.norms import (
    norm_collapses,
    norm_explodes,
    norm_jumps,
    norm_jumps_for_good,
)
from analyzer.model.run import PRODUCT


def test_an_exploding_layer_is_named_with_the_epoch(tmp_path):
    states = random_walk(12, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc2.weight"] = weights["fc2.weight"] * np.float32(2.0 ** max(0, epoch - 4))
    findings = found_in(tmp_path, states)
    one = only(findings, "norm_explodes")
    assert (one.severity, one.tensor, one.checkpoints) == ("warning", "fc2.weight", name(8, 11))
    assert one.evidence["growth"]["fc2.weight"] == pytest.approx(128, rel=0.05)
    assert (
        "its norm is 130 times its first value at epoch 11 (4057), and reached ten times that value at epoch 8."
        in one.sentence
    )
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
    assert f"at epoch {epoch} and returns at the next checkpoint" in one.sentence
    assert "motion_spike" not in {one.rule for one in findings}  # the same, said twice


def test_a_collapse_is_seen_beside_a_damaged_checkpoint(tmp_path):
    states = random_walk(12, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc2.weight"] = weights["fc2.weight"] * np.float32(0.7**epoch)
    states[6]["fc2.weight"][0, 0] = 4e36
    one = only(found_in(tmp_path, states), "norm_collapses")
    assert one.checkpoints == name(0, 11) and 0.01 < one.evidence["left"]["fc2.weight"] < 0.1


# ------------------------------------------------------------------------------------------------- edges of rules


def sizes(values, others=2):
    """Return tables of a layer with these root mean squares beside others of one."""
    rows = {("w", "rms"): values} | {(f"other{n}", "rms"): [1] * len(values) for n in range(others)}
    return tables_with(rows)


@pytest.mark.parametrize(
    ("values", "reported"),
    [
        ([1, 5, 10], True),
        ([1, 5, 9.99], False),
        ([0.25, 2, 3], False),  # grew twelvefold, to exactly three times the median layer
        ([0.25, 2, 3.01], True),
        ([0, 0, 20], False),  # one norm has no growth
        ([0, 1, 10], True),
        ([1, 20, 1, 1], False),  # a damaged checkpoint
    ],
)
def test_a_norm_explodes_tenfold_beyond_three_times_the_median(values, reported):
    assert (finding_of(norm_explodes, sizes(values)) is not None) == reported


def test_an_explosion_has_the_place_where_it_passed_ten_times():
    one = finding_of(norm_explodes, sizes([1, 9, 10, 30]))
    assert one.checkpoints == ("c2", "c3") and one.sentence.endswith("at epoch 2.")
    two = finding_of(
        norm_explodes, tables_with({(key, "rms"): [1, 9, 10, 30] for key in "ab"} | {("c", "rms"): [1] * 4})
    )
    assert two.sentence.endswith("at epoch 2. a also grew tenfold or more.")


def test_the_growth_of_an_adapter_from_zero_is_no_explosion():
    tables = sizes([1, 5, 100])
    (row, *others) = tables.tensors
    assert finding_of(norm_explodes, tables) is not None
    assert finding_of(norm_explodes, replace(tables, tensors=(replace(row, rule=PRODUCT), *others))) is None


@pytest.mark.parametrize(
    ("values", "reported"),
    [([10, 5, 1], True), ([10, 5, 1.01], False), ([5, 10, 0], True), ([0, 0, 0], False), ([5, np.nan, np.nan], False)],
)
def test_a_norm_collapses_to_a_tenth(values, reported):
    assert (finding_of(norm_collapses, sizes(values)) is not None) == reported


def test_several_collapses_are_named_with_the_largest_first():
    rows = {("a", "rms"): [10, 5, 1], ("b", "rms"): [10, 5, 0.5]}
    one = finding_of(norm_collapses, tables_with(rows))
    assert one.sentence.startswith(
        "b collapses: from epoch 0 to 2 its norm fell from 784 to 39.2, 5 % of its largest value. a also lost"
    )


def test_norms_that_jump_at_several_checkpoints_are_counted():
    one = finding_of(norm_jumps, sizes([1, 20, 1, 1, 0.05, 1]))
    assert one.checkpoints == ("c1", "c4") and "The same happens at 1 other checkpoint." in one.sentence
    assert "same happens" not in finding_of(norm_jumps, sizes([1, 20, 1, 1, 1, 1])).sentence


def test_a_bias_that_jumps_is_named_with_its_norms(tmp_path):
    states = random_walk(12, SHAPES)
    for weights in states:
        weights["fc1.bias"] = weights["fc1.bias"] * np.float32(0.05)
    for weights in states[8:]:
        weights["fc1.bias"][:25] -= 30
    one = only(found_in(tmp_path, states), "norm_jumps_for_good")
    assert (one.severity, one.tensor, one.checkpoints) == ("warning", "fc1.bias", name(8))
    before, now = one.evidence["norms"]["fc1.bias"]
    assert before == pytest.approx(np.linalg.norm(states[7]["fc1.bias"]), rel=1e-6)
    assert now == pytest.approx(np.linalg.norm(states[8]["fc1.bias"]), rel=1e-6)


@pytest.mark.parametrize(
    ("rms", "kind", "found"),
    [
        ([0.01, 0.01, 0.01, 5, 5], "vector", True),
        ([0.01, 0.01, 0.01, 5, 0.01], "vector", False),  # it does not stay
        ([0, 0.05, 0.05, 0.6, 0.6], "vector", False),  # tenfold, but not large
        ([0, 9, 9, 9, 9], "vector", False),  # from nothing, at the start
        ([1, 1, 1, 5, 5], "matrix", True),
        ([1, 1, 1, 3, 3], "matrix", False),
        ([1, 1, 1, 0.2, 0.2], "matrix", True),
        ([1, 1, 1, 1.1, 1.2], "matrix", False),
    ],
)
def test_which_jumps_stay(rms, kind, found):
    curves = {(f"w{n}", "rms"): [1.0] * 5 for n in range(3)}
    tables = tables_with({**curves, ("b", "rms"): rms})
    rows = tuple(replace(row, kind=kind if row.name == "b" else "matrix") for row in tables.tensors)
    assert [one.tensor for one in norm_jumps_for_good(replace(tables, tensors=rows))] == (["b"] if found else [])
