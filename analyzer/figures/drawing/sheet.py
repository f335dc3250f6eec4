"""The sheet that a figure is drawn on and rendered from, with places in inches from its top left corner.

Everything is placed by arithmetic on known sizes: automatic layout would have to draw a figure twice to find them.
"""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.drawing.labels import fitted, text_width
from analyzer.figures.drawing.style import INK, LABEL_SIZE, SOFT_INK, TITLE_SIZE, house_style

WIDTH = 9.0  # inches
HEAD = 0.5  # inches for the title
MARGIN = 0.15  # inches
_MIN_NAME_WIDTH = 40.0  # points; a run's name that has less room is left out


def new_sheet(height: float, width: float = WIDTH) -> Figure:
    """Return an empty white figure, by default of the standard width, ``height`` inches high."""
    return Figure(figsize=(width, height), dpi=100, facecolor="white")


def place(drawn: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a place in inches, counted from the top left corner."""
    page_width, page_height = drawn.get_size_inches()
    return drawn.add_axes(
        (left / page_width, 1 - (top + height) / page_height, width / page_width, height / page_height)
    )


def size_of(axes: Axes) -> tuple[float, float]:
    """Return the width and height of axes in inches."""
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes are made by place(), on a sheet"
    page_width, page_height = figure.get_size_inches()
    return float(axes.get_position().width * page_width), float(axes.get_position().height * page_height)


def draw_head(drawn: Figure, title: str, run: str) -> None:
    """Write the title at the top left and the name of the run at the top right."""
    width, height = drawn.get_size_inches()
    y = 1 - 0.26 / height
    drawn.text(MARGIN / width, y, title, size=TITLE_SIZE, color=INK, weight="bold", va="center")
    room = (width - 3 * MARGIN) * 72 - 1.2 * text_width(title, TITLE_SIZE)  # bold is wider
    if room > _MIN_NAME_WIDTH and run:
        name = fitted(run, room, LABEL_SIZE)
        drawn.text(1 - MARGIN / width, y, name, size=LABEL_SIZE, color=SOFT_INK, ha="right", va="center")


def render(drawn: Figure) -> tuple[bytes, bytes]:
    """Return the figure as PNG (150 dpi) and as SVG, both without a date and without the name of the software.

    The same figure always gives the same bytes.
    """
    svg = io.BytesIO()
    with house_style():
        drawn.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return render_png(drawn), svg.getvalue()


def render_png(drawn: Figure) -> bytes:
    """Return the figure as PNG (150 dpi), the same bytes as :func:`render`."""
    png = io.BytesIO()
    with house_style():
        drawn.savefig(png, format="png", dpi=150, metadata={"Software": None})
    return png.getvalue()
