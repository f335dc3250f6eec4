"""Draw a few layers as lines: one line for each, panels above each other, names at the ends of the lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.drawing.checkpoint_axis import draw_checkpoint_axis, steps_over_gaps
from analyzer.figures.drawing.end_labels import LABEL_TEXT, EndLabel
from analyzer.figures.drawing.finding_marks import draw_time_marks, explained
from analyzer.figures.drawing.keys import KeyLine
from analyzer.figures.drawing.layer_content import LayerContent
from analyzer.figures.drawing.layer_table import MARKS, ZERO_MARKER, LayerTable
from analyzer.figures.drawing.line_panels import LineSheet, draw_line, finish_panel, share_of_height
from analyzer.figures.drawing.marked_layers import emphasized, key_names
from analyzer.figures.drawing.sheet import size_of
from analyzer.figures.drawing.style import MEAN_LOOK, Look
from analyzer.figures.drawing.ticks import linear_limits, log_limits, make_room

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray
    from analyzer.model.tables import Curve

_MEAN = "mean over the layers"
_LANE = 9.0  # points, the height of a row of marks at the edge of a panel


def line_figure(content: LayerContent) -> Figure:
    """Draw every layer as a line in each panel."""
    axis, layers, mean = content.axis, content.layers, content.mean
    names, left_out = key_names(content.names, content.marks, LABEL_TEXT)
    looks = emphasized(content.names, content.marks)
    foot = content.notes()
    if any(table.hides_zeros for table in layers):
        foot.insert(0, KeyLine("exactly 0, which a log axis cannot show", marker=ZERO_MARKER))
    foot += [*([KeyLine(left_out)] if left_out else []), *explained(content.marks)]
    key = [*map(KeyLine, names, looks), *([KeyLine(_MEAN, MEAN_LOOK)] if mean is not None else [])]
    sheet = LineSheet(len(layers), foot, key, at_ends=True)
    for index, table in enumerate(layers):
        axes = sheet.panel(index)
        heights = _draw_panel(axes, content, table, looks)
        sheet.label(axes, _end_labels(axes, names, heights, looks, mean))
        draw_checkpoint_axis(axes, axis, labeled=index == len(layers) - 1)
        draw_time_marks(axes, axis, content.marks, numbered=index == 0)
    return sheet.finish()


def _draw_panel(axes: Axes, content: LayerContent, table: LayerTable, looks: Sequence[Look]) -> dict[int, float]:
    """Draw a panel, and return where each layer that has anything to draw ends, as a share of the panel's height."""
    axis, mean = content.axis, content.mean
    values = table.values if mean is None else np.vstack([table.values, mean.values])
    log, zeros = table.log, table.hides_zeros
    lane = _LANE / (72 * size_of(axes)[1])
    marked = [layer for layer in range(len(table.names)) if table.marks(layer)]
    limits = log_limits(values) if log else linear_limits(values)
    limits = make_room(limits, 1.5 * lane if zeros else 0.0, (len(marked) + 0.5) * lane if marked else 0.0, log=log)
    finish_panel(axes, f"{table.panel.name} ({table.panel.unit}{', log axis' if log else ''})", limits, log=log)
    heights: dict[int, float] = {}
    for lane_index, layer in enumerate(marked):
        heights[layer] = 1 - (lane_index + 0.5) * lane
        for kind, (marker, _) in MARKS.items():
            x = axis.positions[[index for index, found in table.marks(layer) if found == kind]]
            _draw_at_edge(axes, x, heights[layer], marker, looks[layer].color)
    for layer, (curve, row) in enumerate(zip(table.curves, table.values, strict=True)):
        if curve is not None:
            # Values that were skipped on purpose (--spectra-every) are no gap: the line goes on to the next value.
            measured = np.array([status is not None for status in curve.statuses])
            hollow = steps_over_gaps(axis, content.tables, curve.references)[measured] if content.gaps else None
            x, y = axis.positions[measured], _drawable(row[measured], log=log)
            draw_line(axes, x, y, looks[layer], layer, hollow)
            if zeros:
                _draw_at_edge(axes, axis.positions[row == 0], lane / 2, ZERO_MARKER, looks[layer].color)
        if np.isfinite(row).any():
            last = row[np.isfinite(row)][-1]
            heights[layer] = lane / 2 if zeros and last == 0 else share_of_height(axes, last)
    if mean is not None:
        hollow = steps_over_gaps(axis, content.tables, mean.references) if content.gaps else None
        draw_line(axes, axis.positions, _drawable(mean.values, log=log), MEAN_LOOK, hollow=hollow)
    return heights


def _end_labels(
    axes: Axes, names: Sequence[str], heights: dict[int, float], looks: Sequence[Look], mean: Curve | None
) -> list[EndLabel]:
    """Return each layer's name at the end of its line."""
    labels = [EndLabel(names[layer], height, looks[layer].color) for layer, height in heights.items()]
    if mean is not None:
        end = share_of_height(axes, float(mean.values[np.isfinite(mean.values)][-1]))
        labels.append(EndLabel(_MEAN, end, MEAN_LOOK.color, bold=True))
    return labels


def _drawable(values: FloatArray, *, log: bool) -> FloatArray:
    return np.where(values > 0, values, np.nan) if log else values


def _draw_at_edge(axes: Axes, x: FloatArray, y: float, marker: str, color: str) -> None:
    """Draw marks for values that are not numbers at ``y``, a share of the panel's height."""
    if x.size:
        axes.plot(
            x,
            np.full(x.shape, y),
            linestyle="none",
            marker=marker,
            color=color,
            markersize=5.5,
            markeredgewidth=1.3,
            transform=axes.get_xaxis_transform(),
        )
