"""The figures of a comparison that show a fixed list of quantities over time, declared as data."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from analyzer.figures.catalog import FigureSpec, add_compared_figure
from analyzer.figures.compared.group_lines import group_figure
from analyzer.model.comparison import Comparison


@dataclass(frozen=True, slots=True)
class QuantityFigure:
    """A figure that draws each quantity for every group of runs, one panel each.

    Attributes:
        name: the stem of the figure's file names.
        order: its position in the comparison.
        title: a few plain words, drawn at the top of the figure.
        how_to_read: the caption, one or two sentences for a newcomer.
        quantities: the names of the quantities.
    """

    name: str
    order: int
    title: str
    how_to_read: str
    quantities: tuple[str, ...]

    def draw(self, comparison: Comparison) -> Figure | None:
        """Return the figure, None if there is nothing to show."""
        return group_figure(comparison, self.quantities)


QUANTITY_FIGURES = (
    QuantityFigure(
        name="compared_motion",
        order=30,
        title="How far the weights moved, compared",
        how_to_read=(
            "The distance from the first checkpoint is a straight line, also shown as a share of the norm of the "
            "first weights; the path length adds up every step. If the path length grows while the distance does not, "
            "the weights wander."
        ),
        quantities=("initial_distance", "relative_initial_distance", "path_length"),
    ),
    QuantityFigure(
        name="compared_shape",
        order=40,
        title="Conditioning and rank, compared",
        how_to_read=(
            "A condition number of 1 means that all directions are stretched alike; it is averaged over the weight "
            "matrices as a logarithm, so that a single badly conditioned matrix does not dominate. The ranks estimate "
            "how many directions the matrices use."
        ),
        quantities=("condition_number", "effective_rank", "stable_rank"),
    ),
)

for _declared in QUANTITY_FIGURES:
    add_compared_figure(
        FigureSpec(_declared.name, _declared.title, _declared.how_to_read, _declared.order, _declared.draw)
    )
