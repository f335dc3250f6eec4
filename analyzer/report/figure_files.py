"""Write figures as PNG and SVG files, and remove those of an earlier report that are no longer drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from analyzer.report.page import FigureOnPage
from analyzer.store.files import report_errors, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES_FOLDER = "figures"


class Drawable(Protocol):
    """The common interface of figures of one run and of several."""

    @property
    def name(self) -> str:
        """Return the name of its files."""

    @property
    def title(self) -> str:
        """Return the title above it."""

    @property
    def how_to_read(self) -> str:
        """Return the caption below it, one or two sentences."""

    @property
    def draw(self) -> Callable[[Any], Figure | None]:
        """Return the function that draws it, which returns None where there is nothing to show."""


def draw_figures(figures: Iterable[Drawable], content: object, out: Path, prefix: str = "") -> list[FigureOnPage]:
    """Draw each figure that has something to show.

    Args:
        figures: in reading order.
        content: the tables or comparison that they are drawn from.
        out: the report folder, which contains a folder for figures.
        prefix: of their file names; it may name a folder, which is created.

    Raises:
        ReportError: a file cannot be written.
    """
    from analyzer.figures import render

    with report_errors(out / FIGURES_FOLDER):
        (out / FIGURES_FOLDER / prefix).mkdir(exist_ok=True)
    drawn = []
    for spec in figures:
        place = f"{FIGURES_FOLDER}/{prefix}{spec.name}"
        png, svg = out / f"{place}.png", out / f"{place}.svg"
        figure = spec.draw(content)
        if figure is None:
            with report_errors(png):
                for stale in (png, svg):
                    stale.unlink(missing_ok=True)  # our own, of an earlier report
            continue
        for path, data in zip((png, svg), render(figure), strict=True):
            write_whole(path, data)
        drawn.append(FigureOnPage(spec.name, spec.title, spec.how_to_read, place))
    return drawn
