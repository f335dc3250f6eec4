"""Accuracy and loss of the network over the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.catalog import figure
from analyzer.figures.drawing.checkpoint_axis import CheckpointAxis, checkpoint_axis, draw_checkpoint_axis
from analyzer.figures.drawing.keys import KeyLine, draw_key, key_height
from analyzer.figures.drawing.labels import short_labels
from analyzer.figures.drawing.layer_table import Panel, is_log
from analyzer.figures.drawing.line_panels import (
    FOOT_GAP,
    KEY_TEXT,
    KEY_WIDTH,
    LEFT,
    PANEL_GAP,
    PLOT_WIDTH,
    draw_line,
    finish_panel,
    panel_height,
)
from analyzer.figures.drawing.sheet import HEAD, MARGIN, WIDTH, new_sheet, place
from analyzer.figures.drawing.style import LOOKS, Look
from analyzer.figures.drawing.ticks import linear_limits, log_limits
from analyzer.model.score_names import data_of, is_loss, is_share

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray
    from analyzer.model.tables import Tables

_LOSS = Panel("loss", "Loss", "", "positive")
_SETS = ("train", "test", "eval")  # each has the same look in both panels


@figure(
    order=10,
    title="Accuracy and loss",
    how_to_read=(
        "The scores that the run recorded at each checkpoint. If the training curve keeps improving while the test "
        "curve does not, the network is memorizing its training data (overfitting)."
    ),
)
def accuracy(tables: Tables) -> Figure | None:
    """Draw accuracies in the upper panel and losses in the lower one, or a single panel if only one kind exists."""
    groups = [group for group in (_scores(tables, is_share), _scores(tables, is_loss)) if group]
    if not groups:
        return None
    height = panel_height(len(groups))
    body = len(groups) * (height + PANEL_GAP) - PANEL_GAP
    top = HEAD + 0.3
    left_out = f"only the first {len(LOOKS)} scores of each kind are drawn; scalars.csv has all of them"
    foot = [KeyLine(left_out)] if any(len(group) > len(LOOKS) for group in groups) else []
    drawn = new_sheet(top + body + FOOT_GAP + key_height(foot) + MARGIN)
    axis = checkpoint_axis(tables)
    for index, group in enumerate(groups):
        start = top + index * (height + PANEL_GAP)
        names = list(group)[: len(LOOKS)]
        looks = _looks(names)
        axes = place(drawn, LEFT, start, PLOT_WIDTH, height)
        values = np.stack([group[name] for name in names])
        _draw_scores(axes, axis, values, looks, losses=is_loss(names[0]))
        draw_checkpoint_axis(axes, axis, labeled=index == len(groups) - 1)
        labels, _ = short_labels([name.replace("_", " ") for name in names], KEY_TEXT)
        key = [KeyLine(label, look=look) for label, look in zip(labels, looks, strict=True)]
        draw_key(drawn, WIDTH - MARGIN - KEY_WIDTH, start, KEY_WIDTH, key)
    draw_key(drawn, MARGIN, top + body + FOOT_GAP, WIDTH - 2 * MARGIN, foot)
    return drawn


def _scores(tables: Tables, is_kind: Callable[[str], bool]) -> dict[str, FloatArray]:
    """Return the scores of a kind that have at least one finite value."""
    return {name: values for name, values in tables.scalars.items() if is_kind(name) and np.isfinite(values).any()}


def _draw_scores(axes: Axes, axis: CheckpointAxis, values: FloatArray, looks: Sequence[Look], *, losses: bool) -> None:
    log = losses and not (values <= 0).any() and is_log(_LOSS, values)
    title = f"Loss{' (log axis)' if log else ''}" if losses else _accuracy_title(values)
    finish_panel(axes, title, log_limits(values) if log else linear_limits(values), log=log)
    for index, (look, row) in enumerate(zip(looks, values, strict=True)):
        draw_line(axes, axis.positions, row, look, index)


def _looks(names: Sequence[str]) -> list[Look]:
    """Return a look for each score: training, test and evaluation have fixed ones, the others get the rest."""
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
    return "Accuracy (percent)" if largest <= 100 else "Accuracy (as recorded)"
