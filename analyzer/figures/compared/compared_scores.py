"""Accuracy and loss of the groups of runs."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.catalog import compared_figure
from analyzer.figures.compared.group_lines import group_figure
from analyzer.model.comparison import Comparison
from analyzer.model.score_names import accuracies, is_training, losses

_MAX_SCORES = 3


@compared_figure(
    order=20,
    title="Accuracy and loss, compared",
    how_to_read=(
        "The scores that the runs recorded. If lines separate early and meet again, the difference did not last."
    ),
    how_to_read_groups=(
        "If two bands do not overlap, every run of one group is better than every run of the other; if they overlap, "
        "the seed alone may explain the difference."
    ),
)
def compared_scores(comparison: Comparison) -> Figure | None:
    """Draw test accuracy, training accuracy and loss, or the first scores if there are none of these."""
    scores = [quantity.name for quantity in comparison.quantities if quantity.is_score]
    named_accuracies = accuracies(scores)
    kinds = (
        [name for name in named_accuracies if not is_training(name)],
        [name for name in named_accuracies if is_training(name)],
        losses(scores),
    )
    chosen = [names[0] for names in kinds if names]
    return group_figure(comparison, chosen or scores[:_MAX_SCORES])
