"""The keys of a figure: lines of text, each after a sample of what it explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.drawing.labels import wrapped
from analyzer.figures.drawing.sheet import place, text_room
from analyzer.figures.drawing.style import INK, NO_VALUE, SMALL_SIZE, SOFT_INK, Look

_LINE = 0.19  # inches, the height of a line


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One line of a key: a text, after a sample of a line, a marker or a patch; without a sample it is a note."""

    text: str
    look: Look | None = None
    marker: str | None = None
    hollow: bool = False
    patch: str | None = None
    hatch: str | None = None


HATCHED = KeyLine(
    "hatched: no value, because the tensor, the checkpoint or the one to compare it with is missing",
    patch=NO_VALUE,
    hatch="////",
)


def key_height(lines: Sequence[KeyLine], width: float | None = None) -> float:
    """Return the height in inches that :func:`draw_key` needs, by default between the margins of the sheet."""
    return _LINE * sum(len(_texts(line, width or text_room())) for line in lines)


def draw_key(drawn: Figure, left: float, top: float, width: float, lines: Sequence[KeyLine]) -> None:
    """Draw a key in a box given in inches; texts that are wider go on in the next line.

    matplotlib's legend is not used because it drops names that begin with an underscore.
    """
    if not lines:
        return
    height = key_height(lines, width)
    axes = place(drawn, left, top, width, height)
    axes.set_axis_off()
    axes.set_xlim(0, width * 72)
    axes.set_ylim(height * 72, 0)
    y = 0.5 * _LINE * 72
    for line in lines:
        _draw_sample(axes, y, line)
        for text in _texts(line, width):
            axes.text(_text_start(line), y, text, size=SMALL_SIZE, color=INK, va="center_baseline")
            y += _LINE * 72


def _texts(line: KeyLine, width: float) -> list[str]:
    """Return the text of a line of a key, as several lines if it is wider than ``width`` inches."""
    return wrapped(line.text, width * 72 - _text_start(line))


def _text_start(line: KeyLine) -> float:
    """Return where the text begins, in points."""
    if line.look is not None:
        return 28.0
    return 18.0 if line.marker is not None or line.patch is not None else 0.0


def _draw_sample(axes: Axes, y: float, line: KeyLine) -> None:
    """Draw what the text explains."""
    if line.look is not None:
        look = line.look
        axes.plot([0, 22], [y, y], color=look.color, linestyle=look.dash, linewidth=look.width)
        axes.plot([11], [y], color=look.color, marker=look.marker, markersize=4.5)
    elif line.marker is not None:
        face = "none" if line.hollow else SOFT_INK
        axes.plot([7], [y], color=SOFT_INK, marker=line.marker, markersize=5, markerfacecolor=face)
    elif line.patch is not None:
        axes.fill_between(
            [1, 13], y - 4, y + 4, facecolor=line.patch, edgecolor=SOFT_INK, hatch=line.hatch, linewidth=0.5
        )
