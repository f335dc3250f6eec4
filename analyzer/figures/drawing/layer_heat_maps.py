"""Draw many layers as heat maps of layers by checkpoints: one for each metric, side by side, with shared rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.drawing.checkpoint_axis import draw_checkpoint_axis
from analyzer.figures.drawing.colors import draw_color_bar, scale_of
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
from analyzer.figures.drawing.labels import short_labels, text_width
from analyzer.figures.drawing.layer_content import LayerContent
from analyzer.figures.drawing.line_panels import FOOT_GAP, LEFT
from analyzer.figures.drawing.sheet import HEAD, MARGIN, is_narrow, new_sheet, place, sheet_width, text_room
from analyzer.figures.drawing.style import INK, SMALL_SIZE, plain_axes

_NAME_WIDTH, _NAME_IF_NARROW = 150.0, 88.0  # points for a layer's name
_GAP = 0.5  # inches between panels
_BAR = 0.92  # inches, the height of a color bar with its numbers and its label
_ROW, _MIN_HEIGHT = 0.135, 1.6  # inches: a row, and all rows together
_HEIGHT_IF_NARROW = 5.0  # inches, the most of a map
_LABEL_PITCH = 9.2  # points, the least distance from one layer's name to the next


def heat_figure(content: LayerContent) -> Figure:
    """Draw every layer as a row of a heat map for each panel, at most one screen high; below each other if narrow."""
    axis, layers, marks = content.axis, content.layers, content.marks
    names, left_out = short_labels(content.names, _NAME_IF_NARROW if is_narrow() else _NAME_WIDTH)
    left = MARGIN + max(text_width(name) for name in names) / 72 + 0.12
    left = max(left, LEFT) if content.mean is not None else left
    scales = [scale_of(table) for table in layers]
    foot = [*heat_notes(content, scales), *([KeyLine(left_out)] if left_out else [])]
    of_time = times_only(marks, content.names)
    grid = _Grid.fitting(content, left, NUMBERS_HEIGHT / 72 if of_time else 0.0, key_height([*foot, *foot[:1]]))
    if is_pooled(len(names), len(cells(axis)[1]), grid.width, grid.height):
        foot.append(POOLED)
    drawn = new_sheet(grid.bottom + key_height(foot) + MARGIN)
    draw_strip(drawn, content, left)
    over = axis.positions[content.over_gaps]
    for index, (table, scale) in enumerate(zip(layers, scales, strict=True)):
        draw_color_bar(place(drawn, *grid.bar(index), 0.12), table.panel, scale)
        axes = place(drawn, *grid.corner(index), grid.width, grid.height)
        draw_cells(axes, axis, table, scale)
        draw_checkpoint_axis(axes, axis, limits=limits_of(axis))
        draw_row_marks(axes, axis, marks, table.names, of_time)
        _label_rows(axes, names if index % grid.abreast == 0 else [], len(names), grid.height)
        if over.size:
            draw_rings(axes, over, grid.height)
    draw_key(drawn, MARGIN, grid.bottom, text_room(), foot)
    return drawn


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where the heat maps are, in inches: ``abreast`` in each of ``lines``, each below its color bar."""

    abreast: int
    lines: int
    start: float
    left: float
    above: float
    width: float
    height: float

    @classmethod
    def fitting(cls, content: LayerContent, left: float, numbers: float, notes: float) -> _Grid:
        """Return the grid that fills the sheet's width, with room for the numbers of findings and for the notes."""
        abreast = 1 if is_narrow() else len(content.layers)
        start, above = HEAD + strip_height(content), _BAR + numbers
        width = (sheet_width() - left - 2 * MARGIN - (abreast - 1) * _GAP) / abreast
        most = _HEIGHT_IF_NARROW if is_narrow() else MAX_HEIGHT - start - above - FOOT_GAP - notes - MARGIN
        height = min(max(len(content.names) * _ROW, _MIN_HEIGHT), most)
        return cls(abreast, len(content.layers) // abreast, start, left, above, width, height)

    @property
    def bottom(self) -> float:
        """Where the notes begin."""
        return self.start + self.lines * self._pitch

    @property
    def _pitch(self) -> float:
        return self.above + self.height + FOOT_GAP

    def corner(self, index: int) -> tuple[float, float]:
        """Return the left and the top of a heat map."""
        line, column = divmod(index, self.abreast)
        return self.left + column * (self.width + _GAP), self.start + line * self._pitch + self.above

    def bar(self, index: int) -> tuple[float, float, float]:
        """Return the left, the top and the width of a color bar; on a narrow sheet it may be wider than its map."""
        left, top = self.corner(index)
        if is_narrow():
            left = 2 * MARGIN
        return left, top - self.above + _BAR - 0.42, self.width + self.corner(index)[0] - left


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
