"""Panels of lines: their layout, their vertical axis, and one line at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from analyzer.figures.drawing.checkpoint_axis import BoolArray
from analyzer.figures.drawing.keys import KeyLine, draw_key, key_height
from analyzer.figures.drawing.sheet import HEAD, MARGIN, WIDTH, new_sheet, place, size_of
from analyzer.figures.drawing.style import GAP_MARKER, INK, LABEL_SIZE, Look, plain_axes
from analyzer.figures.drawing.ticks import linear_ticks, log_ticks

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

# All in inches.
LEFT = 0.82  # for the numbers of the vertical axis
KEY_WIDTH = 2.35
FOOT_GAP, _PANEL_GAP = 0.52, 0.42
_TOP = HEAD + 0.3
_TICK_PITCH = 0.4  # the least distance from tick to tick

KEY_TEXT = KEY_WIDTH * 72 - 30  # points that the key leaves for a name
_MARKERS_ON_A_LINE = 12
_NAME = "name of the panel"  # matplotlib's label of that text


class LineSheet:
    """A sheet with panels of lines above each other, labels or a key at their right and notes below.

    Args:
        panels: how many panels there are.
        notes: the lines below them.
        right: the inches at the right of the panels, for labels or a key.
        key: the key at their right, which may be higher than the panels.
    """

    def __init__(self, panels: int, notes: Sequence[KeyLine], right: float, key: Sequence[KeyLine] = ()) -> None:
        self._width = WIDTH - LEFT - right - 2 * MARGIN
        self._height = {1: 3.4, 2: 2.3}.get(panels, 1.9)
        self._notes, self._key = notes, key
        body = max(panels * (self._height + _PANEL_GAP) - _PANEL_GAP, key_height(key) - 0.1)
        self._foot = _TOP + body + FOOT_GAP
        self._drawn = new_sheet(self._foot + key_height(notes) + MARGIN)

    def panel(self, index: int) -> Axes:
        """Add the panel ``index``, counted from the top."""
        return place(self._drawn, LEFT, self._top(index), self._width, self._height)

    def finish(self) -> Figure:
        """Draw the key and the notes, and return the figure."""
        draw_key(self._drawn, WIDTH - MARGIN - KEY_WIDTH, _TOP, KEY_WIDTH, self._key)
        draw_key(self._drawn, MARGIN, self._foot, WIDTH - 2 * MARGIN, self._notes)
        return self._drawn

    def _top(self, index: int) -> float:
        return _TOP + index * (self._height + _PANEL_GAP)


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
    """Write the name of a panel ``above`` points above its top left corner."""
    axes.annotate(
        name,
        (0, 1),
        (0, above),
        xycoords="axes fraction",
        textcoords="offset points",
        size=size,
        color=color,
        va="bottom",
        label=_NAME,
    )


def raise_name(axes: Axes, by: float) -> None:
    """Move the name of a panel up by so many points, to make room below it."""
    for text in axes.texts:
        if isinstance(text, Annotation) and text.get_label() == _NAME:
            text.xyann = (text.xyann[0], text.xyann[1] + by)
