"""Singular matrices, dead rows and columns, and what could not be measured."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from builders import random_walk, save_weights, weightlapse_metadata
from commands import measured
from planted import SHAPES, finding_of, found_in, name, only, tables_with

from analyzer.findings import find
from analyzer.findings.broken_layers import dead_columns, dead_rows, singular_matrix, units_died, weights_become_zero
from analyzer.report.reading import read_tables
from analyzer.store.store import open_store


def test_fault_40_a_singular_matrix_is_named_with_its_checkpoints(tmp_path):
    states = random_walk(6)
    for weights in states[2:5]:
        weights["out.weight"][1] = 0
    one = only(found_in(tmp_path, states), "singular_matrix")
    assert (one.tensor, one.checkpoints, one.figure) == ("out.weight", name(2, 4), "condition_number")
    assert "in 3 checkpoints from epoch 2 to 4" in one.sentence


def test_rows_that_die_are_told_from_rows_that_were_always_zero(tmp_path):
    states = random_walk(6, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc2.weight"][:, 5] = 0
        weights["fc1.weight"][: max(0, 2 * (epoch - 2))] = 0
    findings = found_in(tmp_path, states)
    died, always = (only(findings, rule) for rule in ("dead_rows", "dead_columns"))
    assert (died.severity, died.tensor, died.evidence["newly_dead"]) == ("warning", "fc1.weight", {"fc1.weight": 6})
    assert "6 of 40 rows became exactly zero, the first at epoch 3" in died.sentence
    assert (always.severity, always.evidence["dead"]) == ("info", {"fc2.weight": 1})


def test_one_other_layer_with_dead_rows_is_no_plural(tmp_path):
    states = random_walk(6, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc1.weight"][: max(0, 2 * (epoch - 2))] = 0
        weights["fc2.weight"][: max(0, epoch - 4)] = 0
    assert "(and rows of 1 other layer)" in only(found_in(tmp_path, states), "dead_rows").sentence


def test_what_failed_for_one_reason_is_one_sentence(tmp_path):
    for t, weights in enumerate(random_walk(2)):
        save_weights(tmp_path / f"run/epoch_{t}.safetensors", weights, weightlapse_metadata(t))
    measurements = measured(tmp_path / "run")
    problems = [
        (f"epoch_{t}.safetensors", tensor, "odd", "ValueError: \x1b[31mno") for t in (0, 1) for tensor in ("a", "b")
    ]
    with open_store(measurements.path) as store:
        found = find(dataclasses.replace(read_tables(store, "run"), problems=tuple(problems)))
        one = only(found, "not_measured")
    assert (one.rule, one.severity) == ("not_measured", "serious")
    assert one.evidence["tensors"] == ["a", "b"] and len(one.checkpoints) == 2
    assert "\x1b" not in one.sentence and "odd of a and b could not be measured" in one.sentence


# ------------------------------------------------------------------------------------------------- edges of rules


@pytest.mark.parametrize(
    ("dead", "shape", "severity"),
    [
        ([0, 1, 1], (20, 30), "warning"),  # one row in twenty
        ([0, 1, 1], (21, 30), "notice"),
        ([0, 4, 4], (81, 30), "notice"),
        ([1, 1, 1], (20, 30), "info"),
        ([2, 1, 1], (20, 30), "info"),
        ([1, 2, 0], (20, 30), None),
    ],
)
def test_a_twentieth_of_the_rows_must_die_for_a_warning(dead, shape, severity):
    one = finding_of(dead_rows, tables_with({"dead_row_count": dead}, shape=shape))
    assert (one.severity if one else None) == severity
    assert severity != "warning" or one.sentence.startswith(
        "w: 1 of 20 rows became exactly zero, at epoch 1: this output is always off."
    )


def test_dead_columns_are_a_share_of_the_columns():
    assert finding_of(dead_columns, tables_with({"dead_column_count": [0, 1]}, shape=(20, 21))).severity == "notice"


def test_several_singular_matrices_are_named_with_the_most_singular_first():
    tables = tables_with({(key, "condition_number"): [np.nan] * 4 for key in "ab"})
    statuses = {"a": ("ok", "singular", "ok", "ok"), "b": ("ok", "singular", "ok", "singular")}
    curves = {key: replace(curve, statuses=statuses[key[1]]) for key, curve in tables.curves.items()}
    one = finding_of(singular_matrix, replace(tables, curves=curves))
    assert "b is singular in 2 checkpoints from epoch 1 to 3, and so is a at times:" in one.sentence
    only_a = replace(tables, curves={key: curve for key, curve in curves.items() if key[1] == "a"})
    assert "a is singular at epoch 1: some" in finding_of(singular_matrix, only_a).sentence


def test_half_of_all_weights_that_become_zero_are_one_finding(tmp_path):
    states = random_walk(10, SHAPES)
    for tensor in ("fc1.weight", "fc2.weight", "out.weight"):
        smaller = np.abs(states[6][tensor]) < np.median(np.abs(states[6][tensor]))
        for weights in states[6:]:
            weights[tensor][smaller] = 0
    findings = found_in(tmp_path, states)
    one = only(findings, "weights_become_zero")
    assert one.severity == "warning"
    assert one.sentence.startswith("50 % of the weights of all 3 matrices became exactly zero at epoch 6")
    assert not {"dead_rows", "dead_columns"} & {finding.rule for finding in findings}


@pytest.mark.parametrize(
    ("zeros", "expected"),
    [
        ([0, 0, 0.5, 0.5], ("warning", 2)),
        ([0, 0.2, 0.4, 0.6], ("notice", 2)),
        ([0.5, 0.5, 0.5, 0.5], None),
        ([0, 0.5, 0.5, 0], None),
        ([0, 0, 0.1, 0.1], None),
    ],
)
def test_zeros_that_stay_are_told_from_others(zeros, expected):
    found = [(one.severity, one.checkpoints[0]) for one in weights_become_zero(tables_with({"zero_fraction": zeros}))]
    assert found == ([] if expected is None else [(expected[0], f"c{expected[1]}")])


def of_units(still, weights=None, before=0, dtype="float32"):
    """A layer of 64 units of which so many do not change in the last four of eight intervals."""
    count = np.array([*[before] * 5, *[still] * 4]) if np.isscalar(still) else np.array([0, *still])
    biases = 1 - count / 64
    curves = {
        ("fc.weight", "changed_fraction"): biases if weights is None else np.full(len(biases), weights),
        ("fc.bias", "changed_fraction"): biases,
    }
    tables = tables_with(curves, dtype=dtype)
    matrix, vector = tables.tensors
    return dataclasses.replace(tables, tensors=(matrix, dataclasses.replace(vector, kind="vector", shape=(64,))))


@pytest.mark.parametrize(
    ("tables", "severity"),
    [
        (of_units(40), "warning"),
        (of_units(8), "notice"),
        (of_units(6), None),  # less than a tenth
        (of_units(40, before=40), None),  # from the first interval on
        (of_units(64), None),  # frozen_tensors
        (of_units(40, weights=1.0), None),  # the rows of weights move
        (of_units([0, 0, 0, 0, 30, 31, 29, 30]), None),  # rounding
        (of_units(40, dtype="bfloat16"), None),
    ],
)
def test_units_died_if_the_same_number_of_biases_and_rows_stays_still(tables, severity):
    one = finding_of(units_died, tables)
    assert (one and one.severity) == severity


@pytest.mark.parametrize(("since", "is_told"), [(5, False), (2, True)])
def test_units_that_died_where_weights_became_zero_are_explained_by_that(since, is_told):
    tables = of_units(40)
    zeros = np.where(np.arange(9) < since, 0.0, 0.5)
    pruned = tables_with({("fc.weight", "zero_fraction"): zeros})
    known = replace(tables, curves={**tables.curves, **pruned.curves})
    assert (finding_of(units_died, known) is not None) == is_told


def test_dead_units_are_counted_with_their_place():
    one = finding_of(units_died, of_units(40))
    assert one.sentence.startswith("40 of 64 units of fc.weight died: from epoch 5 to 8 their biases did not change")
    assert one.evidence["units"] == {"fc.weight": 40} and one.checkpoints == ("c5", "c8")
