"""Labels at the ends of lines: they keep apart, stay near their lines and inside the panel."""

from __future__ import annotations

import numpy as np
import pytest
from figure_parts import DRAW, texts
from figure_tables import make_tables

from analyzer.figures.drawing.end_labels import moved_apart


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([10, 50, 90], [10, 50, 90]),  # no need to move
        ([50, 50], [45, 55]),
        ([50, 50, 50, 80], [40, 50, 60, 80]),
        ([0, 0, 1], [0, 10, 20]),
        ([99, 100], [90, 100]),
        ([], []),
    ],
)
def test_labels_move_apart_as_little_as_possible(places, expected):
    assert moved_apart(np.array(places, float), 10, 100) == pytest.approx(expected)


def test_every_layer_is_named_at_its_line_and_lora_names_are_not_cut():
    names = [f"base_model.model.layers.{i}.self_attn.q_proj.lora_A.default.weight" for i in range(8)]
    figure = DRAW["condition_number"](make_tables(names))
    shown = [text for text in texts(figure) if "lora" in text or text.startswith(tuple("01234567"))]
    assert len({text for text in shown if any(f"{i}" in text for i in range(8))}) >= 8
    panel = figure.axes[0].get_position()
    assert panel.x1 > 0.65  # of the page: no key beside it
