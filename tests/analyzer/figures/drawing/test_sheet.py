"""Sheets: places in inches, and a head that has room for the run's name or leaves it out."""

from __future__ import annotations

import pytest
from figure_parts import texts

from analyzer.figures.drawing.sheet import WIDTH, draw_head, new_sheet, place, size_of
from analyzer.figures.drawing.style import house_style


def test_axes_have_the_place_and_size_that_they_are_given():
    drawn = new_sheet(4.0)
    axes = place(drawn, 1.0, 0.5, 3.0, 2.0)
    assert size_of(axes) == pytest.approx((3.0, 2.0))
    box = axes.get_position()
    assert (box.x0 * WIDTH, (1 - box.y1) * 4.0) == pytest.approx((1.0, 0.5))


@pytest.mark.parametrize(("title", "shown"), [("A title", True), ("W" * 60, False)])
def test_the_name_of_the_run_is_left_out_if_there_is_no_room(title, shown):
    with house_style():
        drawn = new_sheet(2.0)
        draw_head(drawn, title, "my run")
    assert texts(drawn) == ([title, "my run"] if shown else [title])
