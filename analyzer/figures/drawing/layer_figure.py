"""The figure of metrics by layer: lines for a few layers, heat maps for many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analyzer.figures.drawing.finding_marks import Mark
from analyzer.figures.drawing.layer_heat_maps import heat_figure
from analyzer.figures.drawing.layer_lines import line_figure
from analyzer.figures.drawing.layer_table import Panel, anything_to_show, layer_names, layer_table, only_zeros
from analyzer.figures.drawing.marked_layers import few_named
from analyzer.figures.drawing.style import LOOKS
from analyzer.model.tables import Tables


def layer_figure(
    tables: Tables,
    panels: Sequence[Panel],
    marks: Sequence[Mark] = (),
    *,
    with_mean: bool = False,
    gaps: bool = False,
    remarks: Sequence[str] = (),
) -> Figure | None:
    """Draw the metric of each panel for every weight matrix, and for the other tensors that a finding is about.

    Args:
        tables: the run.
        panels: the metrics; a panel that would show only zeros is replaced by a note.
        marks: the findings to mark.
        with_mean: whether to add the mean over the layers of the first panel.
        gaps: whether to mark values that are not compared with the checkpoint that should come before.
        remarks: further notes to write under the panels.

    Returns:
        The figure, None if there is nothing to show.
    """
    names = layer_names(tables, panels, few_named(marks))
    layers = [layer_table(tables, panel, names) for panel in panels]
    if not anything_to_show(layers):
        return None
    shown = [table for table in layers if not only_zeros(table)]
    if shown:
        zeros = [f"{table.panel.name}: 0 everywhere, not drawn" for table in layers if only_zeros(table)]
        remarks = [*zeros, *remarks]
        layers = shown
    mean = tables.curves.get(("mean", "", layers[0].panel.metric)) if with_mean else None
    if mean is not None and not np.isfinite(mean.values).any():
        mean = None
    draw = line_figure if len(names) <= len(LOOKS) else heat_figure
    return draw(tables, layers, mean, marks, gaps=gaps, remarks=remarks)
