"""The classic picture of accuracy: whether it changes when the weights change."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.horizontal import draw_horizontal, horizontal
from analyzer.figures.labels import fitted
from analyzer.figures.line_panel import draw_line, finish_panel
from analyzer.figures.registry import figure
from analyzer.figures.sheet import HEAD, MARGIN, WIDTH, KeyLine, draw_key, key_height, new_sheet, place
from analyzer.figures.style import INK, LABEL_SIZE, LOOKS, SMALL_SIZE
from analyzer.figures.ticks import linear_limits, linear_ticks
from analyzer.model.run import ChangePair, Correlation, Tables

_HEIGHT, _GAP = 2.1, 0.95
_LEFT, _SERIES_WIDTH, _BETWEEN = 0.6, 4.7, 0.85
_MOST_PAIRS = 6
_SCORE, _WEIGHTS = LOOKS[0], LOOKS[1]


@figure(
    order=40,
    title="Change of accuracy beside change of weights",
    how_to_read=(
        "Left: how much the accuracy and the weights (mean step distance) changed into each checkpoint, "
        "both as z-scores; right: the one against the other. Both usually shrink as training settles, which "
        "alone makes them correlate, so r describes the picture and proves nothing; the lines below tell what is left "
        "of it when both are differenced once more and a smooth trend is taken out."
    ),
)
def accuracy_change(tables: Tables) -> Figure | None:
    """Draw z-scored score differences and mean step distances, over the axis and against each other."""
    pairs = [pair for pair in tables.change_pairs if pair.coefficient is not None]
    if not pairs:
        return None
    foot = [
        KeyLine("change of the score", look=_SCORE),
        KeyLine("change of the weights (mean step distance)", look=_WEIGHTS),
        KeyLine("r is Pearson's, a description only, no p-value: curves that both settle correlate anyway"),
    ]
    left_out, pairs = pairs[_MOST_PAIRS:], pairs[:_MOST_PAIRS]
    tested = [KeyLine(stationary_text(pair.scalar, pair.stationary)) for pair in pairs if pair.stationary]
    if tested:
        foot += [KeyLine("Without the drift (differences of both, of the log distance, less a smooth trend):")]
        foot += tested
        foot.append(
            KeyLine("n is without the first changes, which the trend follows; r₁, r₂ are those of the score's and")
        )
        foot.append(KeyLine("of the distance's changes with their own next ones, on which the effective n rests"))
    without = [pair for pair in tables.change_pairs if pair.coefficient is None and len(pair.positions)]
    foot += [
        KeyLine(f"{_named(pair)}: no r (too few changes, or those of one of the two are all the same)")
        for pair in without
    ]
    if left_out:
        foot.append(KeyLine(f"{len(left_out)} more scores are in correlations.csv"))
    top = HEAD + 0.3
    bottom = top + len(pairs) * (_HEIGHT + _GAP)
    drawn = new_sheet(bottom + key_height(foot) + MARGIN - 0.3)
    axis = horizontal(tables)
    for index, pair in enumerate(pairs):
        start = top + index * (_HEIGHT + _GAP)
        series = place(drawn, _LEFT, start, _SERIES_WIDTH, _HEIGHT)
        _draw_series(series, pair)
        draw_horizontal(series, axis)
        left = _LEFT + _SERIES_WIDTH + _BETWEEN
        _draw_scatter(place(drawn, left, start, WIDTH - left - 2 * MARGIN, _HEIGHT), pair)
    draw_key(drawn, MARGIN, bottom - 0.3, WIDTH - 2 * MARGIN, foot)
    return drawn


def _named(pair: ChangePair) -> str:
    return fitted(pair.scalar.replace("_", " "), 150, SMALL_SIZE)


def _draw_series(axes: Axes, pair: ChangePair) -> None:
    both = np.concatenate([pair.score_change, pair.weight_change])
    name = fitted(pair.scalar.replace("_", " "), 150, LABEL_SIZE)
    finish_panel(axes, f"{name}: change into each checkpoint (z-score)", linear_limits(both), log=False)
    draw_line(axes, pair.positions, pair.weight_change, _WEIGHTS, 1)
    draw_line(axes, pair.positions, pair.score_change, _SCORE)


def _draw_scatter(axes: Axes, pair: ChangePair) -> None:
    limits = linear_limits(pair.weight_change)
    finish_panel(axes, coefficient_text(pair), linear_limits(pair.score_change), log=False)
    axes.set_xlim(*limits)
    axes.set_xticks(*linear_ticks(limits, 5))
    both = np.isfinite(pair.weight_change) & np.isfinite(pair.score_change)
    axes.plot(
        pair.weight_change[both],
        pair.score_change[both],
        "o",
        color=_SCORE.colour,
        markersize=4,
        alpha=0.7,
        mew=0,
    )
    axes.set_xlabel("change of the weights (z-score)", size=LABEL_SIZE, color=INK, labelpad=3)
    axes.set_ylabel("change of the score (z-score)", size=LABEL_SIZE, color=INK, labelpad=3)


def coefficient_text(pair: ChangePair) -> str:
    """Say r and n."""
    return f"r = {pair.coefficient:.2f}, n = {pair.n} (a description only)".replace("-", "−")


def stationary_text(scalar: str, row: Correlation) -> str:
    """Say what is left of the correlation without drift, whether it may be chance, or why that cannot be told."""
    name = fitted(scalar.replace("_", " "), 150, SMALL_SIZE)
    if row.coefficient is None:
        why = "one of the two is constant" if row.status == "undefined" else "too few checkpoints"
        return f"{name}: no coefficient, n = {row.n} ({why})"
    said = f"r = {row.coefficient:.2f}"
    if row.low is not None and row.high is not None:
        said += f" (95 % interval {row.low:.2f} to {row.high:.2f})"
    if row.n_effective is not None and row.autocorrelations is not None:
        first, second = row.autocorrelations
        said += f", n = {row.n}, effective {row.n_effective:.0f} (r₁ = {first:.2f}, r₂ = {second:.2f})"
    chance = f", p = {row.p_value:.2g}" if row.p_value is not None else ": too few for a p-value"
    return f"{name}: {said.replace('-', '−')}{chance}"
