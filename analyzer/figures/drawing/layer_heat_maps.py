"""Draw many layers as heat maps of layers by checkpoints: one for each metric, side by side, with shared rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.drawing.checkpoint_axis import checkpoint_axis, draw_checkpoint_axis
from analyzer.figures.drawing.colors import draw_color_bar, scale_of
from analyzer.figures.drawing.finding_marks import NUMBERS_HEIGHT, Mark, draw_row_marks, explained, times_only
from analyzer.figures.drawing.heat_cells import POOLED, cells, draw_cells, is_pooled
from analyzer.figures.drawing.heat_sheet import (
    MAX_HEIGHT,
    STRIP,
    STRIP_HEIGHT,
    STRIP_TOP,
    color_notes,
    draw_mean,
    draw_rings,
)
from analyzer.figures.drawing.keys import KeyLine, draw_key, key_height
from analyzer.figures.drawing.labels import short_labels, text_width
from analyzer.figures.drawing.layer_table import LayerTable, gap_steps, notes
from analyzer.figures.drawing.line_panels import FOOT_GAP, LEFT
from analyzer.figures.drawing.sheet import HEAD, MARGIN, WIDTH, new_sheet, place
from analyzer.figures.drawing.style import INK, SMALL_SIZE, plain_axes

if TYPE_CHECKING:
    from analyzer.model.tables import Curve, Tables

_NAME_WIDTH = 150.0  # points for a layer's name
_GAP = 0.5  # inches between panels
_BAR = 0.92  # inches, the height of a color bar with its numbers and its label
_ROW, _MIN_HEIGHT = 0.135, 1.6  # inches: a row, and all rows together
_LABEL_PITCH = 9.2  # points, the least distance from one layer's name to the next


def heat_figure(
    tables: Tables,
    layers: Sequence[LayerTable],
    mean: Curve | None,
    marks: Sequence[Mark],
    *,
    gaps: bool,
    remarks: Sequence[str],
) -> Figure:
    """Draw every layer as a row of a heat map for each panel, at most one screen high.

    Args:
        tables: the run.
        layers: the values of each panel, with the same names in all of them.
        mean: the curve to draw in a panel above the first heat map, None for none.
        marks: the findings to mark.
        gaps: whether to mark columns after a gap with a ring.
        remarks: notes to write under the panels.
    """
    axis = checkpoint_axis(tables)
    edges, columns = cells(axis)
    limits = (float(edges[0]), float(edges[-1]))
    names, left_out = short_labels(layers[0].names, _NAME_WIDTH)
    left = MARGIN + max(text_width(name) for name in names) / 72 + 0.12
    left = max(left, LEFT) if mean is not None else left
    width = (WIDTH - left - 2 * MARGIN - (len(layers) - 1) * _GAP) / len(layers)
    scales = [scale_of(table) for table in layers]
    foot = [*notes(tables, axis, layers, gaps=gaps, remarks=remarks), *color_notes(axis, layers, scales)]
    foot += [*explained(marks), *([KeyLine(left_out)] if left_out else [])]
    of_time = times_only(marks, layers[0].names)
    above = NUMBERS_HEIGHT / 72 if of_time else 0.0
    top = HEAD + (STRIP_HEIGHT if mean is not None else 0.0) + _BAR + above
    most = MAX_HEIGHT - top - FOOT_GAP - key_height([*foot, *foot[:1]]) - MARGIN
    height = min(max(len(names) * _ROW, _MIN_HEIGHT), most)
    if is_pooled(len(names), len(columns), width, height):
        foot.append(POOLED)
    drawn = new_sheet(top + height + FOOT_GAP + key_height(foot) + MARGIN)
    if mean is not None:
        draw_mean(place(drawn, left, HEAD + STRIP_TOP, width, STRIP), axis, mean, layers[0].panel.unit, limits)
    over = gap_steps(tables, axis, layers) if gaps else np.zeros(len(axis.positions), dtype=bool)
    for index, (table, scale) in enumerate(zip(layers, scales, strict=True)):
        start = left + index * (width + _GAP)
        draw_color_bar(place(drawn, start, top - above - 0.42, width, 0.12), table.panel, scale)
        axes = place(drawn, start, top, width, height)
        draw_cells(axes, axis, table, scale)
        draw_checkpoint_axis(axes, axis, limits=limits)
        draw_row_marks(axes, axis, marks, table.names, of_time)
        _label_rows(axes, names if index == 0 else [], len(names), height)
        if over.any():
            draw_rings(axes, axis.positions[over], height)
    draw_key(drawn, MARGIN, top + height + FOOT_GAP, WIDTH - 2 * MARGIN, foot)
    return drawn


def _label_rows(axes: Axes, names: Sequence[str], rows: int, height: float) -> None:
    """Write as many names as fit, evenly thinned, with the first layer at the top."""
    plain_axes(axes, grid=False)
    if not names:
        axes.set_yticks([])
        return
    every = max(1, int(np.ceil(_LABEL_PITCH * rows / (height * 72))))
    shown = range(0, rows, every)
    labels = [names[layer] for layer in shown]
    axes.set_yticks([layer + 0.5 for layer in shown], labels, size=SMALL_SIZE, color=INK, parse_math=False)
