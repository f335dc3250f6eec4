"""The figure of metrics by layer: lines for a few layers, heat maps for many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analyzer.figures.drawing.layer_heat_maps import heat_figure
from analyzer.figures.drawing.layer_lines import line_figure
from analyzer.figures.drawing.layer_table import Panel, anything_to_show, layer_names, layer_table, only_zeros
from analyzer.figures.drawing.style import LOOKS
from analyzer.model.tables import Tables

MAX_LINES = len(LOOKS)


def layer_figure(
    tables: Tables,
    panels: Sequence[Panel],
    *,
    with_mean: bool = False,
    gaps: bool = False,
    remarks: Sequence[str] = (),
) -> Figure | None:
    """Draw the metric of each panel for every weight matrix.

    Args:
        tables: the run.
        panels: the metrics; a panel that would show only zeros is replaced by a note.
        with_mean: whether to add the mean over the layers of the first panel.
        gaps: whether to mark values that are not compared with the checkpoint that should come before.
        remarks: further notes to write under the panels.

    Returns:
        The figure, None if there is nothing to show.
    """
    names = layer_names(tables, panels)
    layers = [layer_table(tables, panel, names) for panel in panels]
    if not anything_to_show(layers):
        return None
    empty = [only_zeros(table) for table in layers]
    if not all(empty):
        zeros = [f"{panel.name}: 0 everywhere, not drawn" for panel, zero in zip(panels, empty, strict=True) if zero]
        remarks = [*zeros, *remarks]
        panels = [panel for panel, zero in zip(panels, empty, strict=True) if not zero]
        layers = [table for table, zero in zip(layers, empty, strict=True) if not zero]
    mean = tables.curves.get(("mean", "", panels[0].metric)) if with_mean else None
    if mean is not None and not np.isfinite(mean.values).any():
        mean = None
    draw = line_figure if len(names) <= MAX_LINES else heat_figure
    return draw(tables, panels, layers, mean, gaps=gaps, remarks=remarks)
