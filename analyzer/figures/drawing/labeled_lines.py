"""A panel of lines that are named at their ends instead of in a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from analyzer.figures.drawing.finding_marks import spread
from analyzer.figures.drawing.labels import fitted
from analyzer.figures.drawing.line_panels import finish_panel
from analyzer.figures.drawing.sheet import size_of
from analyzer.figures.drawing.style import LINE_WIDTH, SMALL_SIZE
from analyzer.figures.drawing.ticks import linear_limits, log_limits, spans_decades

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

_PITCH = 10.5  # points from one name to the next one below it
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
    ends: list[float] = []
    named: list[LabeledLine] = []
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
        ends.append(_height_of(float(shown[known[-1]]), limits, log=log))
        named.append(line)
    _draw_names(axes, named, ends, room)


def _height_of(value: float, limits: tuple[float, float], *, log: bool) -> float:
    """Return where a value lies between the limits, 0 to 1."""
    low, high, here = np.log10([*limits, value]) if log else np.array([*limits, value])
    return float(np.clip((here - low) / (high - low), 0.0, 1.0))


def _draw_names(axes: Axes, lines: Sequence[LabeledLine], ends: Sequence[float], room: float) -> None:
    height = size_of(axes)[1] * 72
    places = spread([end * height for end in ends], [_PITCH] * len(ends), height)
    for line, y in zip(lines, places, strict=True):
        axes.annotate(
            fitted(line.label, room * 72 - 6),
            (1, 0),
            (5, y),
            xycoords="axes fraction",
            textcoords="offset points",
            size=SMALL_SIZE,
            color=line.color,
            va="center_baseline",
        )
