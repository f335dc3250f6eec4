"""The list of figures: what each is called, how it is read and how it is drawn."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from analyzer.figures.sheet import draw_head
from analyzer.figures.style import house_style
from analyzer.model.run import Tables

Draw = Callable[[Tables], Figure | None]


@dataclass(frozen=True, slots=True)
class FigureSpec:
    """A figure of the report.

    ``name`` is the function's name and names the files; ``title`` is plain words; ``how_to_read`` is one or
    two sentences for a stranger, to stand under the figure. ``draw`` gives None where nothing is to be shown.
    """

    name: str
    title: str
    how_to_read: str
    order: int
    draw: Draw


_SPECS: dict[str, FigureSpec] = {}


def registered() -> tuple[FigureSpec, ...]:
    """Give all figures registered so far, in reading order."""
    return tuple(sorted(_SPECS.values(), key=lambda spec: spec.order))


def figure(*, order: int, title: str, how_to_read: str) -> Callable[[Draw], Draw]:
    """Register the decorated function as a figure, to be read at place ``order``.

    The function takes the tables and gives a figure made by :func:`analyzer.figures.sheet.new_sheet` or None;
    style and title are added here. Raises ValueError, naming the function, where a rule is broken.
    """

    def register(function: Draw) -> Draw:
        spec = FigureSpec(function.__name__, title, how_to_read, order, _in_house_style(function, title))
        _check(spec, function)
        _SPECS[spec.name] = spec
        return spec.draw

    return register


def _in_house_style(function: Draw, title: str) -> Draw:
    @functools.wraps(function)
    def draw(tables: Tables) -> Figure | None:
        with house_style():
            drawn = function(tables)
            if drawn is not None:
                draw_head(drawn, title, tables.run)
            return drawn

    return draw


def _check(spec: FigureSpec, function: Draw) -> None:
    who = f"figure {function.__module__}.{spec.name}"
    if function.__module__.rpartition(".")[2] != spec.name:
        raise ValueError(f"{who}: the function must have its module's name, so that one is found by the other")
    if len(inspect.signature(function).parameters) != 1:
        raise ValueError(f"{who}: must take exactly one argument, the tables")
    if not spec.title or spec.title.endswith(".") or len(spec.title) > 60:
        raise ValueError(f"{who}: title must be 1 to 60 characters of plain words without a full stop")
    if len(re.findall(r"[.!?](?=\s|$)", spec.how_to_read)) not in (1, 2):
        raise ValueError(f"{who}: how_to_read must be one or two whole sentences")
    for other in _SPECS.values():
        if other.name == spec.name:
            raise ValueError(f"{who}: this name is registered already")
        if other.order == spec.order:
            raise ValueError(f"{who}: order {spec.order} is taken by the figure {other.name}")
