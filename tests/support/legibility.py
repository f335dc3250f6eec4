"""Measure, with the renderer, whether a figure can be read: no text on another, on a panel or cut off."""

from __future__ import annotations

from unittest import mock

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from analyzer.figures.drawing.style import SMALL_SIZE, house_style

# Names that anyone may have written into a file.
HOSTILE = [
    "$\\frac{1}{",
    "<script>alert(1)</script>&amp;",
    "line\nbreak\r\n\ttab\x00\x1b[31mred",
    "abc\u202egpj.exe\u200f\u2066",
    "W" * 300,
    "",
    "_orig_mod.fc1.weight",
    "层.权重.\U0001f600.e\u0301\u0301\u0301",
    "\ud800lone",
    "--><svg onload=x>]]>",
]
TOLERANCE = 1.0  # pixels at 150 dpi


def drawn_texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Return the texts that are really drawn, with their extents in pixels."""
    drawn: list[tuple[Text, Bbox]] = []
    original = Text.draw

    def recording(text: Text, renderer: object) -> None:
        original(text, renderer)
        if text.get_visible() and text.get_text().strip():
            drawn.append((text, Text.get_window_extent(text, renderer)))  # without an annotation's arrow

    with house_style(), mock.patch.object(Text, "draw", recording):
        figure.set_dpi(150)
        FigureCanvasAgg(figure).draw()
    return drawn


def problems(figure: Figure) -> list[str]:
    """Return a sentence for each text that cannot be read."""
    texts = drawn_texts(figure)
    shrunk = [(text, box.padded(-TOLERANCE)) for text, box in texts]
    found = []
    page = figure.bbox
    panels = [axes.get_window_extent() for axes in figure.axes if axes.axison]
    for index, (text, box) in enumerate(shrunk):
        name = repr(text.get_text())
        if box.x0 < page.x0 or box.y0 < page.y0 or box.x1 > page.x1 or box.y1 > page.y1:
            found.append(f"{name} is cut off by the page's edge")
        if text.get_fontsize() < SMALL_SIZE:
            found.append(f"{name} is smaller than {SMALL_SIZE} points")
        within = panels if not names_a_point(text) else []
        found += [f"{name} lies on a panel" for panel in within if box.overlaps(panel)]
        found += [
            f"{name} and {other.get_text()!r} overlap" for other, there in shrunk[index + 1 :] if box.overlaps(there)
        ]
    return found


def names_a_point(text: Text) -> bool:
    """Check whether a text belongs to a point in a panel, beside which it is meant to be."""
    return isinstance(text, Annotation) and text.xycoords == "data"
