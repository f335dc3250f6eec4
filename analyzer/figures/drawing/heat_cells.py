"""The cells of a heat map: columns as wide as the time they cover, and no value lost between pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from analyzer.figures.drawing.checkpoint_axis import GAP, CheckpointAxis
from analyzer.figures.drawing.colors import ColorScale
from analyzer.figures.drawing.keys import KeyLine
from analyzer.figures.drawing.layer_table import MARKS, LayerTable
from analyzer.figures.drawing.sheet import size_of
from analyzer.figures.drawing.style import NO_VALUE

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

POOLED = KeyLine("too many values for the page: each cell shows the most extreme of several neighboring values")
MARK_COLOR = "#c00000"
_SMALLEST_MARK = 3.5  # points
_CELLS_PER_INCH = 140  # the PNG has 150 pixels per inch; finer cells would fall between them
Layers = npt.NDArray[np.intp]


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


def is_pooled(rows: int, columns: int, width: float, height: float) -> bool:
    """Check whether several cells are drawn as one because there are too many for a panel of that size in inches."""
    return _pool(columns, width) > 1 or _pool(rows, height) > 1


def draw_cells(
    axes: Axes, axis: CheckpointAxis, table: LayerTable, scale: ColorScale, rows: Sequence[int] | None = None
) -> None:
    """Draw values as colors, missing ones as hatching, and marks above them; the first layer is at the top.

    Args:
        axes: the panel.
        axis: the checkpoints.
        table: the values.
        scale: their colors.
        rows: the layers to draw, in this order from the top; by default all.
    """
    layers = np.arange(len(table.names)) if rows is None else np.array(rows)
    edges, columns = cells(axis)
    width, height = size_of(axes)
    by_row, by_column = _pool(len(layers), height), _pool(len(columns), width)
    spread = np.column_stack([table.colored[layers], np.full(len(layers), np.nan)])[:, columns]  # -1: the last, empty
    pooled = _farthest(_farthest(spread, by_row, 0, scale), by_column, 1, scale)
    edges = np.append(edges[:-1:by_column], edges[-1])
    widths = np.diff(edges)
    if np.ptp(widths) > 1e-6 * widths.mean():  # columns of unequal width: sample them evenly
        fine = np.linspace(edges[0], edges[-1], int(_CELLS_PER_INCH * width) + 1)
        pooled = pooled[:, np.searchsorted(edges[1:-1], (fine[1:] + fine[:-1]) / 2)]
    bottom = by_row * len(pooled)  # the last pooled row may reach beyond the last layer
    hatching: dict[str, Any] = {"facecolor": NO_VALUE, "edgecolor": "#8c8c8c", "hatch": "////", "linewidth": 0}
    axes.add_patch(Rectangle((edges[0], 0), edges[-1] - edges[0], len(layers), **hatching))
    extent = (edges[0], edges[-1], bottom, 0)
    # One image, in SVG too: 300 x 150 rectangles would take seconds and megabytes.
    axes.imshow(scale.colors(pooled), extent=extent, aspect="auto", interpolation="none", zorder=2)
    _draw_marks(axes, axis, table, layers)
    axes.set_ylim(len(layers), 0)


def _draw_marks(axes: Axes, axis: CheckpointAxis, table: LayerTable, layers: Layers) -> None:
    size = min(5.0, max(_SMALLEST_MARK, 0.7 * size_of(axes)[1] * 72 / max(1, len(layers))))
    found = [(kind, index, row) for row, layer in enumerate(layers) for index, kind in table.marks(layer)]
    for kind, (marker, _) in MARKS.items():
        places = [(index, row + 0.5) for one, index, row in found if one == kind]
        if places:
            x, y = np.array(places).T
            # As pixels in SVG too, because there may be one in every cell.
            x = axis.positions[x.astype(np.intp)]
            axes.plot(x, y, marker, color=MARK_COLOR, markersize=size, zorder=3, rasterized=True)


def _pool(count: int, inches: float) -> int:
    return -(-count // int(_CELLS_PER_INCH * inches))


def _farthest(values: FloatArray, by: int, along: int, scale: ColorScale) -> FloatArray:
    """Return of every ``by`` neighbors along an axis the largest, or the one farthest from the center of the scale.

    The result is NaN only if all of them are.
    """
    if by == 1:
        return values
    starts = np.arange(0, values.shape[along], by)
    largest = _largest(values, starts, along)
    if not scale.diverging:
        return largest
    smallest = -_largest(-values, starts, along)
    is_below = np.nan_to_num(0.5 - scale.shares(smallest)) > np.nan_to_num(scale.shares(largest) - 0.5)
    return np.where(is_below, smallest, largest)


def _largest(values: FloatArray, starts: Layers, along: int) -> FloatArray:
    pooled = np.maximum.reduceat(np.where(np.isnan(values), -np.inf, values), starts, axis=along)
    return np.where(np.isneginf(pooled), np.nan, pooled)
