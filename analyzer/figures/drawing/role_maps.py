"""Draw the layers of a large network as tiles: one for each role, blocks downward, time to the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.drawing.checkpoint_axis import checkpoint_axis, draw_checkpoint_axis
from analyzer.figures.drawing.colors import ColorScale, fill_color_bar, meaning, scale_of
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
from analyzer.figures.drawing.labels import fitted
from analyzer.figures.drawing.layer_table import LayerTable, gap_steps, notes
from analyzer.figures.drawing.line_panels import FOOT_GAP, LEFT, name_panel
from analyzer.figures.drawing.sheet import HEAD, MARGIN, WIDTH, new_sheet, place
from analyzer.figures.drawing.style import INK, LABEL_SIZE, SMALL_SIZE, SOFT_INK, plain_axes
from analyzer.model.network import OTHER, depth_of, role_of

if TYPE_CHECKING:
    from analyzer.model.tables import Curve, Tables

# All in inches.
_LEFT, _GAP = 0.6, 0.34  # left of the first tile, and between tiles
_BAND_HEAD, _TITLE = 0.42, 0.22  # a panel's name and color bar, and a tile's title
_TICKS = 0.12  # below the tiles of a row
_BAR_WIDTH = 3.2
_MIN_TILE, _MAX_TILE = 0.45, 2.4  # the height of a tile

_MOST_ABREAST = 8  # tiles
_LEAST_SHARE = 0.5  # of the layers have a role and a depth; if fewer do, the tiles would explain little
_LABEL_PITCH = 11.0  # points from one block's number to the next
_ORDER = ("qkv", "q", "k", "v", "o", "router", "gate", "up", "down")
_NOTE = "each layer by itself is on its own page of the report folder"


@dataclass(frozen=True, slots=True)
class Tile:
    """The layers of a role in the order of their depth.

    Attributes:
        title: the role.
        rows: the layers, as positions in the table.
        depths: the number of the block of each, None for layers outside the blocks.
    """

    title: str
    rows: tuple[int, ...]
    depths: tuple[int | None, ...]


def role_tiles(names: Sequence[str]) -> list[Tile]:
    """Arrange layers by role; those outside the blocks share the last tile, titled with their roles.

    The list is empty if too few layers have a role and a depth.
    """
    by_role: dict[str, list[tuple[int, int]]] = {}
    for index, name in enumerate(names):
        role, depth = role_of(name), depth_of(name)
        if role != OTHER and depth is not None:
            by_role.setdefault(role, []).append((depth, index))
    tiles = []
    for role in sorted(by_role, key=_place_in_block):
        if len(by_role[role]) > 1:
            depths, rows = zip(*sorted(by_role[role]), strict=True)
            tiles.append(Tile(role, rows, depths))
    arranged = {row for tile in tiles for row in tile.rows}
    if len(arranged) < _LEAST_SHARE * len(names):
        return []
    others = tuple(index for index in range(len(names)) if index not in arranged)
    if others:
        roles = dict.fromkeys(role_of(names[index]) for index in others)
        tiles.append(Tile(", ".join(roles), others, (None,) * len(others)))
    return tiles


def _place_in_block(role: str) -> tuple[int, str]:
    """Return the place of a role in a block as data passes through it; unknown ones come last."""
    plain = role.removeprefix("cross_")
    return _ORDER.index(plain) if plain in _ORDER else len(_ORDER), role


def role_figure(
    tables: Tables,
    layers: Sequence[LayerTable],
    tiles: Sequence[Tile],
    mean: Curve | None,
    marks: Sequence[Mark],
    *,
    gaps: bool,
    remarks: Sequence[str],
) -> Figure:
    """Draw every layer as a row of its role's tile, one row of tiles for each panel, at most one screen high.

    Args:
        tables: the run.
        layers: the values of each panel, with the same names in all of them.
        tiles: the arrangement of the layers.
        mean: the curve to draw in a panel above the tiles, None for none.
        marks: the findings to mark.
        gaps: whether to mark columns after a gap with a ring.
        remarks: notes to write under the panels.
    """
    axis = checkpoint_axis(tables)
    scales = [scale_of(table) for table in layers]
    over = axis.positions[gap_steps(tables, axis, layers)] if gaps else np.zeros(0)
    foot = [KeyLine(f"one tile for each role: blocks downward, time to the right; {_NOTE}")]
    foot += [*notes(tables, axis, layers, gaps=gaps, remarks=remarks), *color_notes(axis, layers, scales)]
    foot += explained(marks)
    of_time = times_only(marks, layers[0].names)
    start = HEAD + (STRIP_HEIGHT if mean is not None else 0.0)
    grid = _Grid.fitting(tiles, len(layers), start, len(foot) + 1, _TITLE + (NUMBERS_HEIGHT / 72 if of_time else 0.0))
    if is_pooled(max(len(tile.rows) for tile in tiles), len(cells(axis)[1]), grid.width, grid.height):
        foot.append(POOLED)
    drawn = new_sheet(grid.bottom + FOOT_GAP + key_height(foot) + MARGIN)
    edges, _ = cells(axis)
    limits = (float(edges[0]), float(edges[-1]))
    if mean is not None:
        strip = place(drawn, LEFT, HEAD + STRIP_TOP, WIDTH - LEFT - 2 * MARGIN, STRIP)
        draw_mean(strip, axis, mean, layers[0].panel.unit, limits)
    for panel, (table, scale) in enumerate(zip(layers, scales, strict=True)):
        _draw_panel_head(drawn, table, scale, grid.top(panel))
        for index, tile in enumerate(tiles):
            axes = place(drawn, *grid.corner(panel, index), grid.width, grid.height)
            draw_cells(axes, axis, table, scale, tile.rows)
            _finish_tile(axes, tile, grid, index)
            last = panel == len(layers) - 1 and index + grid.abreast >= len(tiles)
            if last:
                draw_checkpoint_axis(axes, axis, limits=limits)
            draw_row_marks(axes, axis, marks, [layers[0].names[row] for row in tile.rows], of_time)
            if over.size:
                draw_rings(axes, over, grid.height)
    draw_key(drawn, MARGIN, grid.bottom + FOOT_GAP, WIDTH - 2 * MARGIN, foot)
    return drawn


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where the tiles are, in inches: ``abreast`` tiles in each of ``lines`` rows for each panel."""

    abreast: int
    lines: int
    panels: int
    start: float
    title: float
    width: float
    height: float

    @classmethod
    def fitting(cls, tiles: Sequence[Tile], panels: int, start: float, notes: int, title: float) -> _Grid:
        """Return the grid that fills the page's width and leaves room for the notes below."""
        lines = -(-len(tiles) // _MOST_ABREAST)
        abreast = -(-len(tiles) // lines)
        width = (WIDTH - _LEFT - 2 * MARGIN - (abreast - 1) * _GAP) / abreast
        room = MAX_HEIGHT - start - FOOT_GAP - key_height([KeyLine("")] * notes) - MARGIN
        height = room / panels / lines - _BAND_HEAD / lines - title - _TICKS
        return cls(abreast, lines, panels, start, title, width, min(max(height, _MIN_TILE), _MAX_TILE))

    @property
    def bottom(self) -> float:
        """The bottom of the last tile."""
        return self.top(self.panels) - _TICKS

    def top(self, panel: int) -> float:
        """Return where the head of a panel begins."""
        return self.start + panel * (_BAND_HEAD + self.lines * (self.title + self.height + _TICKS))

    def corner(self, panel: int, index: int) -> tuple[float, float]:
        """Return the left and the top of a tile."""
        line, column = divmod(index, self.abreast)
        top = self.top(panel) + _BAND_HEAD + self.title + line * (self.title + self.height + _TICKS)
        return _LEFT + column * (self.width + _GAP), top


def _draw_panel_head(drawn: Figure, table: LayerTable, scale: ColorScale, top: float) -> None:
    """Write the name of a panel and draw its color bar beside it."""
    left = WIDTH - 2 * MARGIN - _BAR_WIDTH
    bar = place(drawn, left, top + 0.04, _BAR_WIDTH, 0.12)
    fill_color_bar(bar, scale)
    height = drawn.get_size_inches()[1]
    room = (left - MARGIN - 0.2) * 72
    for text, size, color, below in (
        (table.panel.name, LABEL_SIZE, INK, 0.08),
        (meaning(table.panel, scale), SMALL_SIZE, SOFT_INK, 0.26),
    ):
        y = 1 - (top + below) / height
        drawn.text(MARGIN / WIDTH, y, fitted(text, room, size), size=size, color=color, va="center")


def _finish_tile(axes: Axes, tile: Tile, grid: _Grid, index: int) -> None:
    """Write the title of a tile, and the numbers of its blocks at the left of the first tile of a row."""
    plain_axes(axes, grid=False)
    axes.set_xticks([])
    name_panel(axes, fitted(tile.title, (grid.width + 0.6 * _GAP) * 72, SMALL_SIZE), 4, size=SMALL_SIZE)
    shown = labeled_rows(tile, grid.height) if index % grid.abreast == 0 else []
    axes.set_yticks([row + 0.5 for _, row in shown], [str(depth) for depth, _ in shown], size=SMALL_SIZE, color=INK)
    if shown:
        axes.set_ylabel("block", size=SMALL_SIZE, color=INK, labelpad=2)


def labeled_rows(tile: Tile, height: float) -> list[tuple[int, int]]:
    """Return (depth, row) of the first layer of each block, as many as have room for a number."""
    shown: list[tuple[int, int]] = []
    pitch = height * 72 / len(tile.rows)
    for row, depth in enumerate(tile.depths):
        is_first = row == 0 or depth != tile.depths[row - 1]
        if depth is not None and is_first and (not shown or (row - shown[-1][1]) * pitch >= _LABEL_PITCH):
            shown.append((depth, row))
    return shown
