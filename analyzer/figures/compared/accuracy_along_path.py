"""What the groups of runs made of the way that they went."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.compared.registry import compared_figure
from analyzer.figures.compared.strands import strands_figure
from analyzer.model.comparison import Comparison
from analyzer.model.score_names import accuracies

_PATH = "path_length"


@compared_figure(
    title="Accuracy and conditioning along the path",
    how_to_read=(
        "The same runs, aligned by how far their weights have travelled instead of by time, as far as all runs of a "
        "group went. Curves that come together here differ in speed, not in the way they go."
    ),
)
def accuracy_along_path(comparison: Comparison) -> Figure | None:
    """Draw accuracy and the condition number against the path length."""
    accuracy = accuracies(one.name for one in comparison.quantities if one.is_score)[:1]
    return strands_figure(comparison, [*accuracy, "condition_number"], along=_PATH)
