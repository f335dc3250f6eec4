"""What a figure of a comparison is: its name, how it is read and how it is drawn."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from analyzer.comparison import Comparison
from analyzer.figures.sheet import draw_head
from analyzer.figures.style import house_style

Draw = Callable[[Comparison], Figure | None]


@dataclass(frozen=True, slots=True)
class ComparedFigure:
    """A figure of a comparison; the fields are those of :class:`analyzer.figures.registry.FigureSpec`."""

    name: str
    title: str
    how_to_read: str
    draw: Draw


def compared_figure(*, title: str, how_to_read: str) -> Callable[[Draw], ComparedFigure]:
    """Make a figure of the decorated function, which gives None where there is nothing to show."""

    def make(function: Draw) -> ComparedFigure:
        @functools.wraps(function)
        def draw(comparison: Comparison) -> Figure | None:
            with house_style():
                drawn = function(comparison)
                if drawn is not None:
                    draw_head(drawn, title, f"{len(comparison.runs)} runs")
                return drawn

        return ComparedFigure(function.__name__, title, how_to_read, draw)

    return make
