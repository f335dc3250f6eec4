"""The catalog of figures: those of a report and those of a comparison, checked and styled when they are added."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from matplotlib.figure import Figure

from analyzer.figures.drawing.sheet import draw_head, narrow_sheets
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
        how_to_read_this: returns a further sentence of the caption that applies to this run or comparison.
        order: the figure's position among the figures of its kind.
        draw: returns the figure, or None if there is nothing to show.
        how_to_read_groups: for a comparison, further sentences of the caption about means and ranges; they apply if
            there are several groups, any of which has several runs.
        remark: returns one sentence about what is remarkable in this run or comparison, empty if nothing is; it is
            only asked for figures that were drawn, and follows ``how_to_read`` in the caption.
    """

    name: str
    title: str
    how_to_read: str
    order: int
    draw: Draw[Content]
    how_to_read_groups: str = ""
    remark: Callable[[Content], str] | None = None
    how_to_read_this: Callable[[Content], str] | None = None

    def caption(self, content: Content) -> str:
        """Return the caption without the remark."""
        return f"{self.how_to_read} {self.how_to_read_this(content)}" if self.how_to_read_this else self.how_to_read

    def draw_narrow(self, content: Content) -> Figure | None:
        """Return the figure for narrow screens, None if there is nothing to show."""
        with narrow_sheets():
            return self.draw(content)

    def for_comparison(self, comparison: Comparison) -> FigureSpec[Content]:
        """Return the figure with the caption that fits ``comparison``: with the sentences on groups if it has any."""
        has_groups = len(comparison.groups) > 1 and any(len(group.independent) > 1 for group in comparison.groups)
        if not (self.how_to_read_groups and has_groups):
            return self
        return replace(self, how_to_read=f"{self.how_to_read} {self.how_to_read_groups}")


class Catalog(Generic[Content]):
    """The figures of one kind: each is checked when it is added, and drawn in the house style.

    Args:
        subject: returns what the head of a figure names at the right.
    """

    def __init__(self, subject: Callable[[Content], str]) -> None:
        self._subject: Callable[[Content], str] = subject
        self._specs: dict[str, FigureSpec[Content]] = {}

    @property
    def figures(self) -> tuple[FigureSpec[Content], ...]:
        """The figures that were added so far, in reading order."""
        return tuple(sorted(self._specs.values(), key=lambda spec: spec.order))

    def figure(
        self,
        *,
        order: int,
        title: str,
        how_to_read: str,
        how_to_read_groups: str = "",
        remark: Callable[[Content], str] | None = None,
        how_to_read_this: Callable[[Content], str] | None = None,
    ) -> Callable[[Draw[Content]], FigureSpec[Content]]:
        """Add the decorated function as a figure.

        The function takes the tables of a run, or the comparison. It returns a figure made by
        :func:`analyzer.figures.drawing.sheet.new_sheet`, or None if there is nothing to show. Style and title are
        added here. The function must be named after its module.

        Raises:
            ValueError: a rule is broken; the message names the function.
        """

        def register(function: Draw[Content]) -> FigureSpec[Content]:
            if function.__module__.rpartition(".")[2] != function.__name__:
                raise ValueError(
                    f"figure {function.__module__}.{function.__name__}: the function must have its module's name, so "
                    "that one can be found from the other; rename the function or the module"
                )
            name = function.__name__
            return self.add(
                FigureSpec(name, title, how_to_read, order, function, how_to_read_groups, remark, how_to_read_this)
            )

        return register

    def add(self, spec: FigureSpec[Content]) -> FigureSpec[Content]:
        """Add a figure, and return it with the house style and a head.

        Raises:
            ValueError: a rule is broken; the message names the figure.
        """
        self._check(spec)

        @functools.wraps(spec.draw)
        def draw(content: Content) -> Figure | None:
            with house_style():
                drawn = spec.draw(content)
                if drawn is not None:
                    draw_head(drawn, spec.title, self._subject(content))
                return drawn

        self._specs[spec.name] = styled = replace(spec, draw=draw)
        return styled

    def _check(self, spec: FigureSpec[Content]) -> None:
        who = f"figure {spec.draw.__module__}.{spec.name}"
        if len(inspect.signature(spec.draw).parameters) != 1:
            raise ValueError(f"{who}: the function must take exactly one argument, the tables or the comparison")
        if not spec.title or spec.title.endswith(".") or len(spec.title) > _MAX_TITLE:
            raise ValueError(
                f"{who}: the title must be 1 to {_MAX_TITLE} characters of plain words without a full stop"
            )
        if _count_sentences(spec.how_to_read) not in (1, 2):
            raise ValueError(f"{who}: how_to_read must be one or two whole sentences")
        if spec.how_to_read_groups and _count_sentences(spec.how_to_read_groups) not in (1, 2):
            raise ValueError(f"{who}: how_to_read_groups must be one or two whole sentences")
        for other in self._specs.values():
            if other.name == spec.name:
                raise ValueError(f"{who}: this name is registered already; choose another")
            if other.order == spec.order:
                raise ValueError(f"{who}: order {spec.order} is taken by the figure {other.name}; choose another")


def _count_sentences(text: str) -> int:
    return len(re.findall(r"[.!?](?=\s|$)", text))


REPORT: Catalog[Tables] = Catalog(lambda tables: tables.run)
COMPARISON: Catalog[Comparison] = Catalog(lambda comparison: f"{len(comparison.runs)} runs")
