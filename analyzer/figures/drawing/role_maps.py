"""Draw the layers of a large network as tiles: one for each role, blocks downward, time to the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.drawing.checkpoint_axis import draw_checkpoint_axis
from analyzer.figures.drawing.colors import ColorScale, fill_color_bar, meaning, scale_of
from analyzer.figures.drawing.finding_marks import NUMBERS_HEIGHT, draw_row_marks, times_only
from analyzer.figures.drawing.heat_cells import POOLED, cells, draw_cells, is_pooled
from analyzer.figures.drawing.heat_sheet import (
    MAX_HEIGHT,
    draw_rings,
    draw_strip,
    heat_notes,
    limits_of,
    strip_height,
)
from analyzer.figures.drawing.keys import KeyLine, draw_key, key_height
from analyzer.figures.drawing.labels import fitted
from analyzer.figures.drawing.layer_content import LayerContent
from analyzer.figures.drawing.layer_table import LayerTable
from analyzer.figures.drawing.line_panels import FOOT_GAP, LEFT, name_panel
from analyzer.figures.drawing.sheet import HEAD, MARGIN, is_narrow, new_sheet, place, sheet_width, text_room
from analyzer.figures.drawing.style import INK, LABEL_SIZE, SMALL_SIZE, SOFT_INK, plain_axes
from analyzer.model.network import OTHER, depth_of, role_of

# All in inches.
_LEFT, _GAP = 0.6, 0.34  # left of the first tile, and between tiles
_BAND_HEAD, _TITLE = 0.42, 0.22  # a panel's name and color bar, and a tile's title
_TICKS = 0.12  # below the tiles of a row
_BAR_WIDTH = 3.2
_MIN_TILE, _MAX_TILE, _TILE_IF_NARROW = 0.45, 2.4, 1.0  # the height of a tile
_BAR_IF_NARROW, _RINGS = 0.36, 0.08

_MOST_ABREAST, _ABREAST_IF_NARROW = 8, 3  # tiles
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


def role_figure(content: LayerContent, tiles: Sequence[Tile]) -> Figure:
    """Draw every layer as a row of its role's tile, rows of tiles for each panel, at most one screen high if wide.

    Args:
        content: the layers.
        tiles: their arrangement.
    """
    axis, layers, marks = content.axis, content.layers, content.marks
    scales = [scale_of(table) for table in layers]
    over = axis.positions[content.over_gaps]
    foot = [KeyLine(f"one tile for each role: blocks downward, time to the right; {_NOTE}")]
    foot += heat_notes(content, scales)
    of_time = times_only(marks, content.names)
    start = HEAD + strip_height(content)
    rings = _RINGS if over.size and is_narrow() else 0.0  # a narrow tile has no room for them beside its title
    title = _TITLE + rings + (NUMBERS_HEIGHT / 72 if of_time else 0.0)
    grid = _Grid.fitting(tiles, len(layers), start, len(foot) + 1, title)
    if is_pooled(max(len(tile.rows) for tile in tiles), len(cells(axis)[1]), grid.width, grid.height):
        foot.append(POOLED)
    drawn = new_sheet(grid.bottom + FOOT_GAP + key_height(foot) + MARGIN)
    draw_strip(drawn, content, LEFT)
    for panel, (table, scale) in enumerate(zip(layers, scales, strict=True)):
        _draw_panel_head(drawn, table, scale, grid.top(panel))
        for index, tile in enumerate(tiles):
            axes = place(drawn, *grid.corner(panel, index), grid.width, grid.height)
            draw_cells(axes, axis, table, scale, tile.rows)
            _finish_tile(axes, tile, grid, index, above=4 + 72 * rings)
            last = panel == len(layers) - 1 and index + grid.abreast >= len(tiles)
            if last:
                draw_checkpoint_axis(axes, axis, limits=limits_of(axis))
            draw_row_marks(axes, axis, marks, [content.names[row] for row in tile.rows], of_time)
            if over.size:
                draw_rings(axes, over, grid.height)
    draw_key(drawn, MARGIN, grid.bottom + FOOT_GAP, text_room(), foot)
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
        lines = -(-len(tiles) // (_ABREAST_IF_NARROW if is_narrow() else _MOST_ABREAST))
        abreast = -(-len(tiles) // lines)
        width = (sheet_width() - _LEFT - 2 * MARGIN - (abreast - 1) * _GAP) / abreast
        if is_narrow():
            return cls(abreast, lines, panels, start, title, width, _TILE_IF_NARROW)
        room = MAX_HEIGHT - start - FOOT_GAP - key_height([KeyLine("")] * notes) - MARGIN
        height = room / panels / lines - _BAND_HEAD / lines - title - _TICKS
        return cls(abreast, lines, panels, start, title, width, min(max(height, _MIN_TILE), _MAX_TILE))

    @property
    def bottom(self) -> float:
        """The bottom of the last tile."""
        return self.top(self.panels) - _TICKS

    def top(self, panel: int) -> float:
        """Return where the head of a panel begins."""
        return self.start + panel * (_band_head() + self.lines * (self.title + self.height + _TICKS))

    def corner(self, panel: int, index: int) -> tuple[float, float]:
        """Return the left and the top of a tile."""
        line, column = divmod(index, self.abreast)
        top = self.top(panel) + _band_head() + self.title + line * (self.title + self.height + _TICKS)
        return _LEFT + column * (self.width + _GAP), top


def _band_head() -> float:
    """Return the inches above the tiles of a panel: for its name and, on a narrow sheet below it, its color bar."""
    return _BAND_HEAD + (_BAR_IF_NARROW if is_narrow() else 0.0)


def _draw_panel_head(drawn: Figure, table: LayerTable, scale: ColorScale, top: float) -> None:
    """Write the name of a panel, and draw its color bar beside it or, on a narrow sheet, below."""
    width = sheet_width()
    left = 2 * MARGIN if is_narrow() else width - 2 * MARGIN - _BAR_WIDTH
    bar = place(drawn, left, top + (_BAND_HEAD if is_narrow() else 0.04), min(_BAR_WIDTH, width - 4 * MARGIN), 0.12)
    fill_color_bar(bar, scale)
    height = drawn.get_size_inches()[1]
    room = (text_room() if is_narrow() else left - MARGIN - 0.2) * 72
    for text, size, color, below in (
        (table.panel.name, LABEL_SIZE, INK, 0.08),
        (meaning(table.panel, scale), SMALL_SIZE, SOFT_INK, 0.26),
    ):
        y = 1 - (top + below) / height
        drawn.text(MARGIN / width, y, fitted(text, room, size), size=size, color=color, va="center")


def _finish_tile(axes: Axes, tile: Tile, grid: _Grid, index: int, *, above: float) -> None:
    """Write the title of a tile above it, and the numbers of its blocks at the left of the first tile of a row."""
    plain_axes(axes, grid=False)
    axes.set_xticks([])
    name_panel(axes, fitted(tile.title, (grid.width + 0.6 * _GAP) * 72, SMALL_SIZE), above, size=SMALL_SIZE)
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
