"""The columns of a heat map."""

from __future__ import annotations

from figure_tables import make_tables

from analyzer.figures.drawing.checkpoint_axis import checkpoint_axis
from analyzer.figures.drawing.heat_cells import cells


def test_cells_of_uneven_steps_touch():
    edges, columns = cells(checkpoint_axis(make_tables(4, 5, axis=[0, 1, 2, 4, 8])))
    assert columns == [0, 1, 2, 3, 4]
    assert list(edges) == [-0.5, 0.5, 1.5, 3, 6, 10]
