"""Lines by layer: marks, gaps and zeros."""

from __future__ import annotations

import numpy as np
from figure_parts import DRAW, data_lines, marks, texts
from figure_tables import make_tables, with_curve, with_marks

from analyzer.figures.drawing.layer_table import MARKS, ZERO_MARKER


def test_marks_keep_clear_of_the_lines():
    axes = DRAW["condition_number"](with_marks(make_tables(4))).axes[0]
    highest = max(np.nanmax(line.get_ydata()) for line in data_lines(axes) if len(line.get_ydata()))
    top = axes.transAxes.inverted().transform(axes.transData.transform((0, highest)))[1]
    assert top < min(y for marker, _ in MARKS.values() for line in marks(axes, marker) for y in line.get_ydata())


def test_steps_over_gaps_are_hollow_and_explained():
    tables = make_tables(4, missing=(17, 18))
    figure = DRAW["step_distance"](tables)
    hollow = [line for line in data_lines(figure.axes[0]) if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 5  # four layers and their mean
    assert all(list(line.get_xdata()) == [19] for line in hollow)
    assert any(text.startswith("hollow:") for text in texts(figure))
    assert not any(text.startswith("hollow:") for text in texts(DRAW["step_distance"](make_tables(4))))
    assert any(text.startswith("hollow:") for text in texts(DRAW["step_distance"](make_tables(12, missing=(17,)))))


def test_zeros_on_a_log_scale_are_marked():
    tables = make_tables(4)

    def edit(values, statuses):
        values[5:8] = 0

    def widen(values, statuses):
        values[1] = 1e6

    tables = with_curve(with_curve(tables, "fc1.weight", "step_distance", edit), "fc2.weight", "step_distance", widen)
    figure = DRAW["step_distance"](tables)
    assert figure.axes[0].get_yscale() == "log"
    assert list(marks(figure.axes[0], ZERO_MARKER)[0].get_xdata()) == [5, 6, 7]
    assert any(text.startswith("exactly 0") for text in texts(figure))
