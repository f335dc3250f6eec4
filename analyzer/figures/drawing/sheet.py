"""The sheet that a figure is drawn on and rendered from, with places in inches from its top left corner.

Everything is placed by arithmetic on known sizes: automatic layout would have to draw a figure twice to find them.
A figure is drawn again for narrow screens, on a sheet so narrow that its letters stay legible there: panels are below
each other instead of side by side.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from analyzer.figures.drawing.labels import fitted, text_width, wrapped
from analyzer.figures.drawing.style import INK, LABEL_SIZE, SOFT_INK, TITLE_SIZE, house_style

WIDTH = 9.0  # inches
NARROW_WIDTH = 4.0  # inches: of a phone's 390 pixels, the page leaves 345 to a figure, 86 per inch
HEAD = 0.5  # inches for the title
MARGIN = 0.15  # inches
_MIN_NAME_WIDTH = 40.0  # points; a run's name that has less room is left out
_BOLD = 1.2  # bold text is wider
_NARROW_TITLE = 10.5  # points: the longest title has two lines
_PNG_DPI = 150
_COLORS, _EXACT = 256, 128  # of a PNG; so many of them are exact
_PATH = re.compile(rb' d="[^"]*"')
_DECIMALS = re.compile(rb"(\.\d\d)\d+")


_NARROW: ContextVar[bool] = ContextVar("narrow", default=False)


@contextmanager
def narrow_sheets() -> Iterator[None]:
    """Draw figures for narrow screens."""
    token = _NARROW.set(True)
    try:
        yield
    finally:
        _NARROW.reset(token)


def is_narrow() -> bool:
    """Check whether figures are drawn for narrow screens."""
    return _NARROW.get()


def sheet_width(wide: float = WIDTH) -> float:
    """Return the width in inches of the sheets that are drawn now: ``wide`` unless they are narrow."""
    return NARROW_WIDTH if is_narrow() else wide


def text_room() -> float:
    """Return the inches between the margins of a sheet."""
    return sheet_width() - 2 * MARGIN


def new_sheet(height: float, width: float | None = None) -> Figure:
    """Return an empty white figure ``height`` inches high, by default as wide as :func:`sheet_width`."""
    return Figure(figsize=(width or sheet_width(), height), dpi=100, facecolor="white")


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
    """Write the title at the top left and the name of the run at the top right; a narrow sheet has the title alone."""
    width, height = drawn.get_size_inches()
    if is_narrow():
        lines = wrapped(title, (width - 2 * MARGIN) * 72 / _BOLD, _NARROW_TITLE)
        y = 1 - HEAD / 2 / height
        text = "\n".join(lines)
        drawn.text(MARGIN / width, y, text, size=_NARROW_TITLE, color=INK, weight="bold", va="center", linespacing=1.1)
        return
    y = 1 - 0.26 / height
    drawn.text(MARGIN / width, y, title, size=TITLE_SIZE, color=INK, weight="bold", va="center")
    room = (width - 3 * MARGIN) * 72 - _BOLD * text_width(title, TITLE_SIZE)
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
    return render_png(drawn), _PATH.sub(_shortened, svg.getvalue())


def render_png(drawn: Figure) -> bytes:
    """Return the figure as PNG (150 dpi), the same bytes as :func:`render`.

    A palette makes the file a third as large; what it changes is not visible.
    """
    raw, png = io.BytesIO(), io.BytesIO()
    with house_style():
        drawn.savefig(raw, format="raw", dpi=_PNG_DPI)
    width = int(drawn.get_size_inches()[0] * _PNG_DPI)
    pixels = np.frombuffer(raw.getvalue(), dtype="<u4").reshape(-1, width) & np.uint32(0xFFFFFF)
    _with_palette(pixels).save(png, "PNG", dpi=(_PNG_DPI, _PNG_DPI))
    return png.getvalue()


def _with_palette(pixels: npt.NDArray[np.uint32]) -> Image.Image:
    """Return an image with a palette: its most frequent colors, which fill areas, and others near the rest.

    A pixel (height, width) is a number with red in its lowest byte, then green and blue.
    """
    found, counts = np.unique(pixels, return_counts=True)
    found = found[np.argsort(-counts, kind="stable")]
    colors = np.stack([found & 255, found >> 8 & 255, found >> 16], axis=1).astype(np.uint8)
    places, palette = np.arange(len(colors)), colors
    if len(colors) > _COLORS:
        rest = Image.fromarray(colors[np.newaxis, _EXACT:])
        few = rest.quantize(_COLORS - _EXACT, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        places = np.concatenate([np.arange(_EXACT), _EXACT + np.asarray(few).ravel()])
        palette = np.vstack([colors[:_EXACT], np.array(few.getpalette(), dtype=np.uint8).reshape(-1, 3)])
    place_of = np.zeros(1 << 24, dtype=np.uint8)
    place_of[found] = places
    numbers = np.zeros(pixels.shape, dtype=np.uint8)
    others = pixels != found[0]  # most of a figure is background, the first color
    numbers[others] = place_of[pixels[others]]
    indexed = Image.fromarray(numbers)
    indexed.putpalette(palette.tobytes())
    return indexed


def _shortened(path: re.Match[bytes]) -> bytes:
    """Cut the coordinates of a path of an SVG to hundredths of a point; more decimals are half of the file."""
    return _DECIMALS.sub(rb"\1", path[0])
