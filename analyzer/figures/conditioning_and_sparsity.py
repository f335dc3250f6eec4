"""Condition number and sparsity side by side, because the one is often taken for the other."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.condition_number import CONDITION_NUMBER
from analyzer.figures.layer_figure import layer_figure
from analyzer.figures.layers import Panel
from analyzer.figures.registry import figure
from analyzer.model.run import Tables


@figure(
    order=70,
    title="Condition number beside the share of zero weights",
    how_to_read=(
        "A high condition number says that some directions of a matrix are weak, not that its weights are "
        "zero. Where the layer is sparse as well, the shares of zero and near-zero weights (below a "
        "thousandth of their root mean square) rise with it."
    ),
)
def conditioning_and_sparsity(tables: Tables) -> Figure | None:
    """Draw κ, the share of exact zeros and the share of near-zero weights of each weight matrix."""
    panels = [
        CONDITION_NUMBER,
        Panel("zero_fraction", "Weights that are zero", "share of all", "linear"),
        Panel("near_zero_fraction", "Weights near zero", "share below 10⁻³ rms", "linear"),
    ]
    return layer_figure(tables, panels)
