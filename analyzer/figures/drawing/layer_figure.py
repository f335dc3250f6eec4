"""The figure of metrics by layer: lines for a few layers, a heat map of rows for more, tiles of roles for many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analyzer.figures.drawing.finding_marks import Mark
from analyzer.figures.drawing.layer_content import LayerContent
from analyzer.figures.drawing.layer_heat_maps import heat_figure
from analyzer.figures.drawing.layer_lines import line_figure
from analyzer.figures.drawing.layer_table import LayerTable, Panel, has_content, is_negligible, layer_names, layer_table
from analyzer.figures.drawing.marked_layers import few_named
from analyzer.figures.drawing.role_maps import role_figure, role_tiles
from analyzer.figures.drawing.style import LOOKS
from analyzer.model.tables import Tables

_MOST_ROWS = 45  # of a heat map that is one screen high and names every row


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
        panels: the metrics; one that would look empty is replaced by a note.
        marks: the findings to mark.
        with_mean: whether to add the mean over the layers of the first panel.
        gaps: whether to mark values that are not compared with the checkpoint that should come before.
        remarks: further notes to write under the panels.

    Returns:
        The figure, None if there is nothing to show.
    """
    names = layer_names(tables, panels, few_named(marks))
    every = (layer_table(tables, panel, names) for panel in panels)
    layers = [table for table in every if has_content(table)]
    if not layers:
        return None
    empty = [table for table in layers if is_negligible(table)]
    if len(empty) < len(layers):
        layers = [table for table in layers if not is_negligible(table)]
        remarks = [*map(_empty_note, empty), *remarks]
    elif any(table.panel.floor for table in layers):
        return None
    mean = tables.curves.get(("mean", "", layers[0].panel.metric)) if with_mean else None
    if mean is not None and not np.isfinite(mean.values).any():
        mean = None
    content = LayerContent(tables, layers, mean, marks, gaps, remarks)
    if len(names) <= len(LOOKS):
        return line_figure(content)
    if len(names) > _MOST_ROWS and (tiles := role_tiles(names)):
        return role_figure(content, tiles)
    return heat_figure(content)


def _empty_note(table: LayerTable) -> str:
    largest = float(np.nanmax(np.abs(table.values)))
    return f"{table.panel.name}: {f'at most {100 * largest:.2g} %' if largest else '0 everywhere'}, not drawn"
