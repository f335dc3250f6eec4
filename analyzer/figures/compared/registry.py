"""What a figure of a comparison is: its name, how it is read and how it is drawn."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

from matplotlib.figure import Figure

from analyzer.figures.sheet import draw_head
from analyzer.figures.style import house_style
from analyzer.model.comparison import Comparison

Draw = Callable[[Comparison], Figure | None]


@dataclass(frozen=True, slots=True)
class ComparedFigure:
    """A figure of a comparison; the fields are those of :class:`analyzer.figures.registry.FigureSpec`.

    ``of_groups`` is to be read, too, where a group has several runs, and so a mean and a band.
    """

    name: str
    title: str
    how_to_read: str
    draw: Draw
    of_groups: str = ""

    def of(self, comparison: Comparison) -> ComparedFigure:
        """The figure with all that a reader of this comparison needs to be told in ``how_to_read``."""
        with_groups = self.of_groups and any(len(group.independent) > 1 for group in comparison.groups)
        return replace(self, how_to_read=f"{self.how_to_read} {self.of_groups}") if with_groups else self


def compared_figure(*, title: str, how_to_read: str, of_groups: str = "") -> Callable[[Draw], ComparedFigure]:
    """Make a figure of the decorated function, which gives None where there is nothing to show."""

    def make(function: Draw) -> ComparedFigure:
        @functools.wraps(function)
        def draw(comparison: Comparison) -> Figure | None:
            with house_style():
                drawn = function(comparison)
                if drawn is not None:
                    draw_head(drawn, title, f"{len(comparison.runs)} runs")
                return drawn

        return ComparedFigure(function.__name__, title, how_to_read, draw, of_groups)

    return make
