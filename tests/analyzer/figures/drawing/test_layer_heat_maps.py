"""Heat maps by layer: missing cells and pooled cells."""

from __future__ import annotations

import numpy as np
from figure_parts import DRAW, texts
from figure_tables import make_tables, with_curve, with_marks
from matplotlib.image import AxesImage

from analyzer.figures import render
from analyzer.figures.drawing.colors import ColorScale
from analyzer.figures.drawing.heat_sheet import MAX_HEIGHT


def test_a_heat_map_leaves_cells_without_a_number_empty():
    tables = with_marks(make_tables(12))
    figure = DRAW["condition_number"](tables)
    image = max((axes.images[0] for axes in figure.axes if axes.images), key=lambda i: i.get_array().shape[0])
    assert isinstance(image, AxesImage)
    alpha = image.get_array()[..., 3]
    assert alpha.shape == (12, 51)
    assert list(np.flatnonzero(alpha[0] == 0)) == [3, 4, 5, 6, 7, 8]
    assert list(np.flatnonzero(alpha[-1] == 0)) == [30, 31, 32, 33, 34]
    assert any(text.startswith("hatched:") for text in texts(figure))


def test_the_spike_of_one_checkpoint_among_a_thousand_is_seen():
    tables = make_tables(12, 1999)

    def edit(values, statuses):
        values[777] = 1e9

    figure = DRAW["condition_number"](
        with_curve(tables, "model.layers.0.self_attn.q_proj.weight", "condition_number", edit)
    )
    image = max((axes.images[0] for axes in figure.axes if axes.images), key=lambda i: i.get_array().shape[0])
    reddest = ColorScale((0.5, 2.0), log=True, zeros=False, diverging=True).colormap[-1]
    assert (image.get_array()[0] == reddest).all(axis=-1).any()
    assert any("each cell shows the most extreme" in text for text in texts(figure))


def test_every_row_that_has_room_is_labeled_and_a_map_is_at_most_one_screen_high():
    for layers, every in ((11, True), (40, True), (300, False)):
        names = [f"part{i}.weight" for i in range(layers)]  # without roles
        figure = DRAW["condition_number"](make_tables(names))
        labeled = [text for text in texts(figure) if text.startswith("part")]
        assert (len(labeled) == layers) == every
        assert len(labeled) >= min(layers, 30)
        assert figure.get_size_inches()[1] <= MAX_HEIGHT


def test_the_legend_says_what_colors_are_relative_to():
    said = texts(DRAW["condition_number"](make_tables(12)))
    assert "relative to each layer's start, log scale" in said
    assert any("red is above a layer's first value" in text for text in said)
    assert "share of each layer's largest value" in texts(DRAW["initial_distance"](make_tables(12)))


def test_an_image_in_svg_instead_of_a_rectangle_for_each_cell():
    _, svg = render(DRAW["condition_number"](make_tables(300, 150)))
    assert len(svg) < 500_000
    assert svg.count(b"<path") < 1000
