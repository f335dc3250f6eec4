"""Whether the leading directions of each layer stay the same."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.layer_figure import layer_figure
from analyzer.figures.layers import Panel
from analyzer.figures.registry import figure
from analyzer.model.run import Tables


@figure(
    order=80,
    title="How far the leading directions of each layer turn",
    how_to_read=(
        "The mean squared cosine between a layer's k = 8 leading singular directions and those of an earlier "
        "checkpoint: 1 where they are the same, about k/n for n directions in all where only chance has them overlap. "
        "Where they do not stand out from the directions after them, there is no number."
    ),
)
def subspace_overlap(tables: Tables) -> Figure | None:
    """Draw the overlap of the leading singular subspaces with the checkpoint before and with the first one."""
    panels = [
        Panel("overlap_previous", "Overlap with the previous one", "mean cos², 1 = the same", "linear"),
        Panel("overlap_initial", "Overlap with the first one", "mean cos², 1 = the same", "linear"),
    ]
    return layer_figure(tables, panels)
