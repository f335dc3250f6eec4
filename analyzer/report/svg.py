"""Draw small line charts as inline SVG: coordinates are whole numbers, colors are classes of the style sheet.

A page of such charts takes milliseconds and follows the reader's light or dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from analyzer.model.run import BoolArray, FloatArray, IntArray, Severity
from analyzer.model.tables import TOKENS

UNITS_PER_PIXEL = 4  # so that whole numbers place a point to a quarter of a pixel
WIDTH, HEIGHT = 400 * UNITS_PER_PIXEL, 190 * UNITS_PER_PIXEL
LEFT, RIGHT, TOP, BOTTOM = (margin * UNITS_PER_PIXEL for margin in (48, 12, 22, 28))
_ROOM = 1.04  # the lowest and highest value keep this distance from the frame
_MOST_POINTS = 300  # of a line; longer runs are thinned, which keeps the ends
_MARK_PITCH = 17 * UNITS_PER_PIXEL
_SHORT = {TOKENS: "B tokens", "checkpoint (in order)": "no."}  # of what the axis measures
_MANTISSAS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart: ``values`` (checkpoints,) are NaN where there is nothing; ``style`` is its CSS class."""

    values: FloatArray
    style: str = "line-1"


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a finding is marked: from checkpoint ``first`` to ``last``, as positions in the run."""

    number: int
    severity: Severity
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of some lines over the checkpoints of a run; ``axis`` (checkpoints,) places them.

    ``description`` says what is seen, for readers who do not see it. ``log`` is used only if all values are positive.
    """

    description: str
    axis: FloatArray
    axis_label: str
    lines: Sequence[Line]
    log: bool = False
    marks: Sequence[Interval] = ()


@dataclass(frozen=True, slots=True)
class _Scale:
    """A map from values to units of the chart, from ``low`` at ``start`` to ``high`` at ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def units(self, values: FloatArray) -> FloatArray:
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = ((np.log10(values) if self.log else values) - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def unit(self, value: float) -> int:
        return round(float(self.units(np.array([value]))[0]))


def draw(chart: Chart) -> Markup | None:
    """Return the chart as an ``svg`` element, None if no line has a finite value."""
    values = np.concatenate([line.values for line in chart.lines]) if chart.lines else np.zeros(0)
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    log = chart.log and bool((values > 0).all())
    across = _across(chart.axis)
    upwards = _upwards(values, log)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.description)}">',
        *_marks(chart, across),
        *_grid(across, upwards, chart.axis_label),
        *(
            f'<path class="{line.style}" d="{_path(chart.axis, line.values, across, upwards)}"/>'
            for line in chart.lines
        ),
        "</svg>",
    ]
    return Markup("".join(parts))  # noqa: S704 - numbers, our own classes and escaped text


def _across(axis: FloatArray) -> _Scale:
    low, high = float(axis[0]), float(axis[-1])
    if low == high:
        low, high = low - 1, high + 1
    return _Scale(low, high, LEFT, WIDTH - RIGHT)


def _upwards(values: FloatArray, log: bool) -> _Scale:
    low, high = float(values.min()), float(values.max())
    if log:
        ratio = max(high / low, 1.05) ** (_ROOM - 1)
        return _Scale(low / ratio, max(high, low * 1.05) * ratio, HEIGHT - BOTTOM, TOP, log=True)
    spread = max(high - low, 1e-3 * max(abs(high), abs(low)), 1e-12)
    bottom = low - (_ROOM - 1) * spread
    return _Scale(max(bottom, 0.0) if low >= 0 else bottom, high + (_ROOM - 1) * spread, HEIGHT - BOTTOM, TOP)


def ticks(low: float, high: float, log: bool = False, about: int = 4) -> list[float]:
    """Return round numbers between two values, about as many as asked for; on a log axis 1, 2 and 5 times powers."""
    if log:
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        if len(exponents) > 2 * about:
            exponents = exponents[:: -(-len(exponents) // about)]
        for mantissas in ((1,), (1, 3), (1, 2, 5)):
            found = [m * 10.0**e for e in exponents for m in mantissas if low <= m * 10.0**e <= high]
            if len(found) >= 3:
                return found
        if len(found) > 1:
            return found
    step = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(step))
    step = magnitude * next(one for one in _MANTISSAS if one * magnitude >= 0.999 * step)
    return [float(f"{n * step:.12g}") for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float) -> str:
    """Format a round number shortly: ``0.05``, ``2000``, ``1e-5``."""
    text = f"{value:.6g}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


def _grid(across: _Scale, upwards: _Scale, label: str) -> Iterator[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for value in ticks(upwards.low, upwards.high, upwards.log):
        y = upwards.unit(value)
        yield f'<path class="grid" d="M{LEFT} {y}H{right}"/>'
        yield f'<text class="tick-y" x="{LEFT - 24}" y="{y + 14}">{tick_text(value)}</text>'
    unit = _SHORT.get(label, label) + " "
    for number, value in enumerate(ticks(across.low, across.high, about=5)):
        x = across.unit(value)
        yield f'<text class="tick-x{"" if number else " first"}" x="{x}" y="{HEIGHT - 24}">'
        yield f"{'' if number else escape(unit)}{tick_text(value)}</text>"
        yield f'<path class="grid" d="M{x} {TOP}V{bottom}"/>'
    yield f'<path class="frame" d="M{LEFT} {TOP}V{bottom}H{right}"/>'


def _marks(chart: Chart, across: _Scale) -> Iterator[str]:
    """Yield a band or a line for each finding, with its number above; numbers that would meet move to the right."""
    free = 0
    for mark in sorted(chart.marks, key=lambda mark: (chart.axis[mark.first] + chart.axis[mark.last], mark.number)):
        first, last = (across.unit(float(chart.axis[place])) for place in (mark.first, mark.last))
        bottom = HEIGHT - BOTTOM
        yield f'<g class="mark {mark.severity}">'
        if first == last:
            yield f'<path d="M{first} {TOP}V{bottom}"/>'
        elif mark.last - mark.first < len(chart.axis) - 1:
            yield f'<rect x="{first}" y="{TOP}" width="{last - first}" height="{bottom - TOP}"/>'
        yield f'<path d="M{first} {TOP}H{last}"/>'
        x = max((first + last) // 2, free)
        free = x + _MARK_PITCH
        yield f'<text x="{x}" y="{TOP - 20}">{mark.number}</text></g>'


def _path(axis: FloatArray, values: FloatArray, across: _Scale, upwards: _Scale) -> str:
    """Return the path of a line, in relative whole numbers; a gap begins a new stretch, a lone value is a dot."""
    chosen = _thinned(len(values))
    x, y = across.units(axis[chosen]), upwards.units(values[chosen])
    known: BoolArray = np.isfinite(y)
    parts: list[str] = []
    before: tuple[int, int] | None = None
    for at, (is_known, right, down) in enumerate(zip(known.tolist(), x.tolist(), y.tolist(), strict=True)):
        if not is_known:
            before = None
            continue
        point = round(right), round(down)
        if before is None:
            is_lone = at + 1 == len(known) or not known[at + 1]
            parts.append(f"M{point[0]} {point[1]}{'h0' if is_lone else ''}l")
        else:
            over = point[1] - before[1]
            parts.append(f"{point[0] - before[0]}{'' if over < 0 else ' '}{over} ")
        before = point
    return "".join(parts).replace(" M", "M").replace("lM", "M").rstrip(" l")


def _thinned(count: int) -> IntArray:
    """Return the positions that a line goes through."""
    if count <= _MOST_POINTS:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, _MOST_POINTS).round().astype(np.intp))
