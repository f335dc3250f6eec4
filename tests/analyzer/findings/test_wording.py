"""Numbers and names as words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analyzer.figures.drawing.overview_panels import layer_labels
from analyzer.findings.wording import (
    agree,
    capitalized,
    layers,
    number,
    percent,
    place,
    places,
    plural,
    span,
    times,
    unit,
    with_name,
)
from analyzer.model.describing import describe
from analyzer.model.run import Checkpoint, Run


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (number, 0.004123, "0.00412"),
        (number, 16.63, "16.6"),
        (number, 999.4, "999"),
        (number, 1000.0, "1000"),
        (number, -1234.0, "−1234"),
        (number, -0.7041, "−0.704"),
        (number, 1e6, "1e+06"),
        (percent, 0.1, "10 %"),
        (percent, 0.0999, "10 %"),
        (percent, 0.0955, "9.6 %"),
        (percent, -0.104, "−10 %"),
        (percent, 0.844, "84 %"),
        (percent, 0.000031, "0.0031 %"),
        (times, 2.46, "2.5 times"),
        (times, 10.0, "10 times"),
        (times, 1234.0, "1200 times"),
    ],
)
def test_numbers_have_no_false_digits(function, value, text):
    assert function(value) == text


def test_plurals_and_lists_of_layers():
    assert (plural(1, "step"), plural(0, "step"), plural(2, "step")) == ("1 step", "0 steps", "2 steps")
    assert layers(["a", "b"], 2) == "all 2 tensors"
    assert layers(["a"], 1) == "a"
    assert layers(["a", "b"], 3) == "a and b"
    assert layers(list("abcde")) == "a, b, c and 2 more"
    assert [agree(count, "is", "are") for count in (0, 1, 2)] == ["are", "is", "are"]
    assert capitalized("test F1 of LoRA") == "Test F1 of LoRA"


@pytest.mark.parametrize(
    ("label", "at", "between", "per", "both", "known"),
    [
        ("epoch", "epoch 2", "epoch 2 to 4.5", "epoch", "epochs 2 and 4.5", "epoch 2 (b)"),
        ("step", "step 2", "step 2 to 4.5", "step", "steps 2 and 4.5", "step 2 (b)"),
        (
            *("billion tokens", "2 billion tokens", "2 to 4.5 billion tokens", "billion tokens"),
            *("2 and 4.5 billion tokens", "2 billion tokens (b)"),
        ),
        ("checkpoint (in order)", "b", "b to c", "checkpoint", "b and c", "b"),
    ],
)
def test_places_are_worded_in_the_unit_of_the_axis(label, at, between, per, both, known):
    checkpoints = tuple(Checkpoint(name, "", None, None, {}, {}, ()) for name in "abc")
    tables = describe(Run("run", "", "", "", checkpoints), [], {})
    tables = replace(tables, axis=np.array([0.5, 2.0, 4.5]), axis_label=label)
    assert (place(tables, 1), span(tables, 1, 2), unit(tables)) == (at, between, per)
    assert (places(tables, [1, 2]), places(tables, [1]), with_name(tables, 1)) == (both, at, known)


def test_a_layer_in_a_block_has_its_name_and_its_label_in_figures():
    names = ["h.3.attn.q_proj.weight", "h.3.attn.k_proj.weight", "fc.weight"]
    assert layers(names) == "h.3.attn.q_proj.weight (block 3 q), h.3.attn.k_proj.weight (block 3 k) and fc.weight"
    assert layer_labels(names, 200.0)[:2] == ["block 3 q", "block 3 k"]
    assert layer_labels(["1.weight", "fc.weight"], 200.0) == ["1.weight", "fc"]  # figures and sentences name it alike
