"""Sentences about what happened, and their evidence."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
from builders import random_walk, save_weights, weightlapse_metadata
from commands import measured

from analyzer.findings import SEVERITIES, by_severity, find
from analyzer.reading import read_tables
from analyzer.run import Finding
from analyzer.store import open_store


def found(tmp_path, states, rule=None):
    for t, weights in enumerate(states):
        save_weights(tmp_path / f"run/epoch_{t}.safetensors", weights, weightlapse_metadata(t))
    measurements = measured(tmp_path / "run")
    with open_store(measurements.path) as store:
        findings = find(read_tables(store, "run"), store.problems("run"))
    for finding in findings:
        json.dumps(dict(finding.evidence), allow_nan=False)
        assert finding.sentence[0].isprintable() and finding.sentence.endswith((".", "optimiser."))
    return [one for one in findings if rule in (None, one.rule)]


def test_an_ordinary_run_has_no_findings(tmp_path):
    assert found(tmp_path, random_walk(4)) == []


def test_the_most_serious_comes_first_and_ties_keep_their_order():
    findings = [Finding(str(n), severity, "") for n, severity in enumerate((*SEVERITIES[::-1], *SEVERITIES))]
    assert [one.rule for one in by_severity(findings)] == ["3", "4", "2", "5", "1", "6", "0", "7"]


@pytest.mark.parametrize("later", [0, 1])
def test_row39_nan_is_serious_with_its_count_place_and_figure(tmp_path, later):
    states = random_walk(5)
    states[1]["fc1.weight"][0, :3] = np.nan
    if later:
        states[3]["fc1.weight"][0, 0] = np.inf
    (one,) = found(tmp_path, states, "nonfinite_weights")
    assert (one.severity, one.tensor, one.figure) == ("serious", "fc1.weight", "step_distance")
    assert one.checkpoints == ("epoch_1.safetensors", "epoch_3.safetensors")[: 1 + later]
    assert one.evidence["count"] == 3
    assert "3 NaN or infinite elements in epoch_1.safetensors" in one.sentence
    assert ("1 later checkpoint" in one.sentence) == bool(later)


def test_row40_a_singular_matrix_is_named_with_its_checkpoints(tmp_path):
    states = random_walk(3)
    states[2]["out.weight"][1] = 0
    (one,) = found(tmp_path, states, "singular_matrix")
    assert (one.tensor, one.checkpoints, one.figure) == ("out.weight", ("epoch_2.safetensors",), "condition_number")


def test_row37_a_frozen_tensor_is_named_with_its_interval(tmp_path):
    states = random_walk(5)
    for t in range(1, 5):
        states[t]["fc1.bias"] = states[0]["fc1.bias"]
    states[3]["out.bias"] = states[2]["out.bias"]
    whole, part = found(tmp_path, states, "frozen_tensor")
    assert whole.tensor == "fc1.bias" and whole.evidence == {"intervals": 4, "of": 4}
    assert "from epoch_0.safetensors to epoch_4.safetensors, the whole run" in whole.sentence
    assert part.tensor == "out.bias" and part.evidence == {"intervals": 1, "of": 4}
    assert "1 of 4 intervals" in part.sentence and "epoch_2.safetensors" in part.sentence


def test_motion_below_precision_is_said_and_a_frozen_tensor_is_not_that(tmp_path):
    w = np.random.default_rng(0).standard_normal((20, 20))
    moved = w.copy()
    moved[0, 0] += 0.1
    states = [{"w": one.astype(ml_dtypes.bfloat16), "still": np.ones(3, ml_dtypes.bfloat16)} for one in (w, moved)]
    (one,) = found(tmp_path, states, "motion_below_precision")
    assert (one.tensor, one.evidence) == ("w", {"steps": {"w": 1}})


def test_what_failed_for_one_reason_is_one_sentence(tmp_path):
    for t, weights in enumerate(random_walk(2)):
        save_weights(tmp_path / f"run/epoch_{t}.safetensors", weights, weightlapse_metadata(t))
    measurements = measured(tmp_path / "run")
    problems = [
        (f"epoch_{t}.safetensors", name, "odd", "ValueError: \x1b[31mno") for t in (0, 1) for name in ("a", "b")
    ]
    with open_store(measurements.path) as store:
        (one,) = find(read_tables(store, "run"), problems)
    assert (one.rule, one.severity) == ("not_measured", "serious")
    assert one.evidence["tensors"] == ["a", "b"] and len(one.checkpoints) == 2
    assert "\x1b" not in one.sentence and "odd of a, b could not be measured" in one.sentence


def test_row15_hostile_names_are_harmless_in_sentences(tmp_path):
    name = "\x1b[31m<b>\u202e\n"
    states = [{name: np.full((3, 3), np.nan, np.float32)}, {name: np.zeros((3, 3), np.float32)}] * 2
    for one in found(tmp_path, states):
        assert one.sentence.isprintable()
        assert one.tensor == name  # the field keeps it as it is
