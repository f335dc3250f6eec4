"""Rows and columns of the weight matrices that consist of zeros alone."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures import remarks
from analyzer.figures.catalog import REPORT
from analyzer.figures.drawing.finding_marks import marks_for
from analyzer.figures.drawing.layer_figure import layer_figure
from analyzer.figures.drawing.layer_table import Panel, is_constant
from analyzer.model.tables import Tables

_PANELS = (
    Panel("dead_row_count", "Rows of zeros", "number", "linear"),
    Panel("dead_column_count", "Columns of zeros", "number", "linear"),
)


@REPORT.figure(
    order=72,
    title="Rows and columns that are zero",
    how_to_read=(
        "How many rows (outputs) and columns (inputs) of each matrix consist of zeros alone. They contribute nothing: "
        "pruned or padded ones stay so from the start, others died in training."
    ),
    remark=remarks.largest("dead_row_count", "number of rows of zeros"),
)
def dead_rows_and_columns(tables: Tables) -> Figure | None:
    """Draw how many rows and columns are zero; nothing if none is."""
    if all(is_constant(tables, panel.metric, 0) for panel in _PANELS):
        return None
    return layer_figure(tables, _PANELS, marks_for(tables, "dead_rows_and_columns"))
