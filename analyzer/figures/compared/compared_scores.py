"""How well the groups of runs did."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.comparison import Comparison
from analyzer.figures.compared.registry import compared_figure
from analyzer.figures.compared.strands import strands_figure

_CHOICES = (
    ("test_accuracy", "eval_accuracy", "accuracy"),
    ("train_accuracy",),
    ("test_loss", "eval_loss", "loss", "train_loss"),
)
_MOST = 3


@compared_figure(
    title="Accuracy and loss, compared",
    how_to_read=(
        "Where bands lie apart, even the luckiest seed of one does not reach the unluckiest of the other. "
        "Bands that lie over each other at the end tell that a difference early on did not last."
    ),
)
def compared_scores(comparison: Comparison) -> Figure | None:
    """Draw test accuracy, training accuracy and loss, or the first scores that the runs have."""
    scores = [one.name for one in comparison.quantities if one.is_score]
    chosen = [name for names in _CHOICES for name in [next((one for one in names if one in scores), None)] if name]
    return strands_figure(comparison, chosen or scores[:_MOST])
