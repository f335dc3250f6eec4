"""Draw what heat maps by layer and by role share: the panel of the mean, rings at gaps, and notes on their colors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.drawing.checkpoint_axis import CheckpointAxis, draw_checkpoint_axis
from analyzer.figures.drawing.colors import ColorScale
from analyzer.figures.drawing.finding_marks import explained
from analyzer.figures.drawing.heat_cells import cells
from analyzer.figures.drawing.keys import HATCHED, KeyLine
from analyzer.figures.drawing.layer_content import LayerContent
from analyzer.figures.drawing.layer_table import LayerTable
from analyzer.figures.drawing.line_panels import draw_line, finish_panel
from analyzer.figures.drawing.sheet import HEAD, MARGIN, place, sheet_width
from analyzer.figures.drawing.style import GAP_MARKER, MEAN_LOOK, SOFT_INK
from analyzer.figures.drawing.ticks import linear_limits, number_text

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

MAX_HEIGHT = 9.0  # inches of a whole figure: one screen (900 pixels) at the width of the page
_STRIP, _STRIP_GAP, _STRIP_TOP = 0.85, 0.3, 0.25  # inches: the mean's panel, and the gaps below and above it


def heat_notes(content: LayerContent, scales: Sequence[ColorScale]) -> list[KeyLine]:
    """Return the notes below heat maps: on marks of values, on colors, and on the numbers of findings."""
    return [*content.notes(), *_color_notes(content.axis, content.layers, scales), *explained(content.marks)]


def _color_notes(axis: CheckpointAxis, layers: Sequence[LayerTable], scales: Sequence[ColorScale]) -> list[KeyLine]:
    """Explain what colors are relative to, cells without a value, zeros on a log scale and values beyond it."""
    lines = []
    if -1 in cells(axis)[1] or any(np.isnan(table.values).any() for table in layers):
        lines.append(HATCHED)
    zero_colors = sorted({scale.zero_color for scale in scales if scale.zeros})
    lines += [KeyLine("exactly 0, which a log scale cannot show", patch=color) for color in zero_colors]
    lines += [KeyLine(text) for text in map(_start_note, layers) if text]
    if any(scale.clips(table.colored) for table, scale in zip(layers, scales, strict=True)):
        lines.append(KeyLine("a value beyond the ends of a color bar has the color of that end"))
    return lines


def _start_note(table: LayerTable) -> str:
    """Return between which values the layers start, which colors relative to the start do not show."""
    if table.panel.relative != "start":
        return ""
    starts = [float(row[row > 0][0]) for row in table.values if (row > 0).any()]
    if not starts:
        return ""
    low, high = number_text(min(starts)), number_text(max(starts))
    first = f"the first values are {low} to {high}" if low != high else f"the first value is {low}"
    return f"{table.panel.name}: red is above a layer's first value, blue below it; {first}"


def strip_height(content: LayerContent) -> float:
    """Return the inches below the head of a sheet that the panel of the mean needs, 0 without a mean."""
    return _STRIP_TOP + _STRIP + _STRIP_GAP if content.mean is not None else 0.0


def draw_strip(drawn: Figure, content: LayerContent, left: float) -> None:
    """Draw the mean over the layers, if there is one, as a line above the maps, from ``left`` to the margin."""
    if content.mean is None:
        return
    axes = place(drawn, left, HEAD + _STRIP_TOP, sheet_width() - left - 2 * MARGIN, _STRIP)
    name = f"mean over the layers ({content.layers[0].panel.unit})"
    finish_panel(axes, name, linear_limits(content.mean.values), log=False)
    draw_line(axes, content.axis.positions, content.mean.values, MEAN_LOOK)
    draw_checkpoint_axis(axes, content.axis, limits=limits_of(content.axis), labeled=False)


def limits_of(axis: CheckpointAxis) -> tuple[float, float]:
    """Return where the columns of a heat map begin and end."""
    edges, _ = cells(axis)
    return float(edges[0]), float(edges[-1])


def draw_rings(axes: Axes, x: FloatArray, height: float) -> None:
    """Mark the columns at ``x`` with rings just above a heat map ``height`` inches high."""
    axes.plot(
        x,
        np.full(x.shape, 1 + 0.05 / height),
        GAP_MARKER,
        color=SOFT_INK,
        markersize=4,
        markerfacecolor="white",
        clip_on=False,
        transform=axes.get_xaxis_transform(),
    )
