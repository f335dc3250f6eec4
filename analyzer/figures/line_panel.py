"""A panel with lines: one series at a time, and the frame around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from analyzer.figures.horizontal import BoolArray
from analyzer.figures.sheet import MARGIN, WIDTH, size_of
from analyzer.figures.style import GAP_MARKER, INK, LABEL_SIZE, Look, plain_axes
from analyzer.figures.ticks import linear_ticks, log_ticks

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

LEFT = 0.82  # for the numbers of the vertical axis
KEY_WIDTH = 2.35
PLOT_WIDTH = WIDTH - LEFT - KEY_WIDTH - 2 * MARGIN
FOOT_GAP, PANEL_GAP = 0.52, 0.42
KEY_TEXT = KEY_WIDTH * 72 - 30  # points left for a name
_MARKS_ON_A_LINE = 12
_TICK_PITCH = 0.4  # inches at least from tick to tick


def panel_heights(count: int) -> float:
    """Give the height of each of ``count`` panels in inches."""
    return {1: 3.4, 2: 2.3}.get(count, 1.9)


def draw_line(
    axes: Axes, x: FloatArray, y: FloatArray, look: Look, turn: int = 0, hollow: BoolArray | None = None
) -> None:
    """Draw a series, broken where values are missing; ``turn`` staggers its marks against others'."""
    finite = np.isfinite(y)
    shown = np.where(finite, y, np.nan)
    lonely = finite & ~np.append(False, finite[:-1]) & ~np.append(finite[1:], False)
    every = max(1, -(-len(y) // _MARKS_ON_A_LINE))
    marked = finite & ((np.arange(len(y)) + turn) % every == 0) | lonely
    axes.plot(x, shown, color=look.colour, linestyle=look.dash, linewidth=look.width)
    if hollow is not None:
        marked &= ~hollow
        over = hollow & finite
        axes.plot(x[over], y[over], GAP_MARKER, color=look.colour, markersize=6.5, markerfacecolor="white")
    axes.plot(x[marked], y[marked], look.marker, color=look.colour, markersize=4, markeredgewidth=0)


def finish_panel(axes: Axes, name: str, limits: tuple[float, float], *, log: bool) -> None:
    """Write what a panel shows above it and set up its vertical axis."""
    plain_axes(axes, grid=True)
    most = max(3, int(size_of(axes)[1] / _TICK_PITCH))
    if log:
        axes.set_yscale("log")
        axes.minorticks_off()
    axes.set_ylim(*limits)
    positions, texts = log_ticks(limits, most) if log else linear_ticks(limits, most)
    axes.set_yticks(positions, texts)
    axes.annotate(
        name,
        (0, 1),
        (0, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        size=LABEL_SIZE,
        color=INK,
        va="bottom",
    )


def spans_decades(values: FloatArray, decades: float = 2.0) -> bool:
    """Say whether the positive values span more than this many powers of ten."""
    positive = values[np.isfinite(values) & (values > 0)]
    return positive.size > 0 and bool(np.ptp(np.log10(positive)) > decades)
