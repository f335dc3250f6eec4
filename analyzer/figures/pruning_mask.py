"""Which weights of each layer are the large ones, and how much they hold."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.layer_figure import layer_figure
from analyzer.figures.layers import Panel
from analyzer.figures.registry import figure
from analyzer.model.run import Tables


@figure(
    order=100,
    title="What pruning by magnitude would keep",
    how_to_read=(
        "Churn is the share of entries that enter or leave the larger half of a layer since the checkpoint before: "
        "once it is low, the layer can be pruned. The others tell which share of ‖W‖² the largest tenth, half and "
        "nine tenths of the entries hold."
    ),
)
def pruning_mask(tables: Tables) -> Figure | None:
    """Draw the churn of the pruning mask and the shares of ‖W‖² in the largest entries of each weight matrix."""
    panels = [
        Panel("mask_churn", "Churn of the mask", "share of entries", "linear"),
        Panel("magnitude_share_10", "In the largest 10 %", "share of ‖W‖²", "linear"),
        Panel("magnitude_share_50", "In the largest 50 %", "share of ‖W‖²", "linear"),
        Panel("magnitude_share_90", "In the largest 90 %", "share of ‖W‖²", "linear"),
    ]
    return layer_figure(tables, panels)
