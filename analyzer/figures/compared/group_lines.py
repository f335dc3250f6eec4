"""Draw groups of runs as lines: the mean of each group, in a band that covers the range of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.drawing.checkpoint_axis import CheckpointAxis, draw_checkpoint_axis
from analyzer.figures.drawing.keys import KeyLine
from analyzer.figures.drawing.labels import short_labels
from analyzer.figures.drawing.line_panels import KEY_TEXT, LineSheet, draw_line, finish_panel
from analyzer.figures.drawing.style import LOOKS, MEAN_LOOK, Look
from analyzer.figures.drawing.ticks import is_log, linear_limits, log_limits
from analyzer.model.comparison import Band, Comparison, Quantity
from analyzer.model.names import listed

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

_END = "x"  # the marker at the last value of a line that ends early


@dataclass(frozen=True, slots=True)
class Entry:
    """A group, or one run of the only group, with the label and the look that it has in every panel."""

    label: str
    look: Look
    group: str | None
    run: str | None


def entries_of(comparison: Comparison) -> tuple[list[Entry], str]:
    """Return an entry for each group, and a remark on the groups that are left out because looks run out.

    A single group that is small enough gets an entry for its mean and one for each of its runs.
    """
    groups = comparison.groups
    if len(groups) == 1 and len(groups[0].runs) <= len(LOOKS):
        runs = [Entry(run, look, None, run) for run, look in zip(groups[0].runs, LOOKS, strict=False)]
        return [Entry(f"mean of {len(groups[0].independent)} runs", MEAN_LOOK, groups[0].name, None), *runs], ""
    entries = [Entry(group.name, look, group.name, None) for group, look in zip(groups, LOOKS, strict=False)]
    if len(groups) <= len(LOOKS):
        return entries, ""
    return entries, f"only the first {len(LOOKS)} of {len(groups)} groups are drawn; groups.csv has all of them"


def group_figure(comparison: Comparison, names: Sequence[str], along: str | None = None) -> Figure | None:
    """Draw quantities for every group of runs, one panel for each quantity that has values.

    Args:
        comparison: the runs, their groups and their bands.
        names: the quantities; unknown ones are skipped.
        along: the quantity on the horizontal axis; None for the axis on which the runs are aligned. With a quantity,
            only groups are drawn, not single runs.

    Returns:
        The figure, None if there is nothing to show.
    """
    entries, left_out = entries_of(comparison)
    if along is not None:
        entries = [entry for entry in entries if entry.group is not None]
    known = {quantity.name: quantity for quantity in comparison.quantities}
    panels = []
    for quantity in (known[name] for name in names if name in known):
        lines = [_band(comparison, entry, quantity, along or comparison.axis_label) for entry in entries]
        if any(np.isfinite(line.mean).any() for line in lines):
            panels.append((quantity, lines))
    if not panels:
        return None
    key = _key(comparison, entries)
    notes = [KeyLine(text) for text in (_band_note(comparison, entries), _zero_note(panels), left_out) if text]
    ending = dict.fromkeys(
        run
        for quantity, lines in panels
        for entry, line in zip(entries, lines, strict=True)
        for run in _ended_by(comparison, quantity, entry, line)
    )
    if ending:
        verb = "has" if len(ending) == 1 else "have"
        notes.insert(0, KeyLine(f"the line ends: after this, {listed(list(ending), 3)} {verb} no value", marker=_END))
    sheet = LineSheet(len(panels), notes, key)
    axis = _axis(comparison, [line for _, lines in panels for line in lines], along)
    for index, (quantity, lines) in enumerate(panels):
        axes = sheet.panel(index)
        _draw_panel(axes, comparison, quantity, entries, lines)
        draw_checkpoint_axis(axes, axis, labeled=index == len(panels) - 1)
    return sheet.finish()


def _band(comparison: Comparison, entry: Entry, quantity: Quantity, along: str) -> Band:
    """Return the line of an entry with its range: none for a single run, empty where there is no such band."""
    if entry.run is not None:
        values = _finite(comparison.courses[entry.run, quantity.name].values)
        return Band(entry.label, quantity.name, along, comparison.places[entry.run], values, values, values, 1)
    wanted = (entry.group, quantity.name, along)
    for band in comparison.bands:
        if (band.group, band.quantity, band.along) == wanted:
            return replace(band, mean=_finite(band.mean), low=_finite(band.low), high=_finite(band.high))
    nothing = np.zeros(0)
    return Band(entry.label, quantity.name, along, nothing, nothing, nothing, nothing, 0)


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)


def _draw_panel(
    axes: Axes, comparison: Comparison, quantity: Quantity, entries: Sequence[Entry], lines: Sequence[Band]
) -> None:
    values = _all_values(lines)
    log = is_log(quantity.scale, values)
    unit = "" if quantity.is_score else f" ({quantity.unit}), {quantity.scope}"
    limits = log_limits(values) if log else linear_limits(values)
    finish_panel(axes, f"{quantity.title}{unit}{', log axis' if log else ''}", limits, log=log)
    for index, (entry, line) in enumerate(zip(entries, lines, strict=True)):
        middle, low, high = (
            np.where(part > 0, part, np.nan) if log else part for part in (line.mean, line.low, line.high)
        )
        if (low < high).any():
            axes.fill_between(line.positions, low, high, color=entry.look.color, alpha=0.16, linewidth=0)
        if line.positions.size:
            draw_line(axes, line.positions, middle, entry.look, index)
        if _ended_by(comparison, quantity, entry, line):
            last = _last_value(line)
            axes.plot(line.positions[last], middle[last], _END, color=entry.look.color, markersize=8, markeredgewidth=2)


def _last_value(line: Band) -> int:
    """Return the index of the last value of a line, -1 if it has none."""
    return int(np.flatnonzero(np.isfinite(line.mean)).max(initial=-1))


def _ended_by(comparison: Comparison, quantity: Quantity, entry: Entry, line: Band) -> list[str]:
    """Return the runs whose values end before the line does, of which one is enough to end the line of a group.

    A last checkpoint that was not measured, as with ``--spectra-every``, does not count.
    """
    if not 0 <= _last_value(line) < len(line.mean) - 1:
        return []
    members = {group.name: group.independent for group in comparison.groups}
    runs = (entry.run,) if entry.run is not None else members[str(entry.group)]
    courses = {run: comparison.courses[run, quantity.name] for run in runs}
    return [
        run
        for run, course in courses.items()
        if not np.isfinite(course.values[-1]) and (quantity.is_score or course.statuses[-1] != "missing")
    ]


def _all_values(lines: Sequence[Band]) -> FloatArray:
    return np.concatenate([part for line in lines for part in (line.low, line.high)])


def _key(comparison: Comparison, entries: Sequence[Entry]) -> list[KeyLine]:
    counts = {group.name: len(group.independent) for group in comparison.groups}
    labels, _ = short_labels([entry.label for entry in entries], KEY_TEXT - 45)
    lines = []
    for label, entry in zip(labels, entries, strict=True):
        count = counts.get(entry.group or "", 1)
        text = f"{label} ({count} runs)" if count > 1 and entry.look is not MEAN_LOOK else label
        lines.append(KeyLine(text, look=entry.look))
    return lines


def _band_note(comparison: Comparison, entries: Sequence[Entry]) -> str:
    counts = {group.name: len(group.independent) for group in comparison.groups}
    if any(entry.group is not None and counts[entry.group] > 1 for entry in entries):
        return "line: mean of the runs (geometric for distances and κ); band: from the lowest to the highest run"
    return ""


def _zero_note(panels: Sequence[tuple[Quantity, Sequence[Band]]]) -> str:
    """Explain what a log axis leaves out, such as the distance of the first checkpoint from itself."""
    hidden = any(
        is_log(quantity.scale, _all_values(lines)) and any((line.low == 0).any() for line in lines)
        for quantity, lines in panels
    )
    if not hidden:
        return ""
    return "a log axis cannot show values of exactly 0, such as the distance of the first checkpoint from itself"


def _axis(comparison: Comparison, lines: Sequence[Band], along: str | None) -> CheckpointAxis:
    positions = np.unique(np.concatenate([line.positions for line in lines]))
    if along is not None:
        return CheckpointAxis(positions, "path length Σ‖ΔW‖ of all parameters (weight units)", float("nan"))
    spacing = float(np.median(np.diff(positions))) if len(positions) > 1 else float("nan")
    return CheckpointAxis(positions, comparison.axis_label, spacing)
