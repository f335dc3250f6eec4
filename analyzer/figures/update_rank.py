"""How many directions the change of each layer takes."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.layer_figure import layer_figure
from analyzer.figures.layers import Panel
from analyzer.figures.registry import figure
from analyzer.model.run import Tables


@figure(
    order=90,
    title="Effective and stable rank of each layer's update",
    how_to_read=(
        "The ranks of what was added to a layer since the checkpoint before, not of the layer itself. Few directions "
        "for a large matrix mean that a low-rank update would have done."
    ),
)
def update_rank(tables: Tables) -> Figure | None:
    """Draw the effective and the stable rank of Δ_t of each weight matrix."""
    panels = [
        Panel("update_effective_rank", "Effective rank of the update", "number of directions", "linear"),
        Panel("update_stable_rank", "Stable rank of the update", "number of directions", "linear"),
    ]
    return layer_figure(tables, panels)
