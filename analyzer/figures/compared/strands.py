"""Groups of runs as lines: the mean of each with the range of its runs around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.horizontal import Horizontal, draw_horizontal
from analyzer.figures.labels import short_labels
from analyzer.figures.line_panel import (
    FOOT_GAP,
    KEY_TEXT,
    KEY_WIDTH,
    LEFT,
    PANEL_GAP,
    PLOT_WIDTH,
    draw_line,
    finish_panel,
    panel_heights,
    spans_decades,
)
from analyzer.figures.sheet import HEAD, MARGIN, WIDTH, KeyLine, draw_key, key_height, new_sheet, place
from analyzer.figures.style import LOOKS, MEAN_LOOK, Look
from analyzer.figures.ticks import linear_limits, log_limits
from analyzer.model.comparison import Comparison, Quantity

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

BAND_OPACITY = 0.16


@dataclass(frozen=True, slots=True)
class Strand:
    """One line of a panel: ``middle`` between ``low`` and ``high``, each (n,), over the places ``x``."""

    x: FloatArray
    middle: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True)
class Line:
    """What is drawn alike in all panels: a group, or one run of the only group."""

    label: str
    look: Look
    group: str | None
    run: str | None


def lines_of(comparison: Comparison) -> tuple[list[Line], str]:
    """The groups, as many as can be told apart, and what is left out; of a single small group its runs, too."""
    groups = comparison.groups
    if len(groups) == 1 and len(groups[0].runs) <= len(LOOKS):
        runs = [Line(run, look, None, run) for run, look in zip(groups[0].runs, LOOKS, strict=False)]
        return [Line(f"mean of {len(groups[0].independent)} runs", MEAN_LOOK, groups[0].name, None), *runs], ""
    lines = [Line(group.name, look, group.name, None) for group, look in zip(groups, LOOKS, strict=False)]
    more = (
        f"only the first {len(LOOKS)} of {len(groups)} are drawn; groups.csv has all"
        if len(groups) > len(LOOKS)
        else ""
    )
    return lines, more


def strands_figure(comparison: Comparison, names: Sequence[str], along: str | None = None) -> Figure | None:
    """Draw quantities, a panel for each that has numbers, against the common axis or ``along`` another."""
    lines, left_out = lines_of(comparison)
    if along is not None:
        lines = [line for line in lines if line.group is not None]
    known = {one.name: one for one in comparison.quantities}
    panels = []
    for quantity in (known[name] for name in names if name in known):
        strands = [_strand(comparison, line, quantity, along or comparison.axis_label) for line in lines]
        if any(np.isfinite(strand.middle).any() for strand in strands):
            panels.append((quantity, strands))
    if not panels:
        return None
    height = panel_heights(len(panels))
    top, body = HEAD + 0.3, len(panels) * (height + PANEL_GAP) - PANEL_GAP
    key = _key(comparison, lines)
    body = max(body, key_height(key) - 0.1)
    foot = [KeyLine(text) for text in (_foot(comparison, lines), _zeros(panels), left_out) if text]
    drawn = new_sheet(top + body + FOOT_GAP + key_height(foot) + MARGIN)
    axis = _axis(comparison, [strand for _, strands in panels for strand in strands], along)
    for index, (quantity, strands) in enumerate(panels):
        axes = place(drawn, LEFT, top + index * (height + PANEL_GAP), PLOT_WIDTH, height)
        _draw_panel(axes, quantity, lines, strands)
        draw_horizontal(axes, axis, labelled=index == len(panels) - 1)
    draw_key(drawn, WIDTH - MARGIN - KEY_WIDTH, top, KEY_WIDTH, key)
    draw_key(drawn, MARGIN, top + body + FOOT_GAP, WIDTH - 2 * MARGIN, foot)
    return drawn


def _strand(comparison: Comparison, line: Line, quantity: Quantity, along: str) -> Strand:
    if line.run is not None:
        values = _finite(comparison.courses[line.run, quantity.name].values)
        return Strand(comparison.places[line.run], values, values, values)
    wanted = (line.group, quantity.name, along)
    for band in comparison.bands:
        if (band.group, band.quantity, band.along) == wanted:
            return Strand(band.positions, _finite(band.mean), _finite(band.low), _finite(band.high))
    nothing = np.zeros(0)
    return Strand(nothing, nothing, nothing, nothing)


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)


def _draw_panel(axes: Axes, quantity: Quantity, lines: Sequence[Line], strands: Sequence[Strand]) -> None:
    every = np.concatenate([part for strand in strands for part in (strand.low, strand.high)])
    log = _is_log(quantity, strands)
    told = "" if quantity.is_score else f" ({quantity.unit}), {quantity.scope}"
    limits = log_limits(every) if log else linear_limits(every)
    finish_panel(axes, f"{quantity.title}{told}{', log axis' if log else ''}", limits, log=log)
    for turn, (line, strand) in enumerate(zip(lines, strands, strict=True)):
        middle, low, high = (
            np.where(part > 0, part, np.nan) if log else part for part in (strand.middle, strand.low, strand.high)
        )
        if (low < high).any():
            axes.fill_between(strand.x, low, high, color=line.look.colour, alpha=BAND_OPACITY, linewidth=0)
        if strand.x.size:
            draw_line(axes, strand.x, middle, line.look, turn)


def _is_log(quantity: Quantity, strands: Sequence[Strand]) -> bool:
    every = np.concatenate([part for strand in strands for part in (strand.low, strand.high)])
    return quantity.scale == "log" or (quantity.scale == "positive" and spans_decades(every))


def _zeros(panels: Sequence[tuple[Quantity, Sequence[Strand]]]) -> str:
    """What a log axis leaves out: the distance of the first checkpoint from itself."""
    hidden = any(
        _is_log(quantity, strands) and (strand.low == 0).any() for quantity, strands in panels for strand in strands
    )
    return (
        "a log axis cannot show values of exactly 0, such as the distance of the first checkpoint from itself"
        if hidden
        else ""
    )


def _key(comparison: Comparison, lines: Sequence[Line]) -> list[KeyLine]:
    counts = {group.name: len(group.independent) for group in comparison.groups}
    labels, _ = short_labels([line.label for line in lines], KEY_TEXT - 45)
    return [
        KeyLine(f"{label} ({count} runs)" if count > 1 and line.look is not MEAN_LOOK else label, look=line.look)
        for label, line, count in zip(labels, lines, (counts.get(line.group or "", 1) for line in lines), strict=True)
    ]


def _foot(comparison: Comparison, lines: Sequence[Line]) -> str:
    counts = {group.name: len(group.independent) for group in comparison.groups}
    if any(line.group is not None and counts[line.group] > 1 for line in lines):
        return "line: mean of the runs (geometric for distances and κ); band: from the least to the largest of them"
    return ""


def _axis(comparison: Comparison, strands: Sequence[Strand], along: str | None) -> Horizontal:
    positions = np.unique(np.concatenate([strand.x for strand in strands]))
    if along is not None:
        return Horizontal(positions, "path length Σ‖ΔW‖ of all parameters (weight units)", float("nan"))
    spacing = float(np.median(np.diff(positions))) if len(positions) > 1 else float("nan")
    return Horizontal(positions, comparison.axis_label, spacing)
