"""The figures that show one or a few metrics for every weight matrix."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from analyzer.figures import remarks
from analyzer.figures.catalog import REPORT, FigureSpec
from analyzer.figures.drawing.derived_values import relative_growth, share_outside
from analyzer.figures.drawing.finding_marks import marks_for
from analyzer.figures.drawing.labels import fitted
from analyzer.figures.drawing.layer_figure import layer_figure
from analyzer.figures.drawing.layer_table import Panel
from analyzer.figures.drawing.style import LABEL_SIZE
from analyzer.model.tables import Tables

_BUILT_IN = frozenset(
    ("motion", "trajectory", "size", "spectrum", "tail", "random_matrix", "subspace", "update", "pruning")
)
_MAX_PANELS, _WIDTH = 3, 340.0  # the width is in points, for the names of all panels side by side


def _by_layer(
    name: str,
    *panels: Panel,
    with_mean: bool = False,
    gaps: bool = False,
    min_checkpoints: int = 1,
) -> Callable[[Tables], Figure | None]:
    """Return the function that draws each panel's metric for every weight matrix.

    Args:
        name: the figure's name.
        panels: the metrics, one panel each.
        with_mean: whether to add the mean over the layers to the first panel.
        gaps: whether to mark steps over missing checkpoints.
        min_checkpoints: draw nothing for fewer checkpoints.
    """

    def draw(tables: Tables) -> Figure | None:
        if len(tables.checkpoints) < min_checkpoints:
            return None
        return layer_figure(tables, panels, marks_for(tables, name), with_mean=with_mean, gaps=gaps)

    return draw


def _own_metrics(tables: Tables) -> Figure | None:
    """Draw the metrics of families that are not built in, as many as fit."""
    own = [row for row in tables.metrics.values() if row.family not in _BUILT_IN]
    own = [row for row in own if any(metric == row.name for _, _, metric in tables.curves)]
    shown = own[:_MAX_PANELS]
    room = min(_WIDTH / max(1, len(shown)), _WIDTH / 2)
    panels = [
        Panel(row.name, fitted(row.name, room, LABEL_SIZE), fitted(row.unit, room, LABEL_SIZE), "linear")
        for row in shown
    ]
    more = [f"{len(own) - len(shown)} more are in measurements.csv"] if len(own) > len(shown) else []
    return layer_figure(tables, panels, remarks=more) if panels else None


_NOISE = 0.01  # a share of zeros up to this is no sparsity: one near-zero entry of 160 is chance
_NORM = "Frobenius norm, in weight units"

LAYER_FIGURES = (
    FigureSpec(
        name="step_distance",
        order=20,
        title="How far each layer moved, step by step",
        how_to_read=(
            "Each value is the Frobenius norm of the change in a layer's weights since the previous checkpoint. "
            "Layers with more weights move further, so compare a layer with itself over time rather than with others."
        ),
        remark=remarks.departure("step_distance", "step distance"),
        draw=_by_layer(
            "step_distance",
            Panel("step_distance", "Step distance ‖Wₜ − Wₜ₋₁‖", _NORM, "positive", "start"),
            with_mean=True,
            gaps=True,
        ),
    ),
    FigureSpec(
        name="condition_number",
        order=30,
        title="Condition number of each layer",
        how_to_read=(
            "The condition number is the largest singular value of a matrix divided by the smallest: at 1 all "
            "directions are stretched alike; at 1000 some are a thousand times weaker than others. Singular matrices "
            "have no condition number and are only marked."
        ),
        remark=remarks.largest("condition_number", "condition number"),
        draw=_by_layer(
            "condition_number", Panel("condition_number", "Condition number κ = σ₁/σₙ", "a ratio", "log", "start")
        ),
    ),
    FigureSpec(
        name="initial_distance",
        order=50,
        title="How far each layer is from where it started",
        how_to_read=(
            "Each value is the Frobenius norm of the difference between a layer's weights and those of the first "
            "checkpoint found. A flat curve means that the layer has settled, or that it moves around at a constant "
            "distance."
        ),
        remark=remarks.largest("initial_distance", "distance from the start"),
        draw=_by_layer(
            "initial_distance",
            Panel("initial_distance", "Distance from the start ‖Wₜ − W₀‖", _NORM, "positive", "range"),
            min_checkpoints=2,  # a single checkpoint is W₀ itself
        ),
    ),
    FigureSpec(
        name="norm",
        order=56,
        title="Norm of each layer",
        how_to_read=(
            "Each value is the length of all of a layer's weights together as one vector (Frobenius norm). It grows "
            "as a layer learns and shrinks with weight decay; a jump between two checkpoints is neither."
        ),
        remark=remarks.departure("frobenius_norm", "norm"),
        draw=_by_layer("norm", Panel("frobenius_norm", "Norm ‖Wₜ‖", _NORM, "positive", "start")),
    ),
    FigureSpec(
        name="rank",
        order=60,
        title="Effective and stable rank of each layer",
        how_to_read=(
            "Both estimate how many directions a matrix really uses: the effective rank (Roy and Vetterli 2007) is the "
            "exponential of the entropy of all singular values, the stable rank is ‖W‖²/σ₁² and is low if one "
            "direction dominates. Falling curves mean that the layer concentrates on fewer directions."
        ),
        remark=remarks.departure("stable_rank", "stable rank"),
        draw=_by_layer(
            "rank",
            Panel("effective_rank", "Effective rank", "number of directions", "linear", "start"),
            Panel("stable_rank", "Stable rank ‖W‖²/σ₁²", "number of directions", "linear", "start"),
        ),
    ),
    FigureSpec(
        name="alpha",
        order=64,
        title="Exponent of the tail of each layer's spectrum",
        how_to_read=(
            "Alpha is the exponent of a power law fitted to the largest squared singular values: usually 2 to 6 in "
            "well-trained networks, more means a lighter tail and less structure (Martin, Peng and Mahoney 2021). "
            "For small matrices it rests on few values and is uncertain."
        ),
        remark=remarks.smallest("alpha", "alpha (heaviest tail)"),
        draw=_by_layer(
            "alpha",
            Panel("alpha", "Alpha, tail chosen by fit", "exponent", "positive"),
            Panel("alpha_hill", "Alpha by Hill's estimator, upper half", "exponent", "positive"),
        ),
    ),
    FigureSpec(
        name="outliers",
        order=66,
        title="Directions that stand out from noise",
        how_to_read=(
            "How many singular values of a layer are larger than those of random noise of the same scale (beyond the "
            "Marchenko–Pastur edge), and how much of ‖W‖² they carry. Random weights have none or one; training adds "
            "them as the layer learns."
        ),
        remark=remarks.outliers,
        draw=_by_layer(
            "outliers",
            Panel("mp_outlier_count", "Singular values above the noise", "number", "linear"),
            Panel("mp_outlier_count", "Carried by these", "share of ‖W‖²", "linear", derive=share_outside),
        ),
    ),
    FigureSpec(
        name="sparsity",
        order=70,
        title="Zero and near-zero weights",
        how_to_read=(
            "The shares of a layer's weights that are exactly zero, or near zero (below a thousandth of their root "
            "mean square). A high condition number is something else: it means that some directions of a matrix are "
            "weak, not that its weights are zero."
        ),
        remark=remarks.largest("zero_fraction", "share of zeros"),
        draw=_by_layer(
            "sparsity",
            Panel("zero_fraction", "Weights that are zero", "share of all", "linear", floor=_NOISE),
            Panel("near_zero_fraction", "Weights near zero", "share below 10⁻³ rms", "linear", floor=_NOISE),
        ),
    ),
    FigureSpec(
        name="rotation_and_growth",
        order=74,
        title="How much each step turns and lengthens the weights",
        how_to_read=(
            "A step splits into a part that turns a layer's weights, shown as an angle, and one that lengthens (above "
            "0) or shortens them, shown relative to their norm; for small steps both are shares of the norm and can be "
            "compared. Layers in front of a normalization respond to the turn alone."
        ),
        remark=remarks.departure("frobenius_norm", "norm"),
        draw=_by_layer(
            "rotation_and_growth",
            Panel("rotation", "Turned by", "radians per step", "positive", "start"),
            Panel("norm_change", "Lengthened by", "share of the norm per step", "linear", derive=relative_growth),
            gaps=True,
        ),
    ),
    FigureSpec(
        name="update_cosine",
        order=76,
        title="Whether each layer keeps its direction",
        how_to_read=(
            "The cosine between a layer's step and the one before. Above 0 the motion continues, below 0 it turns "
            "back; about 0 the steps are unrelated, as those of noise are."
        ),
        remark=remarks.direction,
        draw=_by_layer(
            "update_cosine", Panel("update_cosine", "Cosine of consecutive steps", "1 = straight on", "linear")
        ),
    ),
    FigureSpec(
        name="subspace_overlap",
        order=80,
        title="How far the leading directions of each layer turn",
        how_to_read=(
            "The mean squared cosine between the k = 8 leading singular directions of a layer and those of an earlier "
            "checkpoint: 1 if they are the same, about k/n if they overlap only by chance (n is the number of all "
            "directions). There is no value where the leading directions do not stand out from the next ones."
        ),
        remark=remarks.smallest("overlap_initial", "overlap with the first checkpoint"),
        draw=_by_layer(
            "subspace_overlap",
            Panel("overlap_previous", "Overlap with the previous checkpoint", "mean cos², 1 = the same", "linear"),
            Panel("overlap_initial", "Overlap with the first checkpoint", "mean cos², 1 = the same", "linear"),
        ),
    ),
    FigureSpec(
        name="update_rank",
        order=90,
        title="Effective and stable rank of each layer's update",
        how_to_read=(
            "The ranks of the change in a layer since the previous checkpoint, not of the layer itself. A low rank "
            "for a large matrix means that a low-rank update would have been enough."
        ),
        remark=remarks.smallest("update_stable_rank", "stable rank of the update"),
        draw=_by_layer(
            "update_rank",
            Panel("update_effective_rank", "Effective rank of the update", "number of directions", "linear", "start"),
            Panel("update_stable_rank", "Stable rank of the update", "number of directions", "linear", "start"),
        ),
    ),
    FigureSpec(
        name="pruning_mask",
        order=100,
        title="What pruning by magnitude would keep",
        how_to_read=(
            "Churn is the share of entries that entered or left the larger half of a layer since the previous "
            "checkpoint; once it is low, the layer can be pruned. The other panels show which share of ‖W‖² is in the "
            "largest 10, 50 and 90 % of the entries."
        ),
        remark=remarks.largest("mask_churn", "churn of the mask"),
        draw=_by_layer(
            "pruning_mask",
            Panel("mask_churn", "Churn of the mask", "share of entries", "linear"),
            Panel("magnitude_share_10", "In the largest 10 %", "share of ‖W‖²", "linear"),
            Panel("magnitude_share_50", "In the largest 50 %", "share of ‖W‖²", "linear"),
            Panel("magnitude_share_90", "In the largest 90 %", "share of ‖W‖²", "linear"),
        ),
    ),
    FigureSpec(
        name="own_metrics",
        order=110,
        title="Your own metrics",
        how_to_read=(
            "The values that your own metric functions return for each layer. Their definitions are in the table of "
            "metrics at the end of the page."
        ),
        draw=_own_metrics,
    ),
)

for _spec in LAYER_FIGURES:
    REPORT.add(_spec)
