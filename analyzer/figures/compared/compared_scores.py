"""How well the groups of runs did."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.compared.registry import compared_figure
from analyzer.figures.compared.strands import strands_figure
from analyzer.model.comparison import Comparison
from analyzer.model.score_names import accuracies, is_training, losses

_MOST = 3


@compared_figure(
    title="Accuracy and loss, compared",
    how_to_read="Scores as the runs recorded them. Lines that meet again had a difference early on that did not last.",
    of_groups=(
        "Where bands lie apart, even the luckiest seed of one does not reach the unluckiest of the other; where they "
        "lie over each other, the luck of the seed may be all the difference."
    ),
)
def compared_scores(comparison: Comparison) -> Figure | None:
    """Draw test accuracy, training accuracy and loss, or the first scores that the runs have."""
    scores = [one.name for one in comparison.quantities if one.is_score]
    known = accuracies(scores)
    kinds = (
        [name for name in known if not is_training(name)],
        [name for name in known if is_training(name)],
        losses(scores),
    )
    chosen = [names[0] for names in kinds if names]
    return strands_figure(comparison, chosen or scores[:_MOST])
