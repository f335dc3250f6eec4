"""Which states are finite, told from the statuses of whatever was measured."""

from __future__ import annotations

import numpy as np
import pytest
from builders import random_walk
from planted import found_in, name, only

FAMILIES = ("motion", "size", "spectrum", "tail", "random_matrix")  # that have rows, of those measured by default
LAYER = "fc1.weight"


def spoiled(*epochs, tensor=LAYER):
    states = random_walk(8)
    for epoch in epochs:
        states[epoch][tensor][1, 3] = np.nan
    return states


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_alone_shows_nan_with_its_tensor_and_checkpoints(tmp_path, family):
    one = only(found_in(tmp_path, spoiled(3, 6, 7), [family]), "nonfinite_weights")
    assert one.severity == "serious" and one.tensor == LAYER
    assert one.checkpoints == name(3, 6, 7)
    assert one.evidence["since"] == {LAYER: "epoch_3.safetensors"}
    assert ("1 element at first" in one.sentence) == (family == "size")


def test_a_step_out_of_nan_does_not_spoil_the_state_it_leads_to(tmp_path):
    one = only(found_in(tmp_path, spoiled(0), ["motion"]), "nonfinite_weights")
    assert one.checkpoints == name(0)


def test_weights_that_stay_nan_are_no_copies_whatever_was_measured(tmp_path):
    states = random_walk(6)
    for state in states[3:]:
        for weights in state.values():
            weights[:] = np.nan
    found = {one.rule for one in found_in(tmp_path, states, ["motion", "spectrum"])}
    assert "nonfinite_weights" in found and not {"same_weights", "weights_stand_still", "frozen_tensors"} & found
