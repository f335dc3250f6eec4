"""Heat maps by layer: missing cells and pooled cells."""

from __future__ import annotations

import numpy as np
from figure_parts import DRAW, texts
from figure_tables import make_tables, with_curve, with_marks
from matplotlib.image import AxesImage

from analyzer.figures.drawing.colors import color_scale


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
    brightest = color_scale(np.array([1.0, 1e9]), "log").colors(np.array([1e9]))[0]
    assert (image.get_array()[0] == brightest).all(axis=-1).any()
    assert any("each cell shows the largest" in text for text in texts(figure))
