"""NaN, Inf and tensors of which no bit changes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from builders import random_walk
from planted import SHAPES, alarming, found_in, name, only

import analyzer


@pytest.mark.parametrize("later", [0, 1])
def test_fault_39_nan_is_serious_with_its_count_place_and_figure(tmp_path, later):
    states = random_walk(5)
    states[1]["fc1.weight"][0, :3] = np.nan
    if later:
        states[3]["fc1.weight"][0, 0] = np.inf
    one = only(found_in(tmp_path, states), "nonfinite_weights")
    assert (one.severity, one.tensor, one.figure) == ("serious", "fc1.weight", "step_distance")
    assert one.checkpoints == name(1, 3)[: 1 + later]
    assert one.evidence["count"] == {"fc1.weight": 3}
    assert "3 elements" in one.sentence and "fc1.weight" in one.sentence
    assert ("at epoch 1 and in 1 later checkpoint" if later else "at epoch 1 only") in one.sentence
    assert f"Leave {'those checkpoints' if later else 'that checkpoint'} out" in one.sentence
    assert "Go back" not in one.sentence


def test_nan_at_the_last_checkpoint_is_no_single_bad_file(tmp_path):
    states = random_walk(5)
    for epoch, key in ((1, "fc1.weight"), (4, "out.weight")):
        states[epoch][key][0, 0] = np.nan
    one = only(found_in(tmp_path, states), "nonfinite_weights")
    assert "Go back to epoch 3 (epoch_3.safetensors), the last finite one." in one.sentence
    assert "recovered" not in one.sentence


def test_without_a_finite_checkpoint_there_is_none_to_go_back_to(tmp_path):
    states = random_walk(4)
    for weights in states:
        weights["out.weight"][0, 0] = np.nan
    assert "Train again." in only(found_in(tmp_path, states), "nonfinite_weights").sentence


def test_nan_at_epoch_7_in_all_layers_is_one_finding_and_not_a_frozen_layer_too(tmp_path):
    states = random_walk(12)
    for weights in states[7:]:
        for array in weights.values():
            array[...] = np.nan
    findings = found_in(tmp_path, states)
    one = only(findings, "nonfinite_weights")
    assert "from epoch 7 to the end in all 4 tensors" in one.sentence
    assert one.checkpoints == name(7, 8, 9, 10, 11) and len(one.evidence["tensors"]) == 4
    assert alarming(findings) == ["nonfinite_weights"]


def test_nan_that_spreads_is_one_finding(tmp_path):
    states = random_walk(8)
    for epoch, weights in enumerate(states):
        for start, key in ((3, "fc1.weight"), (4, "fc1.bias"), (5, "out.weight")):
            if epoch >= start:
                weights[key][0] = np.nan
    one = only(found_in(tmp_path, states), "nonfinite_weights")
    assert "from epoch 3 to the end in fc1.weight (20 elements at first); later also in" in one.sentence
    assert one.evidence["since"] == dict(zip(("fc1.weight", "fc1.bias", "out.weight"), name(3, 4, 5), strict=True))


def test_fault_37_frozen_tensors_are_named_with_their_intervals(tmp_path):
    states = random_walk(7)
    for t in range(1, 7):
        states[t]["fc1.bias"] = states[0]["fc1.bias"]
        if t > 2:
            states[t]["fc1.weight"] = states[2]["fc1.weight"]
    states[4]["out.bias"] = states[3]["out.bias"]
    findings = {one.tensor: one for one in found_in(tmp_path, states) if one.rule == "frozen_tensors"}
    assert findings.keys() == {"fc1.bias", "fc1.weight", "out.bias"}
    whole, sudden, part = (findings[key] for key in ("fc1.bias", "fc1.weight", "out.bias"))
    assert whole.severity == "notice" and "from epoch 0 to 6, the whole run" in whole.sentence
    assert sudden.severity == "warning" and "from epoch 2 to 6: frozen on purpose, or the gradient" in sudden.sentence
    assert sudden.checkpoints == name(2, 3, 4, 5, 6)
    assert part.severity == "notice" and "from epoch 3 to 4" in part.sentence


def test_pauses_are_one_finding_and_in_coarse_storage_none(tmp_path):
    states = random_walk(9)
    states[2]["out.bias"] = states[1]["out.bias"]
    states[5] = states[4]
    states[7]["fc1.bias"] = states[6]["fc1.bias"]
    findings = found_in(tmp_path / "wide", states)
    one = only(findings, "frozen_tensors")
    assert "fc1.bias did not change by a single bit from epoch 6 to 7" in one.sentence
    assert "Nor did out.bias at other times." in one.sentence
    most = one.evidence["spells"][0]
    assert (most["from"], most["to"]) == name(6, 7)
    assert len(one.evidence["spells"]) == 2 and one.severity == "notice"
    assert only(findings, "same_weights").checkpoints == name(4, 5)  # where nothing changed, the file is a copy
    narrow = [{key: array.astype(ml_dtypes.bfloat16) for key, array in weights.items()} for weights in states]
    assert "frozen_tensors" not in {other.rule for other in found_in(tmp_path / "narrow", narrow)}


@pytest.mark.parametrize(
    ("tensor", "still", "severity"),
    [
        ("fc1.weight", range(1, 9), "warning"),
        ("fc1.bias", range(1, 9), "notice"),
        ("fc1.weight", range(3, 5), "warning"),
        ("fc1.weight", range(3, 4), "notice"),
        ("fc1.bias", range(3, 6), "notice"),
        ("fc1.weight", range(5, 9), "warning"),
        ("fc1.bias", range(5, 9), "notice"),
    ],
)
def test_a_standstill_is_as_serious_as_in_the_audit(tmp_path, tensor, still, severity):
    states = random_walk(9)
    for epoch in still:
        states[epoch][tensor] = states[epoch - 1][tensor]
    one = only(found_in(tmp_path, states), "frozen_tensors")
    run = analyzer.open_run(tmp_path / "run")
    audited = only(analyzer.audit(run), "frozen_tensors")
    assert one.severity == audited.severity == severity
    assert ("vectors may do so by themselves" in one.sentence) == (tensor == "fc1.bias")
    assert "died" not in one.sentence or tensor == "fc1.weight"


def test_the_pause_that_matters_is_told_not_that_of_most_tensors(tmp_path):
    states = random_walk(9)
    states[2] |= {name: states[1][name] for name in ("fc1.bias", "out.bias")}
    states[4]["fc1.weight"] = states[5]["fc1.weight"] = states[3]["fc1.weight"]
    one = only(found_in(tmp_path, states), "frozen_tensors")
    assert one.severity == "warning" and one.sentence.startswith(
        "fc1.weight did not change by a single bit from epoch 3"
    )


def test_layers_frozen_together_are_one_finding(tmp_path):
    shapes = {f"layers.{n}.weight": (4, 5) for n in range(30)} | {"head.weight": (3, 5)}
    states = random_walk(5, shapes)
    for weights in states[1:]:
        weights.update({key: states[0][key] for key in weights if key.startswith("layers")})
    one = only(found_in(tmp_path, states), "frozen_tensors")
    assert "layers.0.weight, layers.1.weight, layers.2.weight and 27 more did not change" in one.sentence
    assert len(one.evidence["tensors"]) == 30


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_exactly_frozen_layer_is_not_a_slow_one_too(tmp_path, dtype):
    states = random_walk(8, SHAPES, dtype=dtype)
    for weights in states:
        weights["fc2.weight"] = states[0]["fc2.weight"]
    assert alarming(found_in(tmp_path, states)) == ["frozen_tensors"]


def test_a_matrix_that_stands_still_while_its_bias_moves_is_fed_by_dead_units(tmp_path):
    states = random_walk(9)
    for epoch in range(4, 9):
        for tensor in ("fc1.weight", "fc1.bias", "out.weight"):
            states[epoch][tensor] = states[3][tensor]
    one = only(found_in(tmp_path, states), "frozen_tensors")
    assert "from epoch 3 to 8: all units that feed out.weight died" in one.sentence
