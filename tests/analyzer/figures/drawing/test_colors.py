"""Color scales: which value gets which color."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.figures.drawing.colors import color_scale

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
    [([1.0, 4.0], (0.0, 4.0)), ([3.0, 4.0], (3.0, 4.0)), ([-1.0, 4.0], (-1.0, 4.0)), ([2.0, 2.0], (1.0, 3.0))],
)
def test_a_linear_scale_begins_at_zero_if_that_is_near(values, limits):
    scale = color_scale(np.array(values), "linear")
    assert (scale.limits, scale.log, scale.zeros) == (limits, False, False)
    colors = scale.colors(np.array([*limits, np.nan]))
    assert [tuple(color) for color in colors] == [FIRST, LAST, TRANSPARENT]
