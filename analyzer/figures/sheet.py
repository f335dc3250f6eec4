"""A page to draw on, with places given in inches from its top left corner.

Everything is placed by arithmetic on known sizes: automatic layout draws a figure twice to find them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.labels import fitted, text_width
from analyzer.figures.style import INK, LABEL_SIZE, NO_VALUE, SMALL_SIZE, SOFT_INK, TITLE_SIZE, Look

WIDTH = 9.0
HEAD = 0.5  # the title's height
MARGIN = 0.15
_LINE = 0.19  # the height of a line in a key or a note


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One line of a key: a sample of how something is drawn, and what it is; without a sample, a remark."""

    text: str
    look: Look | None = None
    marker: str | None = None
    hollow: bool = False
    patch: str | None = None
    hatch: str | None = None


def new_sheet(height: float) -> Figure:
    """Make an empty white figure of the house's width, ``height`` inches high."""
    return Figure(figsize=(WIDTH, height), dpi=100, facecolor="white")


def place(drawn: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a place in inches, counted from the top left corner."""
    page_width, page_height = drawn.get_size_inches()
    return drawn.add_axes(
        (left / page_width, 1 - (top + height) / page_height, width / page_width, height / page_height)
    )


def size_of(axes: Axes) -> tuple[float, float]:
    """Give the width and height of axes in inches."""
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes are made by place(), on a sheet"
    page_width, page_height = figure.get_size_inches()
    return float(axes.get_position().width * page_width), float(axes.get_position().height * page_height)


def draw_head(drawn: Figure, title: str, run: str) -> None:
    """Write the title at the top left and the run's name at the top right."""
    height = drawn.get_size_inches()[1]
    y = 1 - 0.26 / height
    drawn.text(MARGIN / WIDTH, y, title, size=TITLE_SIZE, color=INK, weight="bold", va="center")
    room = (WIDTH - 3 * MARGIN) * 72 - 1.2 * text_width(title, TITLE_SIZE)  # bold is wider
    if room > 40 and run:
        name = fitted(run, room, LABEL_SIZE)
        drawn.text(1 - MARGIN / WIDTH, y, name, size=LABEL_SIZE, color=SOFT_INK, ha="right", va="center")


def key_height(lines: Sequence[KeyLine]) -> float:
    """Give the height in inches that :func:`draw_key` needs."""
    return _LINE * len(lines)


def draw_key(drawn: Figure, left: float, top: float, width: float, lines: Sequence[KeyLine]) -> None:
    """Write a key, one line for each entry. matplotlib's own drops names that begin with an underscore."""
    if not lines:
        return
    height = key_height(lines)
    axes = place(drawn, left, top, width, height)
    axes.set_axis_off()
    axes.set_xlim(0, width * 72)
    axes.set_ylim(height * 72, 0)
    for index, line in enumerate(lines):
        y = (index + 0.5) * _LINE * 72
        start = _draw_sample(axes, y, line)
        axes.text(start, y, line.text, size=SMALL_SIZE, color=INK, va="center_baseline")


def _draw_sample(axes: Axes, y: float, line: KeyLine) -> float:
    """Draw the sample and give where the text begins, in points."""
    if line.look is not None:
        look = line.look
        axes.plot([0, 22], [y, y], color=look.colour, linestyle=look.dash, linewidth=look.width)
        axes.plot([11], [y], color=look.colour, marker=look.marker, markersize=4.5)
        return 28.0
    if line.marker is not None:
        face = "none" if line.hollow else SOFT_INK
        axes.plot([7], [y], color=SOFT_INK, marker=line.marker, markersize=5, markerfacecolor=face)
        return 18.0
    if line.patch is not None:
        axes.fill_between(
            [1, 13], y - 4, y + 4, facecolor=line.patch, edgecolor=SOFT_INK, hatch=line.hatch, linewidth=0.5
        )
        return 18.0
    return 0.0


HATCHED = KeyLine(
    "hatched: no value, where the tensor, the checkpoint or one to compare with is missing",
    patch=NO_VALUE,
    hatch="////",
)
