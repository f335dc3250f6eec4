"""The map of the distances between checkpoints."""

from __future__ import annotations

import dataclasses

import numpy as np
from figure_parts import DRAW
from figure_tables import make_tables
from matplotlib.image import AxesImage

from analyzer.figures.drawing.colors import color_scale
from analyzer.model.run import Finding

TABLES = make_tables(4, 12)


def maps(figure) -> list[AxesImage]:
    return [image for axes in figure.axes for image in axes.get_images() if image.get_array().shape[0] > 1]


def test_each_cell_has_the_color_of_the_distance_of_two_checkpoints():
    distances = TABLES.trajectory.distances
    expected = color_scale(distances, "linear").colors(distances)
    shown = maps(DRAW["checkpoint_distances"](TABLES))[0].get_array()
    assert np.array_equal(shown, expected)
    assert not np.array_equal(shown[0], shown[-1])


def test_the_start_has_no_direction_from_itself():
    cosines = maps(DRAW["checkpoint_distances"](TABLES))[1].get_array()
    assert not cosines[0, :, 3].any() and not cosines[:, 0, 3].any() and cosines[1:, 1:, 3].all()


def test_a_finding_is_marked_in_rows_and_columns():
    finding = Finding("r", "warning", "It is so.", checkpoints=("epoch_4.safetensors",), figure="checkpoint_distances")
    figure = DRAW["checkpoint_distances"](dataclasses.replace(TABLES, findings=(finding,)))
    lines = [line for axes in figure.axes for line in axes.get_lines() if line.get_gid() == "finding-1"]
    across = {line.get_ydata()[0] for line in lines if list(line.get_xdata()) == [0, 1]}
    down = {line.get_xdata()[0] for line in lines if list(line.get_ydata()) == [0, 1]}
    assert across == down == {3.5, 4.5}


def test_missing_checkpoints_leave_a_gap():
    tables = make_tables(4, 12, missing=(5,))
    assert maps(DRAW["checkpoint_distances"](tables))[0].get_array().shape == (13, 13, 4)
