"""Accuracy and condition number of the groups of runs against the length of their path."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.catalog import compared_figure
from analyzer.figures.compared.group_lines import group_figure
from analyzer.model.comparison import Comparison
from analyzer.model.score_names import accuracies

_PATH_LENGTH = "path_length"


@compared_figure(
    order=50,
    title="Accuracy and conditioning along the path",
    how_to_read=(
        "The same runs, aligned by the distance that their weights have traveled instead of by time, as far as all "
        "runs of a group got. Curves that coincide here differ in speed, not in the path they take."
    ),
)
def accuracy_along_path(comparison: Comparison) -> Figure | None:
    """Draw accuracy and the condition number against the path length."""
    scores = (quantity.name for quantity in comparison.quantities if quantity.is_score)
    return group_figure(comparison, [*accuracies(scores)[:1], "condition_number"], along=_PATH_LENGTH)
