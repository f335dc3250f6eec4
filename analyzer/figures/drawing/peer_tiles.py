"""Layers as rows, colored by their ratio to the median of their peers, in which a common schedule cancels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from analyzer.figures.drawing.checkpoint_axis import CheckpointAxis
from analyzer.figures.drawing.colors import ColorScale
from analyzer.figures.drawing.finding_marks import Mark, draw_row_marks, times_only
from analyzer.figures.drawing.heat_cells import draw_cells
from analyzer.figures.drawing.labels import short_labels
from analyzer.figures.drawing.layer_table import LayerTable
from analyzer.figures.drawing.role_maps import Tile, labeled_rows, role_tiles
from analyzer.figures.drawing.sheet import size_of
from analyzer.figures.drawing.style import INK, SMALL_SIZE, plain_axes

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray
    from analyzer.model.tables import Tables

RATIOS = ColorScale((1 / 3, 3.0), log=True, zeros=True, diverging=True)
ALL = "all weight matrices"
_MOST_TILES = 6
_FEWEST_PEERS = 3  # whose median says what is typical
_LABEL_WIDTH = 110.0  # points for a layer's name
_LABEL_PITCH = 10.0  # points from one layer's name to the next
_WORDS = {
    "q": "query",
    "k": "key",
    "v": "value",
    "qkv": "query, key, value",
    "o": "attention output",
    "up": "MLP up",
    "down": "MLP down",
    "gate": "MLP gate",
    "conv": "convolution",
}


def peer_tiles(names: Sequence[str]) -> list[Tile]:
    """Arrange layers by role, those with most layers; all layers are in one tile if few have a role."""
    by_role = [tile for tile in role_tiles(names) if len(tile.rows) >= _FEWEST_PEERS and tile.depths[0] is not None]
    largest = sorted(by_role, key=lambda tile: -len(tile.rows))[:_MOST_TILES]
    if not largest:
        return [Tile(ALL, tuple(range(len(names))), (None,) * len(names))]
    order = [*_WORDS]
    return sorted(largest, key=lambda tile: order.index(tile.title) if tile.title in order else len(order))


def title_of(tile: Tile) -> str:
    """Return a tile's role in words."""
    return _WORDS.get(tile.title, tile.title)


def peer_ratios(tables: Tables, table: LayerTable, tile: Tile) -> LayerTable:
    """Return the layers of a tile, each divided by the median of the tile's layers at the same checkpoint.

    Norms of matrices of different shapes are divided by their first positive value before.
    """
    names = tuple(table.names[row] for row in tile.rows)
    curves = tuple(table.curves[row] for row in tile.rows)
    values = table.values[list(tile.rows)]
    if table.panel.metric == "frobenius_norm" and has_unlike_shapes(tables, names):
        values = values / np.array([_first_positive(row) for row in values])[:, None]
    positive = np.where(values > 0, values, np.nan)
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # a checkpoint without any value
        ratios = values / np.nanmedian(positive, axis=0)
    return LayerTable(table.panel, names, curves, np.where(np.isfinite(ratios) & (ratios >= 0), ratios, np.nan))


def has_unlike_shapes(tables: Tables, names: Sequence[str]) -> bool:
    """Check whether layers have different shapes, so that their norms are not comparable."""
    shapes = {row.name: row.matrix_shape for row in tables.tensors}
    return len({shapes.get(name) for name in names}) > 1


def _first_positive(row: FloatArray) -> float:
    positive = row[row > 0]
    return float(positive[0]) if positive.size else np.nan


def draw_peer_tile(axes: Axes, axis: CheckpointAxis, ratios: LayerTable, marks: Sequence[Mark]) -> None:
    """Draw a tile, and frame the layers of findings."""
    draw_cells(axes, axis, ratios, RATIOS)
    plain_axes(axes, grid=False)
    framed = [mark for mark in marks if not times_only([mark], ratios.names)]
    draw_row_marks(axes, axis, framed, ratios.names)


def row_labels(names: Sequence[str]) -> list[str]:
    """Return the labels of layers that have a tile in common."""
    return short_labels(names, _LABEL_WIDTH)[0]


def label_rows(axes: Axes, tile: Tile, names: Sequence[str]) -> None:
    """Write the numbers of the blocks at the left of a tile, or the layers' names if it has all layers."""
    height = size_of(axes)[1]
    if tile.title == ALL:
        labels = row_labels(names)
        every = max(1, int(np.ceil(_LABEL_PITCH * len(names) / (height * 72))))
        shown = [(labels[row], row) for row in range(0, len(names), every)]
    else:
        shown = [(str(depth), row) for depth, row in labeled_rows(tile, height)]
        axes.set_ylabel("block", size=SMALL_SIZE, color=INK, labelpad=2)
    positions, texts = [row + 0.5 for _, row in shown], [text for text, _ in shown]
    axes.set_yticks(positions, texts, size=SMALL_SIZE, color=INK, parse_math=False)
