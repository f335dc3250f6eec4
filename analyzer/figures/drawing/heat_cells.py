"""The cells of a heat map: columns as wide as the time they cover, and no value lost between pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from analyzer.figures.drawing.checkpoint_axis import GAP, CheckpointAxis
from analyzer.figures.drawing.colors import ColorScale
from analyzer.figures.drawing.layer_table import MARKS, LayerTable
from analyzer.figures.drawing.sheet import size_of
from analyzer.figures.drawing.style import NO_VALUE

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

MARK_COLOR = "#c00000"
_SMALLEST_MARK = 3.5  # points
_MAX_COLUMNS, _MAX_ROWS = 600, 1000  # finer cells would fall between pixels


def cells(axis: CheckpointAxis) -> tuple[FloatArray, list[int]]:
    """Return the edges of the columns of a heat map, and the checkpoint in each column, -1 if it is missing."""
    middles = (axis.positions[1:] + axis.positions[:-1]) / 2
    alone = middles.size == 0
    low = axis.positions[0] - 0.5 if alone else 2 * axis.positions[0] - middles[0]
    high = axis.positions[-1] + 0.5 if alone else 2 * axis.positions[-1] - middles[-1]
    lefts, rights = np.concatenate([[low], middles]), np.concatenate([middles, [high]])
    edges: list[float] = []
    columns: list[int] = []
    for index, position in enumerate(axis.positions):
        left, right = lefts[index], rights[index]
        if position - left > GAP / 2 * axis.spacing:
            left = position - axis.spacing / 2
        if right - position > GAP / 2 * axis.spacing:
            right = position + axis.spacing / 2
        if not edges:
            edges.append(left)
        elif left > edges[-1]:
            edges.append(left)
            columns.append(-1)
        edges.append(right)
        columns.append(index)
    return np.array(edges), columns


def is_pooled(rows: int, columns: int) -> bool:
    """Check whether several cells are drawn as one because there are too many for the page."""
    return _pool(columns, _MAX_COLUMNS) > 1 or _pool(rows, _MAX_ROWS) > 1


def draw_cells(axes: Axes, axis: CheckpointAxis, table: LayerTable, scale: ColorScale) -> None:
    """Draw values as colors, missing ones as hatching, and marks above them; the first layer is at the top."""
    rows = len(table.names)
    edges, columns = cells(axis)
    spread = np.column_stack([table.values, np.full(rows, np.nan)])[:, columns]  # -1: the last, empty column
    by_row, by_column = _pool(rows, _MAX_ROWS), _pool(len(columns), _MAX_COLUMNS)
    pooled = _largest(_largest(spread, by_row, 0), by_column, 1)
    edges = np.append(edges[:-1:by_column], edges[-1])
    widths = np.diff(edges)
    if np.ptp(widths) > 1e-6 * widths.mean():  # columns of unequal width: sample them evenly
        fine = np.linspace(edges[0], edges[-1], 2 * _MAX_COLUMNS + 1)
        pooled = pooled[:, np.searchsorted(edges[1:-1], (fine[1:] + fine[:-1]) / 2)]
    bottom = by_row * len(pooled)  # the last pooled row may reach beyond the last layer
    hatching: dict[str, Any] = {"facecolor": NO_VALUE, "edgecolor": "#8c8c8c", "hatch": "////", "linewidth": 0}
    axes.add_patch(Rectangle((edges[0], 0), edges[-1] - edges[0], rows, **hatching))
    extent = (edges[0], edges[-1], bottom, 0)
    axes.imshow(scale.colors(pooled), extent=extent, aspect="auto", interpolation="none", zorder=2)
    _draw_marks(axes, axis, table)
    axes.set_ylim(rows, 0)


def _draw_marks(axes: Axes, axis: CheckpointAxis, table: LayerTable) -> None:
    rows = len(table.names)
    size = min(5.0, max(_SMALLEST_MARK, 0.7 * size_of(axes)[1] * 72 / rows))
    for kind, (marker, _) in MARKS.items():
        found = [(index, layer) for layer in range(rows) for index, mark in table.marks(layer) if mark == kind]
        if found:
            x = axis.positions[[index for index, _ in found]]
            y = np.array([layer + 0.5 for _, layer in found])
            # As pixels in SVG too, because there may be one in every cell.
            axes.plot(x, y, marker, color=MARK_COLOR, markersize=size, zorder=3, rasterized=True)


def _pool(count: int, most: int) -> int:
    return -(-count // most)


def _largest(values: FloatArray, by: int, along: int) -> FloatArray:
    """Return the largest of every ``by`` neighbors along an axis, NaN only if all of them are."""
    if by == 1:
        return values
    filled = np.where(np.isnan(values), -np.inf, values)
    pooled = np.maximum.reduceat(filled, np.arange(0, values.shape[along], by), axis=along)
    return np.where(np.isneginf(pooled), np.nan, pooled)
