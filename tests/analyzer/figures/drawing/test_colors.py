"""Color scales: which value gets which color."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.figures.drawing.colors import GRAY, color_scale, scale_of
from analyzer.figures.drawing.layer_table import LayerTable, Panel

FIRST, LAST = (68, 1, 84, 255), (253, 231, 37, 255)  # the ends of viridis
WHITE, TRANSPARENT = (255, 255, 255, 255), (0, 0, 0, 0)


@pytest.mark.parametrize("kind", ["log", "positive"])
def test_a_log_scale_spans_the_positive_values_and_shows_zeros_white(kind):
    scale = color_scale(np.array([0.0, 1.0, 100.0, np.nan]), kind)
    assert (scale.limits, scale.log, scale.zeros) == ((1.0, 100.0), True, True)
    colors = scale.colors(np.array([1.0, 100.0, 0.0, np.nan]))
    assert [tuple(color) for color in colors] == [FIRST, LAST, WHITE, TRANSPARENT]


@pytest.mark.parametrize(
    ("values", "limits"),
    [([1.0, 4.0], (0.0, 4.0)), ([3.0, 4.0], (3.0, 4.0)), ([-4.0, -1.0], (-4.0, -1.0)), ([2.0, 2.0], (1.0, 3.0))],
)
def test_a_linear_scale_begins_at_zero_if_that_is_near(values, limits):
    scale = color_scale(np.array(values), "linear")
    assert (scale.limits, scale.log, scale.zeros) == (limits, False, False)
    colors = scale.colors(np.array([*limits, np.nan]))
    assert [tuple(color) for color in colors] == [FIRST, LAST, TRANSPARENT]


def relative(kind, rows):
    values = np.array(rows)
    names = tuple(f"fc{i}" for i in range(len(rows)))
    return LayerTable(Panel("m", "M", "unit", "log", kind), names, (None,) * len(rows), values)


def test_signed_values_have_white_at_zero_and_a_color_for_each_sign():
    scale = color_scale(np.array([-1.0, 4.0]), "linear")
    assert (scale.limits, scale.diverging) == ((-4.0, 4.0), True)
    below, middle, above = scale.colors(np.array([-4.0, 0.0, 4.0])).astype(int)
    assert min(middle[:3]) > 240
    assert below[2] > below[0] and above[0] > above[2]  # blue, red


def test_layers_of_different_size_with_the_same_change_have_the_same_colors():
    table = relative("start", [[1.0, 2.0, 0.5], [1000.0, 2000.0, 500.0], [np.nan, 3.0, 6.0]])
    scale = scale_of(table)
    first, second, third = scale.colors(table.colored)
    assert (first == second).all()
    assert (third[2] == first[1]).all() and (third[1] == first[0]).all()  # its start is its first value
    assert first[1][0] > first[1][2] and first[2][2] > first[2][0]  # red above the start, blue below
    assert scale.shares(np.array([0.5, 1.0, 2.0])) == pytest.approx([0, 0.5, 1], abs=0.01)


def test_relative_to_its_range_a_layer_reaches_the_last_color():
    table = relative("range", [[0.0, 1.0, 2.0], [0.0, 1000.0, 500.0]])
    assert table.colored == pytest.approx(np.array([[0, 0.5, 1], [0, 1, 0.5]]))
    assert scale_of(table).limits == (0.0, 1.0)


def test_a_layer_of_zeros_has_no_start_and_is_gray():
    table = relative("start", [[0.0, 0.0], [1.0, 3.0]])
    scale = scale_of(table)
    assert scale.zeros
    assert [f"#{bytes(color[:3]).hex()}" for color in scale.colors(table.colored)[0]] == [GRAY, GRAY]


def test_one_layer_that_explodes_does_not_wash_out_the_others():
    rows = [[1.0, *np.linspace(1, 2, 49)] for _ in range(200)]
    rows[7][-10:] = [1e9] * 10
    table = relative("start", rows)
    scale = scale_of(table)
    assert scale.limits[1] < 3
    assert scale.clips(table.colored)
    assert (scale.colors(table.colored)[7, -1] == scale.colormap[-1]).all()
