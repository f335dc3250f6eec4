"""The overview of a run with many weight matrices: typical motion, and each matrix as a row among its peers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from analyzer.figures.drawing.checkpoint_axis import CheckpointAxis, draw_checkpoint_axis
from analyzer.figures.drawing.colors import fill_color_bar
from analyzer.figures.drawing.finding_marks import Mark, draw_time_marks
from analyzer.figures.drawing.heat_cells import cells
from analyzer.figures.drawing.keys import KeyLine, draw_key, key_height
from analyzer.figures.drawing.labeled_lines import LabeledLine, draw_labeled_lines
from analyzer.figures.drawing.labels import fitted, text_width
from analyzer.figures.drawing.layer_table import LayerTable, Panel, layer_table
from analyzer.figures.drawing.line_panels import name_panel
from analyzer.figures.drawing.overview_panels import (
    COLORS,
    NAME_ROOM,
    NAME_TEXT,
    SHEET_WIDTH,
    layer_labels,
    moved_title,
    overview_marks,
    panel_top,
    score_lines,
)
from analyzer.figures.drawing.peer_tiles import (
    ALL,
    RATIOS,
    draw_peer_tile,
    has_unlike_shapes,
    label_rows,
    peer_ratios,
    peer_tiles,
    row_labels,
    title_of,
)
from analyzer.figures.drawing.role_maps import Tile
from analyzer.figures.drawing.sheet import HEAD, MARGIN, is_narrow, new_sheet, place, sheet_width
from analyzer.figures.drawing.style import INK, LABEL_SIZE

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray
    from analyzer.model.tables import Tables

# All in inches.
_LINES, _TILE, _TALL_TILE = 0.85, 0.82, 1.86  # heights; _TALL_TILE if there is one row of tiles
_LEFT, _GAP = 0.72, 0.32  # left of panels, between tiles
_TITLE, _TICKS = 0.26, 0.24  # above a tile, and below a panel for the numbers of its axis
_FOOT, _BAR_WIDTH, _BAR = 0.32, 2.6, 0.1

_ABREAST_IF_NARROW = 2  # tiles
_MOST_ABREAST = 3  # tiles of a quantity that have room for those of the other one beside them
_MOST_DEPARTING = 4
_DEPARTS, _LASTS = 3.0, 0.05  # a layer departs if its motion is so many times typical at this share of checkpoints
_MOTION = Panel("relative_step_distance", "motion", "ratio", "positive")
_NORM = Panel("frobenius_norm", "norm", "ratio", "positive")


def draw_many(tables: Tables, axis: CheckpointAxis, names: Sequence[str]) -> Figure | None:
    """Draw scores and typical motion as lines, and below them a tile for each role with a row for each layer.

    Args:
        tables: the run.
        axis: its checkpoints.
        names: the matrices.
    """
    title, scores = score_lines(tables, axis)
    every = [layer_table(tables, panel, tuple(names)) for panel in (_NORM, _MOTION)]
    shown = [table for table in every if (table.values > 0).any()]
    if not scores and not shown:
        return None
    marks = overview_marks(tables, names)
    tiles = peer_tiles(names)
    panels = _line_panels(axis, title, scores, [table for table in shown if table.panel is _MOTION], marks)
    lines = len(panels) if is_narrow() else 1
    top = HEAD + lines * (panel_top(marks) + _LINES + _TICKS)
    placed = list(_places(tiles, shown, top))
    bottom = max((corner[1] + corner[3] for corner, _, _ in placed), default=top) + _TICKS
    are_unlike = any(has_unlike_shapes(tables, [names[row] for row in tile.rows]) for tile in tiles)
    foot = _foot(axis, are_unlike=are_unlike)
    drawn = new_sheet(bottom + _foot_height(foot) + MARGIN / 2, sheet_width(SHEET_WIDTH))
    _draw_line_panels(drawn, axis, panels, marks)
    edges, _ = cells(axis)
    left = min((corner[0] for corner, _, _ in placed), default=0.0)
    for corner, table, tile in placed:
        axes = place(drawn, *corner)
        ratios = peer_ratios(tables, table, tile)
        draw_peer_tile(axes, axis, ratios, marks)
        is_last = corner[1] + corner[3] + _TICKS >= bottom - 0.01
        draw_checkpoint_axis(axes, axis, limits=(float(edges[0]), float(edges[-1])), labeled=is_last, titled=False)
        name = f"{title_of(tile)}: {table.panel.name}"
        name_panel(axes, fitted(name, (corner[2] + 0.7 * _GAP) * 72, LABEL_SIZE), 4)
        if corner[0] == left:
            label_rows(axes, tile, ratios.names)
        else:
            axes.set_yticks([])
    _draw_foot(drawn, bottom, foot)
    return drawn


Corner = tuple[float, float, float, float]  # left, top, width, height


def _places(
    tiles: Sequence[Tile], quantities: Sequence[LayerTable], top: float
) -> Iterator[tuple[Corner, LayerTable, Tile]]:
    """Yield where each tile of each quantity is: quantities beside each other if there is room, else in rows."""
    abreast = len(tiles) <= _MOST_ABREAST and not is_narrow()
    columns = len(tiles) * (len(quantities) if abreast else 1)
    if is_narrow():
        columns = min(columns, _ABREAST_IF_NARROW)
    rows = 1 if abreast or len(tiles) == 1 else len(quantities)
    height = _TALL_TILE if rows == 1 else _TILE
    names = row_labels(quantities[0].names) if tiles[0].title == ALL and quantities else []
    left = MARGIN + max([_LEFT, *(text_width(name) / 72 + 0.1 for name in names)])
    width = (sheet_width(SHEET_WIDTH) - left - 2 * MARGIN - columns * _GAP) / max(1, columns) + _GAP / max(1, columns)
    lines = -(-len(tiles) // max(1, columns))  # of a quantity, unless several are beside each other
    for number, (table, tile) in enumerate((table, tile) for table in quantities for tile in tiles):
        row, column = divmod(number, columns)
        if not abreast:
            row, column = divmod(number % len(tiles), columns)
            row += number // len(tiles) * lines
        yield (left + column * (width + _GAP), top + _TITLE + row * (height + _TITLE + 0.1), width, height), table, tile


LinePanel = tuple[str, list[LabeledLine], "FloatArray | None"]  # name, lines, and the quantiles of a band


def _line_panels(
    axis: CheckpointAxis,
    title: str,
    scores: Sequence[LabeledLine],
    motion: Sequence[LayerTable],
    marks: Sequence[Mark],
) -> list[LinePanel]:
    """Return the panels of lines: the scores, and the motion of the typical layer and those that depart from it."""
    panels: list[LinePanel] = [(title, list(scores), None)] if scores else []
    for table in motion:
        typical = _middle(100 * table.values)
        lines = [LabeledLine("median", axis.positions, typical[1], INK, width=2.0), *_departing(axis, table, marks)]
        panels.append((f"{moved_title(axis)}; gray: middle 80 % of the layers", lines, typical))
    return panels


def _draw_line_panels(drawn: Figure, axis: CheckpointAxis, panels: Sequence[LinePanel], marks: Sequence[Mark]) -> None:
    """Draw the panels beside each other, on a narrow sheet below each other."""
    abreast = 1 if is_narrow() else max(1, len(panels))
    pitch = (sheet_width(SHEET_WIDTH) - MARGIN) / abreast
    for index, (name, lines, band) in enumerate(panels):
        row, column = divmod(index, abreast)
        left, top = MARGIN + column * pitch + _LEFT - 0.1, HEAD + row * (panel_top(marks) + _LINES + _TICKS)
        axes = place(drawn, left, top + panel_top(marks), pitch - _LEFT - NAME_ROOM, _LINES)
        draw_labeled_lines(axes, name, lines, NAME_ROOM, also=None if band is None else band[[0, 2]])
        if band is not None:
            known = np.isfinite(band[1])
            axes.fill_between(axis.positions[known], band[0][known], band[2][known], color="#c9c9c9", linewidth=0)
        draw_checkpoint_axis(axes, axis, titled=False)
        draw_time_marks(axes, axis, marks)


def _middle(values: FloatArray) -> FloatArray:
    """Return the 10 % quantile, the median and the 90 % quantile over the layers, (3, checkpoints)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a checkpoint without any value
        return np.asarray(np.nanquantile(values, [0.1, 0.5, 0.9], axis=0))


def _departing(axis: CheckpointAxis, table: LayerTable, marks: Sequence[Mark]) -> list[LabeledLine]:
    """Return the lines of the layers that move much more or less than the typical one, those of findings first."""
    median = _middle(table.values)[1]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        apart = np.abs(np.log(table.values / median))
    apart = np.where(np.isnan(apart), 0.0, np.minimum(apart, 10.0))
    shares = (apart > np.log(_DEPARTS)).mean(axis=1)
    named = {tensor for mark in marks for tensor in mark.tensors}
    order = sorted(range(len(table.names)), key=lambda row: (table.names[row] not in named, -float(apart[row].mean())))
    chosen = [row for row in order if shares[row] > _LASTS][:_MOST_DEPARTING]
    labels = layer_labels([table.names[row] for row in chosen], NAME_TEXT)
    return [
        LabeledLine(label, axis.positions, 100 * table.values[row], color)
        for label, row, color in zip(labels, chosen, COLORS, strict=False)
    ]


def _foot(axis: CheckpointAxis, *, are_unlike: bool) -> list[KeyLine]:
    """Return the note on time and colors."""
    growth = "; norms by their growth, as shapes differ" if are_unlike else ""
    text = f"color: ratio to the median of the tile's layers at that time{growth}"
    time = fitted(axis.label, max(60.0, _foot_width() * 72 - text_width(text) - 100))
    return [KeyLine(f"time to the right: {time}; {text}")]


def _foot_width() -> float:
    return sheet_width(SHEET_WIDTH) - (2 * MARGIN if is_narrow() else _BAR_WIDTH + 4 * MARGIN)


def _foot_height(foot: Sequence[KeyLine]) -> float:
    return _FOOT + key_height(foot, _foot_width()) if is_narrow() else _FOOT


def _draw_foot(drawn: Figure, top: float, foot: Sequence[KeyLine]) -> None:
    """Write the note, and draw the color bar beside it or, on a narrow sheet, above it."""
    below = _FOOT if is_narrow() else 0.0
    draw_key(drawn, MARGIN, top + below, _foot_width(), foot)
    left = sheet_width(SHEET_WIDTH) - _BAR_WIDTH - 2 * MARGIN
    fill_color_bar(place(drawn, left, top + 0.03, _BAR_WIDTH, _BAR), RATIOS)
