"""Sheets: places in inches, and a head that has room for the run's name or leaves it out."""

from __future__ import annotations

import io

import numpy as np
import pytest
from figure_parts import texts
from PIL import Image

from analyzer.figures.drawing.sheet import WIDTH, draw_head, new_sheet, place, render_png, size_of
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


def test_a_png_has_a_palette_in_which_areas_keep_their_colors_and_edges_nearly():
    drawn = new_sheet(2.0)
    axes = place(drawn, 0, 0, WIDTH, 2.0)
    axes.set_axis_off()
    shades = np.linspace(0, 1, 400)
    axes.imshow(np.stack([shades, 1 - shades, shades**2], axis=-1)[None], aspect="auto", extent=(0, 1, 0, 0.5))
    for left, color in ((0.0, "#f7e9e8"), (0.5, "#fdf0e8")):  # pale bands of findings, nearly alike
        axes.fill_between([left, left + 0.5], 0.5, 1.0, color=color, linewidth=0)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    image = Image.open(io.BytesIO(render_png(drawn)))
    assert image.mode == "P"
    raw = io.BytesIO()
    drawn.savefig(raw, format="png", dpi=150)
    found, wanted = (np.asarray(one.convert("RGB")).astype(int) for one in (image, Image.open(raw)))
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 8
    upper = slice(5, 140)
    assert (found[upper] == wanted[upper]).all()
