"""Label lines at their right ends, in their colors, so that no key is needed; labels that would collide move apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from analyzer.figures.drawing.labels import text_width
from analyzer.figures.drawing.sheet import size_of
from analyzer.figures.drawing.style import SMALL_SIZE

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

LABEL_TEXT = 170.0  # points, the most that a label may be wide
_PITCH = 9.6  # points from one label to the next
_LEADER = 12.0  # points, the line from the end of a curve to its label
_BOLD = 1.2  # bold text is wider


@dataclass(frozen=True, slots=True)
class EndLabel:
    """The label of a line: ``height`` is where the line ends, as a share of the panel's height."""

    text: str
    height: float
    color: str
    bold: bool = False


def label_room(texts: Sequence[str]) -> float:
    """Return the inches at the right of a panel that its labels need."""
    return (_LEADER + 4 + _BOLD * max((text_width(text) for text in texts), default=0.0)) / 72


def draw_end_labels(axes: Axes, labels: Sequence[EndLabel]) -> None:
    """Write the labels at the right of a panel, each joined to the end of its line."""
    width, height = (72 * inches for inches in size_of(axes))
    ordered = sorted(labels, key=lambda label: label.height)
    ends = np.clip([label.height for label in ordered], 0.0, 1.0) * height
    beside: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
    for label, end, place in zip(ordered, ends, moved_apart(ends, _PITCH, height), strict=True):
        leader = [1 + 2 / width, 1 + _LEADER / width]
        axes.plot(leader, [end / height, place / height], color=label.color, linewidth=0.7, **beside)
        weight = "bold" if label.bold else "normal"
        x = 1 + (_LEADER + 2) / width
        axes.text(
            x, place / height, label.text, size=SMALL_SIZE, color=label.color, weight=weight, va="center", **beside
        )


def moved_apart(places: FloatArray, pitch: float, height: float) -> FloatArray:
    """Return the rising ``places`` (n,) moved as little as possible so that neighbors are ``pitch`` apart.

    They stay between 0 and ``height`` if there is room for all. Source: isotonic regression by pooling adjacent
    violators (Barlow et al. 1972) of the places minus the room that the labels below need.
    """
    steps = pitch * np.arange(len(places))
    blocks: list[tuple[float, int]] = []  # mean, count
    for value in places - steps:
        mean, count = float(value), 1
        while blocks and blocks[-1][0] >= mean:
            before, others = blocks.pop()
            mean, count = (before * others + mean * count) / (others + count), others + count
        blocks.append((mean, count))
    spread = np.array([mean for mean, count in blocks for _ in range(count)])
    most = max(0.0, height - pitch * (len(places) - 1))
    moved: FloatArray = np.clip(spread, 0.0, most) + steps
    return moved
