"""The final values of every run, one mark each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.catalog import COMPARISON
from analyzer.figures.compared.group_lines import Entry, entries_of
from analyzer.figures.drawing.keys import KeyLine, draw_key, key_height
from analyzer.figures.drawing.labels import short_labels
from analyzer.figures.drawing.line_panels import name_panel
from analyzer.figures.drawing.sheet import HEAD, MARGIN, is_narrow, new_sheet, place, sheet_width, text_room
from analyzer.figures.drawing.style import SMALL_SIZE, plain_axes
from analyzer.figures.drawing.ticks import is_log, linear_limits, linear_ticks, log_limits, log_ticks
from analyzer.model.comparison import Comparison, Quantity
from analyzer.model.score_names import accuracies

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

_NAMES_WIDTH, _GAP, _ROW, _FOOT = 1.75, 0.35, 0.36, 0.3  # inches
_NAMES_IF_NARROW, _TITLE = 1.2, 0.3  # inches
_TICK_PITCH = 0.5  # inches


@COMPARISON.figure(
    order=10,
    title="Final values of every run",
    how_to_read="Each mark is one run, at the place at which the runs are compared.",
    how_to_read_groups=(
        "The vertical line is the mean of a group. The more the marks of two rows overlap, the more likely it is that "
        "the seed alone explains their difference."
    ),
)
def final_values(comparison: Comparison) -> Figure | None:
    """Draw the final accuracy, distance from the start and condition number of each run, a row for each group."""
    entries, left_out = entries_of(comparison)
    independent = {group.name: group.independent for group in comparison.groups}
    rows = [entry for entry in entries if entry.run is not None or len(entries) == 1 or len(comparison.groups) > 1]
    members = [(entry.run,) if entry.run is not None else independent[str(entry.group)] for entry in rows]
    known = {quantity.name: quantity for quantity in comparison.quantities}
    panels = []
    for name in (*accuracies(known)[:1], "initial_distance", "condition_number"):
        if name in known:
            values = [_final_values(comparison, runs, name) for runs in members]
            if any(np.isfinite(row).any() for row in values):
                panels.append((known[name], values))
    if not panels:
        return None
    height = max(1.0, _ROW * len(rows) + 0.2)
    notes = [KeyLine(left_out)] if left_out else []
    abreast = 1 if is_narrow() else len(panels)
    left = _NAMES_IF_NARROW if is_narrow() else _NAMES_WIDTH
    pitch = _TITLE + height + _FOOT
    bottom = HEAD + -(-len(panels) // abreast) * pitch
    drawn = new_sheet(bottom + key_height(notes) + MARGIN)
    width = (sheet_width() - left - 2 * MARGIN - _GAP * (abreast - 1)) / abreast
    labels, _ = short_labels([entry.label for entry in rows], 72 * (left - 0.25))
    for index, (quantity, values) in enumerate(panels):
        line, column = divmod(index, abreast)
        start = MARGIN + left + column * (width + _GAP)
        axes = place(drawn, start, HEAD + _TITLE + line * pitch, width, height)
        _draw_panel(axes, quantity, rows, values, width)
        axes.set_yticks(np.arange(len(rows)), labels if column == 0 else [""] * len(rows), parse_math=False)
        axes.tick_params(axis="y", length=0, labelsize=SMALL_SIZE)
    draw_key(drawn, MARGIN, bottom, text_room(), notes)
    return drawn


def _final_values(comparison: Comparison, runs: Sequence[str], quantity: str) -> FloatArray:
    """Return the value of each run (runs,) at the place where it ended."""
    positions = [int(np.searchsorted(comparison.places[run], comparison.ends[run])) for run in runs]
    return np.array(
        [comparison.courses[run, quantity].values[position] for run, position in zip(runs, positions, strict=True)]
    )


def _draw_panel(
    axes: Axes, quantity: Quantity, rows: Sequence[Entry], values: Sequence[FloatArray], width: float
) -> None:
    finite = np.concatenate(values)
    finite = finite[np.isfinite(finite)]
    # One value per run: beyond a factor of ten, one distant run would squeeze all the others together.
    log = bool((finite > 0).all()) and is_log(quantity.scale, finite, 1.0)
    plain_axes(axes, grid=True)
    axes.grid(visible=False, axis="y")
    limits = log_limits(finite) if log else _tight_limits(finite)
    if log:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xlim(*limits)
    positions, texts = (log_ticks if log else linear_ticks)(limits, max(3, int(width / _TICK_PITCH)))
    axes.set_xticks(positions, texts, parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    name_panel(axes, quantity.title + (", log" if log else ""))
    for height, (entry, row) in enumerate(zip(rows, values, strict=True)):
        _draw_row(axes, height, entry, row, ratio=quantity.ratio)


def _draw_row(axes: Axes, height: int, entry: Entry, values: FloatArray, *, ratio: bool) -> None:
    """Draw a mark for each value, and a vertical line at the mean if every run of the row has one."""
    shown = values[np.isfinite(values)]
    if not shown.size:
        return
    spread = np.linspace(-0.16, 0.16, len(shown)) if len(shown) > 1 else np.zeros(1)
    axes.plot(shown, height + spread, entry.look.marker, color=entry.look.color, markersize=4.5, alpha=0.8)
    if len(shown) > 1 and len(shown) == len(values):
        mean = float(np.exp(np.log(shown).mean()) if ratio and (shown > 0).all() else shown.mean())
        axes.plot([mean, mean], [height - 0.34, height + 0.34], color=entry.look.color, linewidth=1.6)


def _tight_limits(values: FloatArray) -> tuple[float, float]:
    """Return limits close around the values, without zero: what matters is how the rows compare."""
    low, high = float(values.min()), float(values.max())
    if not low < high:
        return linear_limits(values)
    margin = 0.08 * (high - low)
    return low - margin, high + margin
