"""The metrics that the user declared."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.labels import fitted
from analyzer.figures.layer_figure import layer_figure
from analyzer.figures.layers import Panel
from analyzer.figures.registry import figure
from analyzer.figures.style import LABEL_SIZE
from analyzer.model.run import Tables

_BUILT_IN = frozenset({"motion", "size", "spectrum", "tail", "random_matrix", "subspace", "update", "pruning"})
_MOST_PANELS = 3
_WIDTH = 340.0  # points for the names of all panels side by side


@figure(
    order=110,
    title="Metrics of your own",
    how_to_read=(
        "What the functions of your own give for each layer. Their definitions are in the list of metrics at the "
        "end of the page."
    ),
)
def own_metrics(tables: Tables) -> Figure | None:
    """Draw each metric of a family that is not built in, as many as fit."""
    own = [row for row in tables.metrics.values() if row.family not in _BUILT_IN]
    own = [row for row in own if any(metric == row.name for _, _, metric in tables.curves)]
    shown = own[:_MOST_PANELS]
    room = min(_WIDTH / max(1, len(shown)), _WIDTH / 2)
    panels = [
        Panel(row.name, fitted(row.name, room, LABEL_SIZE), fitted(row.unit, room, LABEL_SIZE), "linear")
        for row in shown
    ]
    more = [f"{len(own) - len(shown)} more are in measurements.csv"] if len(own) > len(shown) else []
    return layer_figure(tables, panels, remarks=more) if panels else None
