"""The share of the elements of each layer that change from one checkpoint to the next."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures import remarks
from analyzer.figures.catalog import REPORT
from analyzer.figures.drawing.finding_marks import marks_for
from analyzer.figures.drawing.layer_figure import layer_figure
from analyzer.figures.drawing.layer_table import Panel, is_constant
from analyzer.model.tables import Tables

_PANEL = Panel("changed_fraction", "Elements that changed", "share of all", "linear")


@REPORT.figure(
    order=78,
    title="Share of the weights that change",
    how_to_read=(
        "The share of a layer's elements of which any bit differs from the previous checkpoint: usually 1. Less means "
        "that updates are lost in the rounding of the storage, or that units or whole layers do not learn."
    ),
    remark=remarks.smallest("changed_fraction", "share of elements that change"),
)
def changed_fraction(tables: Tables) -> Figure | None:
    """Draw the share of elements that changed; nothing if all always did."""
    if is_constant(tables, "changed_fraction", 1):
        return None
    return layer_figure(tables, [_PANEL], marks_for(tables, "changed_fraction"), gaps=True)
