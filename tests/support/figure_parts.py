"""The parts of a drawn figure that tests look at: its texts, its lines and its marks."""

from __future__ import annotations

from legibility import drawn_texts
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analyzer.figures import FIGURES
from analyzer.figures.compared import COMPARED

DRAW = {spec.name: spec.draw for spec in FIGURES}
DRAW_COMPARED = {spec.name: spec.draw for spec in COMPARED}


def texts(figure: Figure) -> list[str]:
    """Return the texts that are drawn."""
    return [text.get_text() for text, _ in drawn_texts(figure)]


def data_lines(axes: Axes) -> list[Line2D]:
    """Return the lines of a panel that are drawn in data coordinates."""
    return [line for line in axes.get_lines() if line.get_transform() == axes.transData]


def marks(axes: Axes, marker: str) -> list[Line2D]:
    """Return the marks of a kind that are drawn at the edge of a panel, not in data coordinates."""
    return [line for line in axes.get_lines() if line.get_marker() == marker and line.get_transform() != axes.transData]
