"""Changes in accuracy against changes in the weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.catalog import REPORT
from analyzer.figures.drawing.checkpoint_axis import checkpoint_axis, draw_checkpoint_axis
from analyzer.figures.drawing.keys import KeyLine, draw_key, key_height
from analyzer.figures.drawing.labels import fitted
from analyzer.figures.drawing.line_panels import SECOND_LINE, draw_line, finish_panel
from analyzer.figures.drawing.sheet import HEAD, MARGIN, is_narrow, new_sheet, place, sheet_width, text_room
from analyzer.figures.drawing.style import INK, LABEL_SIZE, LOOKS, SMALL_SIZE
from analyzer.figures.drawing.ticks import linear_limits, linear_ticks
from analyzer.model.run import FloatArray
from analyzer.model.tables import ChangePair, Correlation, Tables

_HEIGHT, _GAP = 2.1, 0.95  # inches
_LEFT, _SERIES_WIDTH, _BETWEEN = 0.6, 4.7, 0.85  # inches
_NAME_WIDTH = 150.0  # points
_MAX_PAIRS = 6
_SCORE, _WEIGHTS = LOOKS[0], LOOKS[1]


@REPORT.figure(
    order=40,
    title="Changes in accuracy and in the weights",
    how_to_read=(
        "Left: how much the score and the weights (mean step distance) changed at each checkpoint, as z-scores; "
        "right: one against the other. Both usually shrink as training settles, which alone makes them correlate, so "
        "r proves nothing; the notes in the figure show what remains after differencing both once more and removing a "
        "smooth trend."
    ),
)
def accuracy_change(tables: Tables) -> Figure | None:
    """Draw z-scored score differences and mean step distances, over the axis and against each other."""
    pairs = [pair for pair in tables.change_pairs if pair.coefficient is not None]
    if not pairs:
        return None
    foot = _foot(tables, pairs)
    pairs = pairs[:_MAX_PAIRS]
    narrow = is_narrow()
    right = sheet_width() - 2 * MARGIN
    gap = _GAP + (SECOND_LINE if narrow else 0.0)
    top = HEAD + gap - _GAP + 0.3
    bottom = top + len(pairs) * (2 if narrow else 1) * (_HEIGHT + gap)
    drawn = new_sheet(bottom + key_height(foot) + MARGIN - 0.3)
    axis = checkpoint_axis(tables)
    for index, pair in enumerate(pairs):
        start = top + index * (2 if narrow else 1) * (_HEIGHT + gap)
        series = place(drawn, _LEFT, start, right - _LEFT if narrow else _SERIES_WIDTH, _HEIGHT)
        _draw_series(series, tables.axis, pair)
        draw_checkpoint_axis(series, axis)
        left, below = (_LEFT, start + _HEIGHT + gap) if narrow else (_LEFT + _SERIES_WIDTH + _BETWEEN, start)
        _draw_scatter(place(drawn, left, below, right - left, _HEIGHT), pair)
    draw_key(drawn, MARGIN, bottom - 0.3, text_room(), foot)
    return drawn


def _foot(tables: Tables, pairs: Sequence[ChangePair]) -> list[KeyLine]:
    """Explain the lines and r, and list what remains of each correlation without drift and what is not drawn."""
    foot = [
        KeyLine("change in the score", look=_SCORE),
        KeyLine("change in the weights (mean step distance)", look=_WEIGHTS),
        KeyLine("r is Pearson's correlation, without a p-value: curves that both settle correlate anyway"),
    ]
    detrended = []
    for row in (pair.stationary for pair in pairs[:_MAX_PAIRS]):
        if row is not None:
            detrended.append(KeyLine(detrended_text(row.scalar, row)))
            if row.power_05 is not None and row.power_07 is not None:
                detrended.append(KeyLine(detectable_text(row.power_05, row.power_07)))
    if detrended:
        foot += [
            KeyLine("Without drift (both differenced, the distance as a logarithm, and a smooth trend removed):"),
            *detrended,
            KeyLine(
                "n leaves out the first changes, which the trend itself follows; the effective n depends on the "
                "correlation of each change with later ones (with the next: r₁ of the score, r₂ of the distance)"
            ),
        ]
    foot += [
        KeyLine(f"{_name(pair.scalar)}: no r (too few changes, or the changes of one of the two are all the same)")
        for pair in tables.change_pairs
        if pair.coefficient is None and len(pair.positions)
    ]
    if len(pairs) > _MAX_PAIRS:
        foot.append(KeyLine(f"{len(pairs) - _MAX_PAIRS} more scores are in correlations.csv"))
    return foot


def _name(scalar: str, size: float = SMALL_SIZE) -> str:
    return fitted(scalar.replace("_", " "), _NAME_WIDTH, size)


def _draw_series(axes: Axes, places: FloatArray, pair: ChangePair) -> None:
    both = np.concatenate([pair.score_change, pair.weight_change])
    name = f"{_name(pair.scalar, LABEL_SIZE)}: change at each checkpoint (z-score)"
    finish_panel(axes, name, linear_limits(both), log=False)
    draw_line(axes, *_with_gaps(places, pair.positions, pair.weight_change), _WEIGHTS, 1)
    draw_line(axes, *_with_gaps(places, pair.positions, pair.score_change), _SCORE)


def _with_gaps(places: FloatArray, positions: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return ``values`` (n,) at all ``places`` of checkpoints between the first and the last of their ``positions``.

    They are NaN where a pair has no change, as after an epoch without a score, so that no line joins its neighbors.
    """
    if not np.isfinite(positions).all():
        return positions, values
    between = places[(places >= positions.min()) & (places <= positions.max())]
    every = np.union1d(between, positions)
    spread = np.full(every.shape, np.nan)
    spread[np.searchsorted(every, positions)] = values
    return every, spread


def _draw_scatter(axes: Axes, pair: ChangePair) -> None:
    limits = linear_limits(pair.weight_change)
    finish_panel(axes, coefficient_text(pair), linear_limits(pair.score_change), log=False)
    axes.set_xlim(*limits)
    axes.set_xticks(*linear_ticks(limits, 5))
    both = np.isfinite(pair.weight_change) & np.isfinite(pair.score_change)
    x, y = pair.weight_change[both], pair.score_change[both]
    axes.plot(x, y, "o", color=_SCORE.color, markersize=4, alpha=0.7, mew=0)
    axes.set_xlabel("change in the weights (z-score)", size=LABEL_SIZE, color=INK, labelpad=3)
    axes.set_ylabel("change in the score (z-score)", size=LABEL_SIZE, color=INK, labelpad=3)


def coefficient_text(pair: ChangePair) -> str:
    """Return a text with r and n of a pair."""
    return f"r = {pair.coefficient:.2f}, n = {pair.n} (descriptive only)".replace("-", "−")


def detrended_text(scalar: str, row: Correlation) -> str:
    """Return a text with the correlation without drift, its interval and p-value, or with why there is none."""
    name = _name(scalar)
    if row.coefficient is None:
        why = "one of the two is constant" if row.status == "undefined" else "too few checkpoints"
        return f"{name}: no coefficient, n = {row.n} ({why})"
    text = f"r = {row.coefficient:.2f}"
    if row.low is not None and row.high is not None:
        text += f" (95 % interval {row.low:.2f} to {row.high:.2f})"
    if row.n_effective is not None and row.autocorrelations is not None:
        first, second = row.autocorrelations
        text += f", n = {row.n}, effective {row.n_effective:.0f} (r₁ = {first:.2f}, r₂ = {second:.2f})"
    p_value = f", p = {row.p_value:.2g}" if row.p_value is not None else ": too few for a p-value"
    return f"{name}: {text.replace('-', '−')}{p_value}"


def detectable_text(weak: float, strong: float) -> str:
    """Return a text with the power of a test at r = 0.5 (``weak``) and at r = 0.7 (``strong``)."""
    return f"a true r of 0.5 would have p < 0.05 in {100 * weak:.0f} % of such runs, one of 0.7 in {100 * strong:.0f} %"
