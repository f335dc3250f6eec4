"""Mark findings in the figures that show them: when it was, which layer it is, and the finding's number on the page.

A finding about all checkpoints from one to another is a light band over these; a single checkpoint is a line. In heat
maps the rows of its layers are framed. All artists of finding N have the gid ``finding-N``, which is their id in SVG.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from analyzer.figures.drawing.heat_cells import cells
from analyzer.figures.drawing.keys import KeyLine
from analyzer.figures.drawing.labels import text_width
from analyzer.figures.drawing.line_panels import raise_name, share_of_height
from analyzer.figures.drawing.sheet import size_of
from analyzer.figures.drawing.style import SMALL_SIZE

if TYPE_CHECKING:
    from analyzer.figures.drawing.checkpoint_axis import CheckpointAxis
    from analyzer.model.run import Finding, Severity
    from analyzer.model.tables import Tables

COLORS: dict[Severity, str] = {"serious": "#b3261e", "warning": "#a85f00", "notice": "#0b5fa5", "info": "#595959"}
NUMBERS_HEIGHT = 15.0  # points above a panel that the numbers of findings need
MOST_FRAMED = 0.5  # of the rows of a heat map: a finding about more layers marks only the time

_BAND = 0.1  # opacity
_BOX, _GAP = 4.0, 1.5  # points: what a number's box adds to its width, and the gap to the next box
_FRAME_GAP = 1.6  # points between a row and its frame, which must not hide a thin row
_PITCH = 12.5  # points from one number to the next one below it


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a figure marks a finding: from checkpoint ``first`` to ``last`` (positions in the run), at ``tensors``."""

    number: int
    severity: Severity
    tensors: frozenset[str]
    first: int
    last: int

    @property
    def color(self) -> str:
        """The color of the finding's severity."""
        return COLORS[self.severity]

    @property
    def gid(self) -> str:
        """The id of the mark's artists, the same for all marks of a finding."""
        return f"finding-{self.number}"

    def is_about(self, name: str) -> bool:
        """Check whether the finding is about a tensor, or about the stack that the matrix ``name`` is of."""
        return name in self.tensors or (name.endswith("]") and name.rpartition("[")[0] in self.tensors)


def marks_for(tables: Tables, figure: str | None = None) -> tuple[Mark, ...]:
    """Return the marks of the findings that a figure shows, in the order of the findings.

    Findings are numbered from 1 in the order of the tables. One that names no checkpoint is about the whole run; one
    that names only checkpoints that are not among those of the run is not marked.

    Args:
        tables: the run.
        figure: the figure's name; by default the findings of all figures.
    """
    places = {row.name: position for position, row in enumerate(tables.checkpoints)}
    return tuple(
        Mark(number, finding.severity, frozenset(finding.tensors), first, last)
        for number, finding in enumerate(tables.findings, start=1)
        if figure in (None, finding.figure)
        for first, last in _intervals(finding, places)
    )


def _intervals(finding: Finding, places: dict[str, int]) -> list[tuple[int, int]]:
    """Return the first and the last position of each stretch of checkpoints that a finding is about."""
    if not finding.checkpoints:
        return [(0, len(places) - 1)]
    named = sorted({places[name] for name in finding.checkpoints if name in places})
    if not named or not finding.apart:
        return [(named[0], named[-1])] if named else []
    breaks = [later for earlier, later in pairwise(named) if later > earlier + 1]
    ends = [earlier for earlier, later in pairwise(named) if later > earlier + 1]
    return list(zip([named[0], *breaks], [*ends, named[-1]], strict=True))


def explained(marks: Sequence[Mark]) -> list[KeyLine]:
    """Return the line of a figure's notes that explains its marks; none without marks."""
    return (
        [KeyLine("a number in a colored box marks the finding with that number, where it was found")] if marks else []
    )


def draw_time_marks(axes: Axes, axis: CheckpointAxis, marks: Sequence[Mark], *, numbered: bool = True) -> None:
    """Mark the checkpoints of findings in a panel with time to the right; call it when the panel's limits are set.

    Args:
        axes: the panel.
        axis: the panel's horizontal axis.
        marks: the findings.
        numbered: whether to write the numbers above the panel, whose name moves up for them.
    """
    for mark in sorted(marks, key=lambda mark: -list(COLORS).index(mark.severity)):  # the serious ones on top
        left, right = float(axis.positions[mark.first]), float(axis.positions[mark.last])
        if left == right:
            tag(axes.axvline(left, color=mark.color, linewidth=1.2, dashes=(4, 2), zorder=1.5), mark)
        elif mark.last - mark.first < len(axis.positions) - 1:
            tag(axes.axvspan(left, right, color=mark.color, alpha=_BAND, linewidth=0, zorder=0.6), mark)
        _draw_bar(axes, mark, left, right)
    if marks and numbered:
        raise_name(axes, NUMBERS_HEIGHT)
        _draw_numbers_above(axes, axis, marks)


def _draw_bar(axes: Axes, mark: Mark, left: float, right: float) -> None:
    """Draw the extent of a mark along the upper edge of a panel."""
    (bar,) = axes.plot(
        [left, right],
        [1, 1],
        color=mark.color,
        linewidth=2,
        marker="|",
        markersize=4,
        zorder=4,
        clip_on=False,
        transform=axes.get_xaxis_transform(),
    )
    tag(bar, mark)


def draw_row_marks(
    axes: Axes, axis: CheckpointAxis, marks: Sequence[Mark], rows: Sequence[str], of_time: Sequence[Mark] = ()
) -> None:
    """Frame the rows of findings in a heat map over their checkpoints, with the numbers at the right.

    The findings in ``of_time`` only mark their checkpoints; the caller leaves `NUMBERS_HEIGHT` above the panel for
    their numbers.

    Args:
        axes: the panel, one unit of the vertical axis per row.
        axis: the panel's horizontal axis.
        marks: the findings.
        rows: the tensor of each row, from the top.
        of_time: what :func:`times_only` returns for all rows of the figure.
    """
    framed = [(mark, part) for mark in marks if mark not in of_time for part in _stretches(mark, rows)]
    around = _FRAME_GAP / (size_of(axes)[1] * 72 / len(rows))
    for mark, (top, bottom) in framed:
        left, right = columns_of(axis, mark)
        height = bottom - top + 2 * around
        frame = Rectangle((left, top - around), right - left, height, fill=False, edgecolor=mark.color, linewidth=1.6)
        frame.set(zorder=4, clip_on=False, path_effects=[withStroke(linewidth=3.2, foreground="white")])
        tag(axes.add_patch(frame), mark)
    draw_column_marks(axes, axis, of_time)
    _draw_numbers_beside(axes, framed, len(rows))


def draw_column_marks(axes: Axes, axis: CheckpointAxis, marks: Sequence[Mark], *, down: bool = False) -> None:
    """Enclose the columns of findings in a heat map between lines, with the numbers above; ``down``: rows as well."""
    for mark in marks:
        left, right = columns_of(axis, mark)
        for draw in (axes.axvline, axes.axhline) if down else (axes.axvline,):
            for end in (left, right):
                line = draw(end, color=mark.color, linewidth=0.9, dashes=(4, 2), zorder=4)
                line.set_path_effects([withStroke(linewidth=1.8, foreground="white")])
                tag(line, mark)
        _draw_bar(axes, mark, left, right)
    if marks:
        raise_name(axes, NUMBERS_HEIGHT)
        _draw_numbers_above(axes, axis, marks)


def draw_level_marks(axes: Axes, marks: Sequence[Mark], level: float) -> None:
    """Mark findings in a panel without time: a line at a level of the vertical axis, the numbers below its start."""
    share = share_of_height(axes, level)
    width = size_of(axes)[0] * 72
    sizes = [text_width(str(mark.number)) + _BOX + _GAP for mark in marks]
    starts = spread([0.0] * len(marks), sizes, width)
    for mark, start in zip(marks, starts, strict=True):
        tag(axes.axhline(level, color=mark.color, linewidth=0.9, dashes=(4, 2), zorder=1.5), mark)
        _draw_number(axes, mark, (0, share), (start + _BOX, -2.5), ha="center", va="top")


def times_only(marks: Sequence[Mark], rows: Sequence[str]) -> list[Mark]:
    """Return the findings that frame no row: those about none of the rows, or more than :data:`MOST_FRAMED` of them.

    Args:
        marks: the findings.
        rows: the tensors of all rows of a figure.
    """
    counts = [sum(map(mark.is_about, rows)) for mark in marks]
    most = max(1, MOST_FRAMED * len(rows))
    return [mark for mark, count in zip(marks, counts, strict=True) if not 0 < count <= most]


def columns_of(axis: CheckpointAxis, mark: Mark) -> tuple[float, float]:
    """Return where the columns of a mark's checkpoints begin and end in a heat map."""
    edges, columns = cells(axis)
    return float(edges[columns.index(mark.first)]), float(edges[columns.index(mark.last) + 1])


def _stretches(mark: Mark, rows: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the first row and the one after the last of each stretch of rows that a finding is about."""
    found = [row for row, name in enumerate(rows) if mark.is_about(name)]
    start = 0
    for place, row in enumerate(found):
        if place + 1 == len(found) or found[place + 1] > row + 1:
            yield found[start], row + 1
            start = place + 1


def _draw_numbers_above(axes: Axes, axis: CheckpointAxis, marks: Sequence[Mark]) -> None:
    """Write each mark's number above its checkpoints, beside each other where they would overlap."""
    width = size_of(axes)[0] * 72
    low, high = axes.get_xlim()
    middles = [(axis.positions[mark.first] + axis.positions[mark.last]) / 2 for mark in marks]
    wanted = [(float(middle) - low) / (high - low) * width for middle in middles]
    sizes = [text_width(str(mark.number)) + _BOX + _GAP for mark in marks]
    for mark, x in zip(marks, spread(wanted, sizes, width), strict=True):
        _draw_number(axes, mark, (0, 1), (x, 3.5), ha="center", va="bottom")


def _draw_numbers_beside(axes: Axes, framed: Sequence[tuple[Mark, tuple[int, int]]], rows: int) -> None:
    height = size_of(axes)[1] * 72
    wanted = [(top + bottom) / 2 / rows * height for _, (top, bottom) in framed]
    for (mark, _), y in zip(framed, spread(wanted, [_PITCH] * len(framed), height), strict=True):
        _draw_number(axes, mark, (1, 1), (4, -y), ha="left", va="center")


def _draw_number(
    axes: Axes, mark: Mark, corner: tuple[float, float], offset: tuple[float, float], *, ha: str, va: str
) -> None:
    text = axes.annotate(
        str(mark.number),
        corner,
        offset,
        xycoords="axes fraction",
        textcoords="offset points",
        size=SMALL_SIZE,
        color="white",
        weight="bold",
        ha=ha,
        va=va,
        bbox={"boxstyle": "round,pad=0.15", "facecolor": mark.color, "edgecolor": "none"},
    )
    tag(text, mark)


def spread(wanted: Sequence[float], sizes: Sequence[float], length: float) -> list[float]:
    """Return places near the wanted ones at which things of these sizes do not overlap, within 0 to ``length``.

    If they do not fit, they reach beyond ``length``.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    places = list(wanted)
    end = 0.0
    for index in order:
        places[index] = max(places[index], end + sizes[index] / 2)
        end = places[index] + sizes[index] / 2
    start = max(length, sum(sizes))
    for index in reversed(order):
        places[index] = min(places[index], start - sizes[index] / 2)
        start = places[index] - sizes[index] / 2
    return places


def tag(artist: Artist, mark: Mark) -> None:
    """Give an artist the id of a mark."""
    artist.set_gid(mark.gid)
