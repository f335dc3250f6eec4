"""The figures of a comparison that show a few quantities for every group of runs."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.catalog import COMPARISON, FigureSpec
from analyzer.figures.compared.group_lines import group_figure
from analyzer.model.comparison import Comparison
from analyzer.model.score_names import accuracies, is_training, losses

_MAX_SCORES = 3


def _scores(comparison: Comparison) -> Figure | None:
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


def _motion(comparison: Comparison) -> Figure | None:
    return group_figure(comparison, ["initial_distance", "relative_initial_distance", "path_length"])


def _shape(comparison: Comparison) -> Figure | None:
    return group_figure(comparison, ["condition_number", "effective_rank", "stable_rank"])


def _along_path(comparison: Comparison) -> Figure | None:
    scores = (quantity.name for quantity in comparison.quantities if quantity.is_score)
    return group_figure(comparison, [*accuracies(scores)[:1], "condition_number"], along="path_length")


QUANTITY_FIGURES = (
    FigureSpec(
        name="compared_scores",
        order=20,
        title="Accuracy and loss, compared",
        how_to_read=(
            "The scores that the runs recorded. If lines separate early and meet again, the difference did not last."
        ),
        how_to_read_groups=(
            "If two bands do not overlap, every run of one group is better than every run of the other; if they "
            "overlap, the seed alone may explain the difference."
        ),
        draw=_scores,
    ),
    FigureSpec(
        name="compared_motion",
        order=30,
        title="How far the weights moved, compared",
        how_to_read=(
            "The distance from the first checkpoint is a straight line, also shown as a share of the norm of the "
            "first weights; the path length adds up every step. If the path length grows while the distance does not, "
            "the weights wander."
        ),
        draw=_motion,
    ),
    FigureSpec(
        name="compared_shape",
        order=40,
        title="Conditioning and rank, compared",
        how_to_read=(
            "A condition number of 1 means that all directions are stretched alike; it is averaged over the weight "
            "matrices as a logarithm, so that a single badly conditioned matrix does not dominate. The ranks estimate "
            "how many directions the matrices use."
        ),
        draw=_shape,
    ),
    FigureSpec(
        name="accuracy_along_path",
        order=50,
        title="Accuracy and conditioning along the path",
        how_to_read=(
            "The same runs, aligned by the distance that their weights have traveled instead of by time, as far as "
            "all runs of a group got. Curves that coincide here differ in speed, not in the path they take."
        ),
        draw=_along_path,
    ),
)

for _spec in QUANTITY_FIGURES:
    COMPARISON.add(_spec)
