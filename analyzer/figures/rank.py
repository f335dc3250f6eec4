"""How many directions of each layer carry weight."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.layer_figure import layer_figure
from analyzer.figures.layers import Panel
from analyzer.figures.registry import figure
from analyzer.model.run import Tables


@figure(
    order=60,
    title="Effective and stable rank of each layer",
    how_to_read=(
        "Both count, in fractions too, how many directions a matrix really uses: the effective rank weighs "
        "all singular values (exponential of their entropy), the stable rank asks how far the largest one "
        "dominates (‖W‖²/σ₁²). Falling curves mean that the layer comes to rest on fewer directions."
    ),
)
def rank(tables: Tables) -> Figure | None:
    """Draw the effective rank (Roy and Vetterli 2007) and the stable rank of each weight matrix."""
    panels = [
        Panel("effective_rank", "Effective rank", "number of directions", "linear"),
        Panel("stable_rank", "Stable rank ‖W‖²/σ₁²", "number of directions", "linear"),
    ]
    return layer_figure(tables, panels)
