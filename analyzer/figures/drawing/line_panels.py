"""Panels of lines: their layout, their vertical axis, and one line at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from analyzer.figures.drawing.checkpoint_axis import BoolArray
from analyzer.figures.drawing.end_labels import EndLabel, draw_end_labels, label_room
from analyzer.figures.drawing.keys import KeyLine, draw_key, key_height
from analyzer.figures.drawing.labels import wrapped
from analyzer.figures.drawing.sheet import (
    HEAD,
    MARGIN,
    WIDTH,
    is_narrow,
    new_sheet,
    place,
    sheet_width,
    size_of,
    text_room,
)
from analyzer.figures.drawing.style import GAP_MARKER, INK, LABEL_SIZE, Look, plain_axes
from analyzer.figures.drawing.ticks import linear_ticks, log_ticks

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

# All in inches.
LEFT = 0.82  # for the numbers of the vertical axis
KEY_WIDTH = 2.35
FOOT_GAP, _PANEL_GAP = 0.52, 0.42
_TOP = HEAD + 0.3
SECOND_LINE = 0.16  # of the name of a panel, on narrow sheets
_TICK_PITCH = 0.4  # the least distance from tick to tick

KEY_TEXT = KEY_WIDTH * 72 - 30  # points that the key leaves for a name
_MARKERS_ON_A_LINE = 12
_NAME = "name of the panel"  # matplotlib's label of that text


class LineSheet:
    """A sheet with panels of lines above each other and notes below.

    The lines are named at the right of the panels, at their ends or in a key; on a narrow sheet in a key below.

    Args:
        panels: how many panels there are.
        notes: the lines below them.
        key: the names of the lines, with their looks.
        at_ends: whether the lines are named at their ends.
    """

    def __init__(self, panels: int, notes: Sequence[KeyLine], key: Sequence[KeyLine], *, at_ends: bool = False) -> None:
        self._height = {1: 3.4, 2: 2.3}.get(panels, 1.9)
        self._gap, self._start = _PANEL_GAP, _TOP
        self._notes, self._key, right = notes, key, KEY_WIDTH
        if is_narrow():
            self._notes, self._key, right = [*key, *notes], (), 0.0
            self._height = min(self._height, 2.3)
            self._gap, self._start = _PANEL_GAP + SECOND_LINE, _TOP + SECOND_LINE
        elif at_ends:
            self._key, right = (), label_room([line.text for line in key])
        self._width = sheet_width() - LEFT - right - 2 * MARGIN
        body = max(panels * (self._height + self._gap) - self._gap, key_height(self._key, KEY_WIDTH) - 0.1)
        self._foot = self._start + body + FOOT_GAP
        self._drawn = new_sheet(self._foot + key_height(self._notes) + MARGIN)

    def panel(self, index: int) -> Axes:
        """Add the panel ``index``, counted from the top."""
        return place(self._drawn, LEFT, self._top(index), self._width, self._height)

    def label(self, axes: Axes, labels: Sequence[EndLabel]) -> None:
        """Name the lines of a panel at their ends, unless the sheet is narrow, which has a key."""
        if not is_narrow():
            draw_end_labels(axes, labels)

    def finish(self) -> Figure:
        """Draw the key and the notes, and return the figure."""
        draw_key(self._drawn, WIDTH - MARGIN - KEY_WIDTH, _TOP, KEY_WIDTH, self._key)
        draw_key(self._drawn, MARGIN, self._foot, text_room(), self._notes)
        return self._drawn

    def _top(self, index: int) -> float:
        return self._start + index * (self._height + self._gap)


def draw_line(
    axes: Axes, x: FloatArray, y: FloatArray, look: Look, index: int = 0, hollow: BoolArray | None = None
) -> None:
    """Draw a line, broken where values are missing.

    Args:
        axes: the panel.
        x: the places (n,).
        y: the values (n,); those that are not finite are missing.
        look: the color, dashes and marker.
        index: the line's number in the panel, which staggers its markers against those of the other lines.
        hollow: the values (n,) to draw as hollow circles, None for none.
    """
    finite = np.isfinite(y)
    shown = np.where(finite, y, np.nan)
    isolated = finite & ~np.append(False, finite[:-1]) & ~np.append(finite[1:], False)
    every = max(1, -(-len(y) // _MARKERS_ON_A_LINE))
    marked = finite & ((np.arange(len(y)) + index) % every == 0) | isolated
    axes.plot(x, shown, color=look.color, linestyle=look.dash, linewidth=look.width)
    if hollow is not None:
        marked &= ~hollow
        circled = hollow & finite
        axes.plot(x[circled], y[circled], GAP_MARKER, color=look.color, markersize=6.5, markerfacecolor="white")
    axes.plot(x[marked], y[marked], look.marker, color=look.color, markersize=4, markeredgewidth=0)


def finish_panel(axes: Axes, name: str, limits: tuple[float, float], *, log: bool, color: str = INK) -> None:
    """Write the name of a panel above it and set up its vertical axis."""
    plain_axes(axes, grid=True)
    most = max(3, int(size_of(axes)[1] / _TICK_PITCH))
    if log:
        axes.set_yscale("log")
        axes.minorticks_off()
    axes.set_ylim(*limits)
    positions, texts = log_ticks(limits, most) if log else linear_ticks(limits, most)
    axes.set_yticks(positions, texts)
    name_panel(axes, name, color=color)


def share_of_height(axes: Axes, value: float) -> float:
    """Return where a value is between the bottom (0) and the top (1) of a panel whose limits are set."""
    return float((axes.transData + axes.transAxes.inverted()).transform((0.0, value))[1])


def name_panel(axes: Axes, name: str, above: float = 5, color: str = INK, size: float = LABEL_SIZE) -> None:
    """Write the name of a panel ``above`` points above its top left corner; on a narrow sheet it may have two lines."""
    if is_narrow():
        figure = axes.get_figure(root=True)
        assert figure is not None, "axes are made by place(), on a sheet"
        room = (1 - axes.get_position().x0) * figure.get_size_inches()[0] - MARGIN
        name = "\n".join(wrapped(name, room * 72, size))
    axes.annotate(
        name,
        (0, 1),
        (0, above),
        xycoords="axes fraction",
        textcoords="offset points",
        size=size,
        color=color,
        va="bottom",
        linespacing=1.1,
        label=_NAME,
    )


def raise_name(axes: Axes, by: float) -> None:
    """Move the name of a panel up by so many points, to make room below it."""
    for text in axes.texts:
        if isinstance(text, Annotation) and text.get_label() == _NAME:
            text.xyann = (text.xyann[0], text.xyann[1] + by)
