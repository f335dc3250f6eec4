"""A panel of lines that are named at their ends instead of in a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from analyzer.figures.drawing.end_labels import EndLabel, draw_end_labels
from analyzer.figures.drawing.labels import fitted
from analyzer.figures.drawing.line_panels import finish_panel, share_of_height
from analyzer.figures.drawing.style import LINE_WIDTH
from analyzer.figures.drawing.ticks import linear_limits, log_limits, spans_decades

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

_LEADER = 18.0  # points at the right of a panel before the names
_NARROW = 0.5  # a positive quantity that spans fewer powers of ten has a linear axis
_SMALL_MARK = 3.5  # points


@dataclass(frozen=True, slots=True)
class LabeledLine:
    """A line through the points ``x``, ``y`` (n,) with its name at the end; it is broken where y is not finite."""

    label: str
    x: FloatArray
    y: FloatArray
    color: str
    dash: str = "-"
    width: float = LINE_WIDTH


def draw_labeled_lines(
    axes: Axes, name: str, lines: Sequence[LabeledLine], room: float, also: FloatArray | None = None
) -> None:
    """Draw lines with their names at the right, on a log axis if they are positive and differ enough.

    On a log axis a zero lies at the lower edge.

    Args:
        axes: the panel.
        name: the name of the panel.
        lines: the lines.
        room: inches for names at the right of the panel.
        also: further values that the vertical axis must show.
    """
    values = np.concatenate([*(line.y for line in lines), np.zeros(0) if also is None else also.ravel()])
    log = spans_decades(values, _NARROW) and not (values < 0).any()
    limits = log_limits(values) if log else linear_limits(values)
    finish_panel(axes, f"{name} (log axis)" if log else name, limits, log=log)
    ends = []
    for line in lines:
        shown = np.where(np.isfinite(line.y), line.y, np.nan)
        if log:
            shown = np.where(shown == 0, limits[0], shown)
        known = np.flatnonzero(np.isfinite(shown))
        if not known.size:
            continue
        axes.plot(line.x, shown, color=line.color, linestyle=line.dash, linewidth=line.width)
        isolated = [at for at in known if not np.isfinite(shown[max(0, at - 1) : at + 2]).sum() > 1]
        axes.plot(line.x[isolated], shown[isolated], "o", color=line.color, markersize=_SMALL_MARK, mew=0)
        label = fitted(line.label, room * 72 - _LEADER)
        ends.append(EndLabel(label, share_of_height(axes, float(shown[known[-1]])), line.color))
    draw_end_labels(axes, ends)
