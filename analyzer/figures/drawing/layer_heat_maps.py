"""Draw many layers as heat maps of layers by checkpoints: one for each metric, side by side, with shared rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.drawing.checkpoint_axis import CheckpointAxis, checkpoint_axis, draw_checkpoint_axis
from analyzer.figures.drawing.colors import ColorScale, color_scale, draw_color_bar
from analyzer.figures.drawing.finding_marks import NUMBERS_HEIGHT, Mark, draw_row_marks, explained, times_only
from analyzer.figures.drawing.heat_cells import cells, draw_cells, is_pooled
from analyzer.figures.drawing.keys import HATCHED, KeyLine, draw_key, key_height
from analyzer.figures.drawing.labels import short_labels, text_width
from analyzer.figures.drawing.layer_table import LayerTable, gap_steps, notes
from analyzer.figures.drawing.line_panels import FOOT_GAP, LEFT, draw_line, finish_panel
from analyzer.figures.drawing.sheet import HEAD, MARGIN, WIDTH, new_sheet, place
from analyzer.figures.drawing.style import GAP_MARKER, INK, MEAN_LOOK, SMALL_SIZE, SOFT_INK, plain_axes
from analyzer.figures.drawing.ticks import linear_limits

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray
    from analyzer.model.tables import Curve, Tables

_NAME_WIDTH = 150.0  # points for a layer's name
_GAP = 0.5  # inches between panels
_BAR = 0.92  # inches, the height of a color bar with its numbers and its label
_STRIP, _STRIP_GAP = 0.85, 0.3  # inches, the mean's panel and the gap below it
_ROW, _MIN_HEIGHT, _MAX_HEIGHT = 0.14, 2.2, 15.4  # inches: a row, and all rows together; 110 rows have names
_LABEL_PITCH = 10.0  # points, the least distance from one layer's name to the next


def heat_figure(
    tables: Tables,
    layers: Sequence[LayerTable],
    mean: Curve | None,
    marks: Sequence[Mark],
    *,
    gaps: bool,
    remarks: Sequence[str],
) -> Figure:
    """Draw every layer as a row of a heat map for each panel.

    Args:
        tables: the run.
        layers: the values of each panel, with the same names in all of them.
        mean: the curve to draw in a panel above the first heat map, None for none.
        marks: the findings to mark.
        gaps: whether to mark columns after a gap with a ring.
        remarks: notes to write under the panels.
    """
    axis = checkpoint_axis(tables)
    edges, _ = cells(axis)
    limits = (float(edges[0]), float(edges[-1]))
    names, left_out = short_labels(layers[0].names, _NAME_WIDTH)
    left = MARGIN + max(text_width(name) for name in names) / 72 + 0.12
    left = max(left, LEFT) if mean is not None else left
    width = (WIDTH - left - 2 * MARGIN - (len(layers) - 1) * _GAP) / len(layers)
    height = min(max(len(names) * _ROW, _MIN_HEIGHT), _MAX_HEIGHT)
    scales = [color_scale(table.values, table.panel.scale) for table in layers]
    foot = [*notes(tables, axis, layers, gaps=gaps, remarks=remarks), *_cell_lines(axis, layers, scales)]
    foot += explained(marks)
    foot += [KeyLine(left_out)] if left_out else []
    top = HEAD + (_STRIP + _STRIP_GAP + 0.25 if mean is not None else 0.0) + _BAR
    above = NUMBERS_HEIGHT / 72 if times_only(marks, layers[0].names) else 0.0
    top += above
    drawn = new_sheet(top + height + FOOT_GAP + key_height(foot) + MARGIN)
    if mean is not None:
        _draw_mean(place(drawn, left, HEAD + 0.25, width, _STRIP), axis, mean, layers[0].panel.unit, limits)
    over = gap_steps(tables, axis, layers) if gaps else np.zeros(len(axis.positions), dtype=bool)
    for index, (table, scale) in enumerate(zip(layers, scales, strict=True)):
        start = left + index * (width + _GAP)
        draw_color_bar(place(drawn, start, top - above - 0.42, width, 0.12), table.panel, scale)
        axes = place(drawn, start, top, width, height)
        draw_cells(axes, axis, table, scale)
        draw_checkpoint_axis(axes, axis, limits=limits)
        draw_row_marks(axes, axis, marks, table.names)
        _label_rows(axes, names if index == 0 else [], len(names), height)
        if over.any():
            _draw_rings(axes, axis.positions[over], height)
    draw_key(drawn, MARGIN, top + height + FOOT_GAP, WIDTH - 2 * MARGIN, foot)
    return drawn


def _cell_lines(axis: CheckpointAxis, layers: Sequence[LayerTable], scales: Sequence[ColorScale]) -> list[KeyLine]:
    lines = []
    _, columns = cells(axis)
    if -1 in columns or any(np.isnan(table.values).any() for table in layers):
        lines.append(HATCHED)
    if any(scale.zeros for scale in scales):
        lines.append(KeyLine("white: exactly 0, which a log scale cannot show", patch="white"))
    if is_pooled(len(layers[0].names), len(columns)):
        lines.append(KeyLine("too many values for the page: each cell shows the largest of several neighboring values"))
    return lines


def _draw_mean(axes: Axes, axis: CheckpointAxis, mean: Curve, unit: str, limits: tuple[float, float]) -> None:
    finish_panel(axes, f"mean over the layers ({unit})", linear_limits(mean.values), log=False)
    draw_line(axes, axis.positions, mean.values, MEAN_LOOK)
    draw_checkpoint_axis(axes, axis, limits=limits, labeled=False)


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


def _draw_rings(axes: Axes, x: FloatArray, height: float) -> None:
    """Mark the columns at ``x`` with rings just above them."""
    axes.plot(
        x,
        np.full(x.shape, 1 + 0.05 / height),
        GAP_MARKER,
        color=SOFT_INK,
        markersize=4,
        markerfacecolor="white",
        clip_on=False,
        transform=axes.get_xaxis_transform(),
    )
