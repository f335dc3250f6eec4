"""The metrics that the user defined."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.catalog import figure
from analyzer.figures.drawing.labels import fitted
from analyzer.figures.drawing.layer_figure import layer_figure
from analyzer.figures.drawing.layer_table import Panel
from analyzer.figures.drawing.style import LABEL_SIZE
from analyzer.model.tables import Tables

_BUILT_IN = frozenset({"motion", "size", "spectrum", "tail", "random_matrix", "subspace", "update", "pruning"})
_MAX_PANELS = 3
_WIDTH = 340.0  # points for the names of all panels side by side


@figure(
    order=110,
    title="Your own metrics",
    how_to_read=(
        "The values that your own metric functions return for each layer. Their definitions are in the table of "
        "metrics at the end of the page."
    ),
)
def own_metrics(tables: Tables) -> Figure | None:
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
