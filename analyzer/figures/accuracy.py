"""How well the network did: accuracy and loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.horizontal import Horizontal, draw_horizontal, horizontal
from analyzer.figures.labels import short_labels
from analyzer.figures.layers import Panel, is_log
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
)
from analyzer.figures.registry import figure
from analyzer.figures.sheet import HEAD, MARGIN, WIDTH, KeyLine, draw_key, key_height, new_sheet, place
from analyzer.figures.style import LOOKS, Look
from analyzer.figures.ticks import linear_limits, log_limits
from analyzer.model.score_names import data_of, is_loss, is_share

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray, Tables

_LOSS = Panel("loss", "Loss", "", "positive")
_SETS = ("train", "test", "eval")  # each keeps its colour in both panels


@figure(
    order=10,
    title="Accuracy and loss",
    how_to_read=(
        "The network's scores as the run recorded them, at each checkpoint. Where the training curve goes "
        "on improving and the test curve does not, the network learns its training data by heart."
    ),
)
def accuracy(tables: Tables) -> Figure | None:
    """Draw accuracies in the upper panel and losses in the lower one, or the only one that there is."""
    groups = [group for group in (_scores(tables, is_share), _scores(tables, is_loss)) if group]
    if not groups:
        return None
    height = panel_heights(len(groups))
    body = len(groups) * (height + PANEL_GAP) - PANEL_GAP
    top = HEAD + 0.3
    more = any(len(group) > len(LOOKS) for group in groups)
    foot = [KeyLine(f"only the first {len(LOOKS)} scores of a kind; scalars.csv has the others")] if more else []
    drawn = new_sheet(top + body + FOOT_GAP + key_height(foot) + MARGIN)
    axis = horizontal(tables)
    for index, group in enumerate(groups):
        start = top + index * (height + PANEL_GAP)
        names = list(group)[: len(LOOKS)]
        looks = _looks(names)
        axes = place(drawn, LEFT, start, PLOT_WIDTH, height)
        _draw_scores(
            axes,
            axis,
            np.stack([group[name] for name in names]),
            looks,
            losses=is_loss(names[0]),
        )
        draw_horizontal(axes, axis, labelled=index == len(groups) - 1)
        labels, _ = short_labels([name.replace("_", " ") for name in names], KEY_TEXT)
        key = [KeyLine(label, look=look) for label, look in zip(labels, looks, strict=True)]
        draw_key(drawn, WIDTH - MARGIN - KEY_WIDTH, start, KEY_WIDTH, key)
    draw_key(drawn, MARGIN, top + body + FOOT_GAP, WIDTH - 2 * MARGIN, foot)
    return drawn


def _scores(tables: Tables, is_such: Callable[[str], bool]) -> dict[str, FloatArray]:
    """Give the scores whose names mean such a one, with at least one finite value."""
    return {name: y for name, y in tables.scalars.items() if is_such(name) and np.isfinite(y).any()}


def _draw_scores(axes: Axes, axis: Horizontal, values: FloatArray, looks: Sequence[Look], *, losses: bool) -> None:
    log = losses and not (values <= 0).any() and is_log(_LOSS, values)
    title = f"Loss{' (log axis)' if log else ''}" if losses else _accuracy_title(values)
    finish_panel(axes, title, log_limits(values) if log else linear_limits(values), log=log)
    for turn, (look, row) in enumerate(zip(looks, values, strict=True)):
        draw_line(axes, axis.positions, row, look, turn)


def _looks(names: Sequence[str]) -> list[Look]:
    """Give training, test and evaluation the same look in every panel, and the others what is left."""
    fixed: dict[str, Look] = {}
    free = list(LOOKS[len(_SETS) :]) + list(LOOKS[: len(_SETS)])
    for name in names:
        look = next((LOOKS[i] for i, kind in enumerate(_SETS) if kind == data_of(name)), None)
        if look is None or look in fixed.values():
            look = next(other for other in free if other not in fixed.values())
        fixed[name] = look
    return list(fixed.values())


def _accuracy_title(values: FloatArray) -> str:
    largest = values[np.isfinite(values)].max()
    if largest <= 1:
        return "Accuracy (share, 1 = all correct)"
    return "Accuracy (per cent)" if largest <= 100 else "Accuracy (as recorded)"
