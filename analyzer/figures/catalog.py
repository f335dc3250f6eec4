"""The catalog of figures: those of a report and those of a comparison, checked and styled when they are added."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from matplotlib.figure import Figure

from analyzer.figures.drawing.sheet import draw_head
from analyzer.figures.drawing.style import house_style
from analyzer.model.comparison import Comparison
from analyzer.model.tables import Tables

Content = TypeVar("Content", Tables, Comparison)
Draw = Callable[[Content], Figure | None]

_MAX_TITLE = 60  # characters


@dataclass(frozen=True, slots=True)
class FigureSpec(Generic[Content]):
    """A figure of a report, drawn from ``Tables``, or of a comparison, drawn from a ``Comparison``.

    Attributes:
        name: the stem of the figure's file names.
        title: a few plain words, drawn at the top of the figure.
        how_to_read: the caption, one or two sentences for a newcomer.
        order: the figure's position among the figures of its kind.
        draw: returns the figure, or None if there is nothing to show.
        how_to_read_groups: for a comparison, further sentences of the caption about means and ranges; they apply if
            any group has several runs.
    """

    name: str
    title: str
    how_to_read: str
    order: int
    draw: Draw[Content]
    how_to_read_groups: str = ""

    def for_comparison(self, comparison: Comparison) -> FigureSpec[Content]:
        """Return the figure with the caption that fits ``comparison``: with the sentences on groups if it has any."""
        has_groups = any(len(group.independent) > 1 for group in comparison.groups)
        if not (self.how_to_read_groups and has_groups):
            return self
        return replace(self, how_to_read=f"{self.how_to_read} {self.how_to_read_groups}")


_REPORT: dict[str, FigureSpec[Tables]] = {}
_COMPARISON: dict[str, FigureSpec[Comparison]] = {}


def report_figures() -> tuple[FigureSpec[Tables], ...]:
    """Return the figures of a report that were added so far, in reading order."""
    return tuple(sorted(_REPORT.values(), key=lambda spec: spec.order))


def comparison_figures() -> tuple[FigureSpec[Comparison], ...]:
    """Return the figures of a comparison that were added so far, in reading order."""
    return tuple(sorted(_COMPARISON.values(), key=lambda spec: spec.order))


def figure(*, order: int, title: str, how_to_read: str) -> Callable[[Draw[Tables]], FigureSpec[Tables]]:
    """Add the decorated function to the figures of a report.

    The function takes the tables of a run. It returns a figure made by
    :func:`analyzer.figures.drawing.sheet.new_sheet`, or None if there is nothing to show. Style and title are
    added here. The function must be named after its module.

    Raises:
        ValueError: a rule is broken; the message names the function.
    """

    def register(function: Draw[Tables]) -> FigureSpec[Tables]:
        _check_module(function)
        return add_figure(FigureSpec(function.__name__, title, how_to_read, order, function))

    return register


def compared_figure(
    *, order: int, title: str, how_to_read: str, how_to_read_groups: str = ""
) -> Callable[[Draw[Comparison]], FigureSpec[Comparison]]:
    """Add the decorated function to the figures of a comparison.

    The function takes the comparison. Otherwise the rules of :func:`figure` apply.

    Raises:
        ValueError: a rule is broken; the message names the function.
    """

    def register(function: Draw[Comparison]) -> FigureSpec[Comparison]:
        _check_module(function)
        spec = FigureSpec(function.__name__, title, how_to_read, order, function, how_to_read_groups)
        return add_compared_figure(spec)

    return register


def add_figure(spec: FigureSpec[Tables]) -> FigureSpec[Tables]:
    """Add a figure to those of a report, and return it with the house style and a head that names the run.

    Raises:
        ValueError: a rule is broken; the message names the figure.
    """
    _check(spec, _REPORT)
    _REPORT[spec.name] = styled = _styled(spec, lambda tables: tables.run)
    return styled


def add_compared_figure(spec: FigureSpec[Comparison]) -> FigureSpec[Comparison]:
    """Add a figure to those of a comparison, and return it with the house style and a head that counts the runs.

    Raises:
        ValueError: a rule is broken; the message names the figure.
    """
    _check(spec, _COMPARISON)
    _COMPARISON[spec.name] = styled = _styled(spec, lambda comparison: f"{len(comparison.runs)} runs")
    return styled


def _styled(spec: FigureSpec[Content], subject: Callable[[Content], str]) -> FigureSpec[Content]:
    @functools.wraps(spec.draw)
    def draw(content: Content) -> Figure | None:
        with house_style():
            drawn = spec.draw(content)
            if drawn is not None:
                draw_head(drawn, spec.title, subject(content))
            return drawn

    return replace(spec, draw=draw)


def _check_module(function: Callable[[Content], Figure | None]) -> None:
    if function.__module__.rpartition(".")[2] != function.__name__:
        raise ValueError(
            f"figure {function.__module__}.{function.__name__}: the function must have its module's name, so that one "
            "can be found from the other; rename the function or the module"
        )


def _check(spec: FigureSpec[Content], others: Mapping[str, FigureSpec[Content]]) -> None:
    who = f"figure {spec.draw.__module__}.{spec.name}"
    if len(inspect.signature(spec.draw).parameters) != 1:
        raise ValueError(f"{who}: the function must take exactly one argument, the tables or the comparison")
    if not spec.title or spec.title.endswith(".") or len(spec.title) > _MAX_TITLE:
        raise ValueError(f"{who}: the title must be 1 to {_MAX_TITLE} characters of plain words without a full stop")
    if _count_sentences(spec.how_to_read) not in (1, 2):
        raise ValueError(f"{who}: how_to_read must be one or two whole sentences")
    if spec.how_to_read_groups and _count_sentences(spec.how_to_read_groups) not in (1, 2):
        raise ValueError(f"{who}: how_to_read_groups must be one or two whole sentences")
    for other in others.values():
        if other.name == spec.name:
            raise ValueError(f"{who}: this name is registered already; choose another")
        if other.order == spec.order:
            raise ValueError(f"{who}: order {spec.order} is taken by the figure {other.name}; choose another")


def _count_sentences(text: str) -> int:
    return len(re.findall(r"[.!?](?=\s|$)", text))
