"""Where every run ended: one mark each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.compared.registry import compared_figure
from analyzer.figures.compared.strands import Line, lines_of
from analyzer.figures.labels import short_labels
from analyzer.figures.line_panel import spans_decades
from analyzer.figures.sheet import HEAD, MARGIN, WIDTH, KeyLine, draw_key, key_height, new_sheet, place
from analyzer.figures.style import INK, LABEL_SIZE, SMALL_SIZE, plain_axes
from analyzer.figures.ticks import linear_limits, linear_ticks, log_limits, log_ticks
from analyzer.model.comparison import Comparison, Quantity
from analyzer.model.score_names import accuracies

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

_NAMES_WIDTH, _GAP, _ROW, _FOOT = 1.75, 0.35, 0.36, 0.3  # inches
_TICK_PITCH = 0.5


@compared_figure(
    title="Where every run ended",
    how_to_read="Each mark is the final value of one run.",
    of_groups=(
        "The upright stroke is the mean of a group. The more the marks of two rows mingle, the less their difference "
        "means beside the luck of the seed."
    ),
)
def final_values(comparison: Comparison) -> Figure | None:
    """Draw the final accuracy, distance from the start and condition number of each run, a row for each group."""
    lines, left_out = lines_of(comparison)
    groups = {group.name: group.independent for group in comparison.groups}
    rows = [line for line in lines if line.run is not None or len(lines) == 1 or len(comparison.groups) > 1]
    members = [(line.run,) if line.run is not None else groups[str(line.group)] for line in rows]
    known = {one.name: one for one in comparison.quantities}
    panels = []
    for name in (*accuracies(known)[:1], "initial_distance", "condition_number"):
        if name in known:
            values = [_ends(comparison, runs, name) for runs in members]
            if any(np.isfinite(row).any() for row in values):
                panels.append((known[name], values))
    if not panels:
        return None
    height = max(1.0, _ROW * len(rows) + 0.2)
    foot = [KeyLine(left_out)] if left_out else []
    top = HEAD + 0.3
    drawn = new_sheet(top + height + _FOOT + key_height(foot) + MARGIN)
    width = (WIDTH - _NAMES_WIDTH - 2 * MARGIN - _GAP * (len(panels) - 1)) / len(panels)
    labels, _ = short_labels([line.label for line in rows], 72 * (_NAMES_WIDTH - 0.25))
    for index, (quantity, values) in enumerate(panels):
        axes = place(drawn, MARGIN + _NAMES_WIDTH + index * (width + _GAP), top, width, height)
        _draw_panel(axes, quantity, rows, values, width)
        axes.set_yticks(np.arange(len(rows)), labels if index == 0 else [""] * len(rows), parse_math=False)
        axes.tick_params(axis="y", length=0, labelsize=SMALL_SIZE)
    draw_key(drawn, MARGIN, top + height + _FOOT, WIDTH - 2 * MARGIN, foot)
    return drawn


def _ends(comparison: Comparison, runs: Sequence[str], quantity: str) -> FloatArray:
    """The values (runs,) where they ended."""
    positions = [int(np.searchsorted(comparison.places[run], comparison.ends[run])) for run in runs]
    return np.array(
        [comparison.courses[run, quantity].values[position] for run, position in zip(runs, positions, strict=True)]
    )


def _draw_panel(
    axes: Axes, quantity: Quantity, rows: Sequence[Line], values: Sequence[FloatArray], width: float
) -> None:
    every = np.concatenate(values)
    every = every[np.isfinite(every)]
    # One value for each run: beyond a factor of ten, one run alone would leave the others no room to differ in.
    log = bool((every > 0).all()) and (
        quantity.scale == "log" or (quantity.scale == "positive" and spans_decades(every, 1.0))
    )
    plain_axes(axes, grid=True)
    axes.grid(visible=False, axis="y")
    limits = log_limits(every) if log else _around(every)
    if log:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xlim(*limits)
    positions, texts = (log_ticks if log else linear_ticks)(limits, max(3, int(width / _TICK_PITCH)))
    axes.set_xticks(positions, texts, parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.annotate(
        quantity.title + (", log" if log else ""),
        (0, 1),
        (0, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        size=LABEL_SIZE,
        color=INK,
        va="bottom",
    )
    for height, (line, row) in enumerate(zip(rows, values, strict=True)):
        shown = row[np.isfinite(row)]
        if not shown.size:
            continue
        spread = np.linspace(-0.16, 0.16, len(shown)) if len(shown) > 1 else np.zeros(1)
        axes.plot(shown, height + spread, line.look.marker, color=line.look.colour, markersize=4.5, alpha=0.8)
        if len(shown) > 1 and len(shown) == len(row):
            mean = float(np.exp(np.log(shown).mean()) if quantity.ratio and (shown > 0).all() else shown.mean())
            axes.plot([mean, mean], [height - 0.34, height + 0.34], color=line.look.colour, linewidth=1.6)


def _around(values: FloatArray) -> tuple[float, float]:
    """Limits close around the values: what matters is how the rows lie to each other."""
    low, high = float(values.min()), float(values.max())
    if not low < high:
        return linear_limits(values)
    margin = 0.08 * (high - low)
    return low - margin, high + margin
