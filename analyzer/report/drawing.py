"""Draw figures for a page, several at a time where processes can be forked."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from analyzer.engine.executors import available_cores, run_tasks
from analyzer.report.page import NARROW, PNG, SVG, FigureOnPage

if TYPE_CHECKING:
    from analyzer.figures import FigureSpec

Files = Mapping[str, bytes]  # by suffix


def drawn_figures(
    figures: Sequence[FigureSpec[Any]], content: object, place: str, *, svg: bool
) -> Generator[tuple[int, FigureOnPage, Files], None, None]:
    """Yield (position in ``figures``, figure, files) of each figure that has something to show, as they are drawn.

    Args:
        figures: in reading order.
        content: the tables or comparison that they are drawn from.
        place: what their paths begin with.
        svg: whether to draw them as SVG, too.
    """
    from analyzer.figures import render, render_png

    def draw(number: int) -> Iterator[tuple[int, FigureOnPage, Files]]:
        spec = figures[number]
        wide = spec.draw(content)
        narrow = spec.draw_narrow(content) if wide is not None else None
        if wide is None or narrow is None:
            return
        remark = spec.remark(content) if spec.remark else ""
        files = dict(zip((PNG, SVG), render(wide), strict=True)) if svg else {PNG: render_png(wide)}
        on_page = FigureOnPage(spec.name, spec.title, spec.caption(content), f"{place}{spec.name}", remark)
        yield number, on_page, {**files, NARROW: render_png(narrow)}

    gc.freeze()  # matplotlib's cyclic garbage makes collections frequent; they need not go through what is read
    try:
        with closing(run_tasks(range(len(figures)), draw, available_cores())) as results:
            yield from results
    finally:
        gc.unfreeze()
