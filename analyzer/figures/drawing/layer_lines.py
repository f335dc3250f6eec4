"""Draw a few layers as lines: one line for each, panels above each other, names at the ends of the lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.drawing.checkpoint_axis import (
    CheckpointAxis,
    checkpoint_axis,
    draw_checkpoint_axis,
    steps_over_gaps,
)
from analyzer.figures.drawing.end_labels import LABEL_TEXT, EndLabel, draw_end_labels, label_room
from analyzer.figures.drawing.finding_marks import Mark, draw_time_marks, explained
from analyzer.figures.drawing.keys import KeyLine
from analyzer.figures.drawing.layer_table import MARKS, ZERO_MARKER, LayerTable, notes
from analyzer.figures.drawing.line_panels import LineSheet, draw_line, finish_panel, share_of_height
from analyzer.figures.drawing.marked_layers import emphasized, key_names
from analyzer.figures.drawing.sheet import size_of
from analyzer.figures.drawing.style import MEAN_LOOK, Look
from analyzer.figures.drawing.ticks import linear_limits, log_limits, make_room

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray
    from analyzer.model.tables import Curve, Tables

_MEAN = "mean over the layers"
_LANE = 9.0  # points, the height of a row of marks at the edge of a panel


def line_figure(
    tables: Tables,
    layers: Sequence[LayerTable],
    mean: Curve | None,
    marks: Sequence[Mark],
    *,
    gaps: bool,
    remarks: Sequence[str],
) -> Figure:
    """Draw every layer as a line in each panel.

    Args:
        tables: the run.
        layers: the values of each panel, with the same names in all of them.
        mean: the curve to draw bold, None for none.
        marks: the findings to mark.
        gaps: whether to draw steps over gaps as hollow circles.
        remarks: notes to write under the panels.
    """
    axis = checkpoint_axis(tables)
    names, left_out = key_names(layers[0].names, marks, LABEL_TEXT)
    looks = emphasized(layers[0].names, marks)
    foot = notes(tables, axis, layers, gaps=gaps, remarks=remarks)
    if any(table.hides_zeros for table in layers):
        foot.insert(0, KeyLine("exactly 0, which a log axis cannot show", marker=ZERO_MARKER))
    foot += [KeyLine(left_out)] if left_out else []
    foot += explained(marks)
    sheet = LineSheet(len(layers), foot, label_room([*names, _MEAN][: len(names) + (mean is not None)]))
    for index, table in enumerate(layers):
        axes = sheet.panel(index)
        heights = _draw_panel(axes, tables, axis, table, mean, looks, gaps=gaps)
        _label(axes, names, heights, looks, mean)
        draw_checkpoint_axis(axes, axis, labeled=index == len(layers) - 1)
        draw_time_marks(axes, axis, marks, numbered=index == 0)
    return sheet.finish()


def _draw_panel(
    axes: Axes,
    tables: Tables,
    axis: CheckpointAxis,
    table: LayerTable,
    mean: Curve | None,
    looks: Sequence[Look],
    *,
    gaps: bool,
) -> dict[int, float]:
    """Draw a panel, and return where each layer that has anything to draw ends, as a share of the panel's height."""
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
            hollow = steps_over_gaps(axis, tables, curve.references)[measured] if gaps else None
            x, y = axis.positions[measured], _drawable(row[measured], log=log)
            draw_line(axes, x, y, looks[layer], layer, hollow)
            if zeros:
                _draw_at_edge(axes, axis.positions[row == 0], lane / 2, ZERO_MARKER, looks[layer].color)
        if np.isfinite(row).any():
            last = row[np.isfinite(row)][-1]
            heights[layer] = lane / 2 if zeros and last == 0 else share_of_height(axes, last)
    if mean is not None:
        hollow = steps_over_gaps(axis, tables, mean.references) if gaps else None
        draw_line(axes, axis.positions, _drawable(mean.values, log=log), MEAN_LOOK, hollow=hollow)
    return heights


def _label(
    axes: Axes, names: Sequence[str], heights: dict[int, float], looks: Sequence[Look], mean: Curve | None
) -> None:
    """Write each layer's name at the end of its line."""
    labels = [EndLabel(names[layer], height, looks[layer].color) for layer, height in heights.items()]
    if mean is not None:
        end = share_of_height(axes, float(mean.values[np.isfinite(mean.values)][-1]))
        labels.append(EndLabel(_MEAN, end, MEAN_LOOK.color, bold=True))
    draw_end_labels(axes, labels)


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
