"""Part of a checkpoint that is part of another one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from builders import random_walk, save_weights
from planted import checked, found_in, only

import analyzer
from analyzer.model.run import Finding

RULE = "part_of_another_checkpoint"
SHARDS = {"model-00001-of-00002.safetensors": ("a", "b"), "model-00002-of-00002.safetensors": ("c", "d")}
SHAPES = dict.fromkeys("abcd", (16, 16))


def audited(folder, states, shards=None) -> list[Finding]:
    """Write the states as folders, each in the given shards, and return the findings of the audit."""
    for number, weights in enumerate(states, 1):
        checkpoint = folder / f"step{number}000"
        files = shards or {"model.safetensors": tuple(weights)}
        for file, names in files.items():
            save_weights(checkpoint / file, {name: weights[name] for name in names})
        if shards:
            weight_map = {name: file for file, names in files.items() for name in names}
            index = {"metadata": {}, "weight_map": weight_map}
            (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    return checked(analyzer.audit(analyzer.open_run(folder)))


def rules(findings: list[Finding]) -> set[str]:
    return {one.rule for one in findings if one.severity in ("serious", "warning")}


@pytest.mark.parametrize(("wrong", "right"), [(2, 4), (4, 2), (2, 5), (3, 1), (6, 3)])
def test_a_shard_of_another_step_names_tensors_file_and_both_checkpoints(tmp_path, wrong, right):
    states = random_walk(6, SHAPES)
    states[wrong - 1] |= {name: states[right - 1][name] for name in "ab"}
    findings = audited(tmp_path, states, SHARDS)
    one = only(findings, RULE)
    assert one.severity == "serious" and rules(findings) == {RULE}
    assert set(one.checkpoints) == {f"step{wrong}000", f"step{right}000"}
    assert one.evidence["tensors"] == ["a", "b"]
    assert one.sentence.startswith(
        f"step{wrong}000 holds 2 of 4 tensors (a and b: all of model-00001-of-00002.safetensors) of "
        f"step{right}000, while "
    )
    assert one.evidence["wrong"] == f"step{wrong}000"


def test_between_the_ends_of_a_short_series_either_may_be_the_wrong_one(tmp_path):
    states = random_walk(3, SHAPES)
    states[2]["a"] = states[0]["a"]
    one = only(audited(tmp_path, states, SHARDS), RULE)
    assert "step1000 and step3000 have 1 of 4 tensors (a) in common, while step2000 between" in one.sentence
    assert "one of them" in one.sentence and one.evidence["wrong"] is None


def test_a_report_finds_the_same_pair(tmp_path):
    states = random_walk(6)
    states[2]["fc1.weight"] = states[4]["fc1.weight"]
    one = only(found_in(tmp_path, states), RULE)
    assert one.severity == "serious" and one.tensor == "fc1.weight"
    assert one.checkpoints == ("epoch_2.safetensors", "epoch_4.safetensors")


def _small(states):
    for weights, value in zip(states, (1, 2, 1, 3, 4, 5), strict=True):
        weights["count"] = value + np.arange(4, dtype=np.float32)


def _integers(states):
    for weights, value in zip(states, (1, 2, 1, 3, 4, 5), strict=True):
        weights["ids"] = np.arange(100) + value
        weights["mask"] = np.arange(100) % (1 + value) == 0


def _constant(states):
    for weights, value in zip(states, (0, 2, 0, 3, 4, 5), strict=True):
        weights["reset"] = np.full((20, 20), value, np.float32)


def _alternating(states):
    for number, weights in enumerate(states):
        weights["flip"] = states[number % 2]["a"] + 1


def _nonfinite(states):
    for number in (0, 3):
        states[number]["a"] = np.full((16, 16), np.nan, np.float32)


def _rounded_vector(states):
    for weights, value in zip(states, (1, 2, 1, 3, 4, 5), strict=True):
        weights["norm"] = (1 + np.arange(64) * value / 1000).astype(np.float16)


def _whole(states):
    states[4] = states[1]


def _frozen(states):
    for weights in states[1:]:
        weights["a"] = states[0]["a"]


@pytest.mark.parametrize(
    "plant", [_small, _integers, _constant, _alternating, _nonfinite, _rounded_vector, _whole, _frozen, lambda _: None]
)
def test_what_comes_back_by_itself_is_no_part_of_another_checkpoint(tmp_path, plant):
    states = random_walk(6, SHAPES)
    plant(states)
    assert RULE not in {one.rule for one in audited(tmp_path, states)}


def test_two_parts_of_two_checkpoints_are_two_findings(tmp_path):
    states = random_walk(9, SHAPES)
    states[1]["a"], states[5]["c"] = states[3]["a"], states[7]["c"]
    found = [one for one in audited(tmp_path, states) if one.rule == RULE]
    assert [one.evidence["wrong"] for one in found] == ["step2000", "step6000"]


def test_a_spell_without_change_counts_from_its_end(tmp_path):
    states = random_walk(6, SHAPES)
    states[1]["a"] = states[4]["a"] = states[0]["a"]
    one = only(audited(tmp_path, states), RULE)
    assert one.checkpoints == ("step2000", "step5000") and "the 2 between them differ" in one.sentence
