"""One event is one finding, without its consequences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import random_walk
from element_tables import NAN, tables_of_states
from planted import SHAPES, alarming, blown_up, found_in, name, only, tables_with

from analyzer.findings.events import by_severity, unexplained, without_what_nan_spoils
from analyzer.model.run import Finding


def test_what_an_explosion_brings_about_is_not_told_beside_it(tmp_path):
    states = blown_up(random_walk(14, SHAPES), "fc1.weight", 6, 30.0)
    for weights in states[9:]:  # a layer of its own, with what the other's explosion would hide
        left, sizes, right = np.linalg.svd(weights["fc2.weight"], full_matrices=False)
        sizes[-1] /= 10_000
        weights["fc2.weight"] = (left * sizes @ right).astype(np.float32)
    findings = found_in(tmp_path, states)
    told = [one.rule for one in findings if "fc1.weight" in one.evidence.get("tensors", ())]
    assert told == ["norm_explodes"]
    assert only(findings, "condition_number_explodes").tensor == "fc2.weight"


def test_a_layer_whose_explosion_is_told_still_counts_among_the_layers(tmp_path):
    shapes = {**SHAPES, "fc3.weight": (24, 24), "fc4.weight": (24, 24)}
    states = blown_up(random_walk(14, shapes), "fc1.weight", 6, 30.0)
    for tensor in ("fc2.weight", "fc3.weight"):
        states = blown_up(states, tensor, 6, 2.0)
    matrices = sum(len(shape) > 1 for shape in shapes.values())
    one = only(found_in(tmp_path, states), "motion_spike")
    assert one.sentence.startswith(f"2 of {matrices} layers moved in one jump at epoch 6")


def test_no_compression_is_advised_for_a_matrix_that_jumped(tmp_path):
    states = blown_up(random_walk(14, SHAPES), "fc1.weight", 6, 5.0)
    for weights in states:
        weights["fc2.weight"] = blown_up([weights], "fc2.weight", 0, 5.0)[0]["fc2.weight"]
    findings = found_in(tmp_path, states)
    assert only(findings, "motion_spike").tensor == "fc1.weight"
    assert only(findings, "could_be_cut_in_rank").tensor == "fc2.weight"


def test_a_jump_is_told_without_what_it_brings_about_unless_that_is_graver(tmp_path):
    states = blown_up(random_walk(14, SHAPES), "fc1.weight", 6, 5.0)
    assert alarming(found_in(tmp_path / "rank", states)) == ["motion_spike"]
    for weights in states[6:]:
        left, sizes, right = np.linalg.svd(weights["fc1.weight"], full_matrices=False)
        sizes[-1] /= 10_000
        weights["fc1.weight"] = (left * sizes @ right).astype(np.float32)
    findings = found_in(tmp_path / "condition", states)
    assert alarming(findings) == ["condition_number_explodes", "motion_spike"]
    assert only(findings, "condition_number_explodes").evidence["since"] == {"fc1.weight": name(6)[0]}


def test_what_begins_after_a_jump_is_told_beside_it(tmp_path):
    states = random_walk(14, SHAPES)
    for weights in states[6:]:
        weights["fc1.weight"] = weights["fc1.weight"] + np.float32(0.3) * np.sign(states[0]["fc1.weight"])
    findings = found_in(tmp_path, blown_up(states, "fc1.weight", 12, 5.0))
    assert {"motion_spike", "rank_collapses"} <= set(alarming(findings))


@pytest.mark.parametrize(
    ("event", "event_severity", "rule", "severity", "since", "explained"),
    [
        ("motion_spike", "notice", "rank_collapses", "notice", "c3", True),
        ("motion_spike", "notice", "rank_collapses", "warning", "c3", False),  # graver than the event
        ("motion_spike", "warning", "rank_collapses", "notice", "c3", True),
        ("motion_spike", "notice", "rank_collapses", "notice", "c4", False),  # began later
        ("norm_explodes", "warning", "rank_collapses", "serious", "c4", True),
        ("norm_jumps", "warning", "could_be_pruned", "info", "c4", True),  # advice, whenever
        ("norm_jumps", "warning", "norm_collapses", "info", "c3", False),  # not one of the consequences
        ("motion_spike", "warning", "motion_spike", "notice", "c3", False),  # no event explains itself
    ],
)
def test_what_an_event_explains(event, event_severity, rule, severity, since, explained):
    spike = Finding(event, event_severity, "", checkpoints=("c3",), evidence={"tensors": ["a"]})

    def consequences(tables):
        for row in tables.tensors:
            yield Finding(rule, severity, "", evidence={"tensors": [row.name], "since": {row.name: since}})

    tables = tables_with({("a", "rms"): [1] * 5, ("b", "rms"): [1] * 5})
    left = [one.evidence["tensors"] for one in unexplained([spike], rule, consequences, tables)]
    assert left == ([["b"]] if explained else [["a"], ["b"]])


@pytest.mark.parametrize(
    ("severity", "checkpoints", "explained"),
    [("notice", ("c2", "c3"), True), ("warning", ("c2", "c3"), False), ("notice", ("c3", "c4"), False)],
)
def test_an_event_of_one_layer_explains_that_all_steps_change_there(severity, checkpoints, explained):
    jump = Finding("norm_jumps_for_good", "notice", "", checkpoints=("c3",), evidence={"tensors": ["a"]})
    change = Finding("step_length_changes", severity, "", checkpoints=checkpoints)
    left = unexplained([jump], "step_length_changes", lambda tables: iter([change]), tables_with({"rms": [1] * 5}))
    assert left == [change] * (not explained)


def test_what_happened_comes_before_other_findings_of_the_same_severity():
    told = [
        Finding("overfitting", "notice", ""),
        Finding("step_length_changes", "notice", ""),
        Finding("score_collapses", "warning", ""),
        Finding("goes_back", "warning", ""),
        Finding("nonfinite_weights", "serious", ""),
    ]
    assert [one.rule for one in by_severity(told)] == [
        *("nonfinite_weights", "goes_back", "score_collapses", "step_length_changes", "overfitting"),
    ]


def test_scores_that_are_lost_with_nan_are_named_by_the_finding_about_it():
    tables = tables_of_states({"w": ["a", "b", "c", NAN, NAN]})
    spoilt = Finding("nonfinite_weights", "serious", "NaN.", checkpoints=("c3", "c4"))
    counts = {"not_finite": 2, "values": 5}
    of_scores = [
        Finding(
            *("scores_not_finite", "warning", "", None),
            evidence={"unit": "step", "scores": {"train_loss": {**counts, "first": first}}},
        )
        for first in (3, 1)
    ]
    fallen = Finding("score_collapses", "warning", "", evidence={"since": "c3", "best": {"test_accuracy": 0.9}})
    earlier = replace(fallen, evidence={**fallen.evidence, "since": "c2"})
    (one,) = without_what_nan_spoils(tables, [spoilt, of_scores[0], fallen])
    assert one.sentence == (
        "NaN. The scores went with the weights: train loss is not finite, and test accuracy is far worse."
    )
    others = [spoilt, of_scores[1], earlier]  # began before
    assert without_what_nan_spoils(tables, others) == others
    healed = tables_of_states({"w": ["a", NAN, NAN, "d", "e"]})
    assert without_what_nan_spoils(healed, [spoilt, fallen]) == [spoilt, fallen]
