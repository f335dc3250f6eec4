"""What the groups of runs made of the way that they went."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.comparison import Comparison
from analyzer.figures.compared.registry import compared_figure
from analyzer.figures.compared.strands import strands_figure

_ACCURACIES = ("test_accuracy", "eval_accuracy", "accuracy", "train_accuracy")
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
    known = {one.name for one in comparison.quantities}
    accuracy = next((name for name in _ACCURACIES if name in known), None)
    return strands_figure(comparison, [*([accuracy] if accuracy else []), "condition_number"], along=_PATH)
