"""The figure of one metric of chosen tensors, for the Python API."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from analyzer.figures.drawing.labels import fitted
from analyzer.figures.drawing.layer_content import LayerContent
from analyzer.figures.drawing.layer_heat_maps import heat_figure
from analyzer.figures.drawing.layer_lines import line_figure
from analyzer.figures.drawing.layer_table import Panel, layer_table
from analyzer.figures.drawing.sheet import draw_head
from analyzer.figures.drawing.style import LABEL_SIZE, LOOKS, house_style
from analyzer.model.tables import Tables

_UNIT_WIDTH = 300.0  # points


def metric_figure(tables: Tables, metric: str, names: Sequence[str]) -> Figure:
    """Draw one metric of some tensors through time: as lines, or as a heat map if they are many.

    Args:
        tables: the run.
        metric: one of its metrics.
        names: the tensors, in the order in which they are drawn.
    """
    row = tables.metrics[metric]
    title = metric.replace("_", " ")
    panel = Panel(metric, title, fitted(row.unit, _UNIT_WIDTH, LABEL_SIZE), "positive")
    draw = line_figure if len(names) <= len(LOOKS) else heat_figure
    with house_style():
        figure = draw(LayerContent(tables, [layer_table(tables, panel, tuple(names))]))
        draw_head(figure, title, tables.run)
    return figure
