"""Accuracy and loss of the network over the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.catalog import REPORT
from analyzer.figures.drawing.checkpoint_axis import CheckpointAxis, checkpoint_axis, draw_checkpoint_axis
from analyzer.figures.drawing.end_labels import LABEL_TEXT, EndLabel
from analyzer.figures.drawing.finding_marks import draw_time_marks, explained, marks_for
from analyzer.figures.drawing.keys import KeyLine
from analyzer.figures.drawing.labels import short_labels
from analyzer.figures.drawing.line_panels import LineSheet, draw_line, finish_panel, share_of_height
from analyzer.figures.drawing.style import LOOKS, Look
from analyzer.figures.drawing.ticks import linear_limits, log_limits, spans_decades
from analyzer.model.score_names import data_of, is_loss, is_share

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray
    from analyzer.model.tables import Tables

_SETS = ("train", "test", "eval")  # each has the same look in both panels


@REPORT.figure(
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
    left_out = f"only the first {len(LOOKS)} scores of each kind are drawn; scalars.csv has all of them"
    foot = [KeyLine(left_out)] if any(len(group) > len(LOOKS) for group in groups) else []
    marks = marks_for(tables, "accuracy")
    shown = [list(group)[: len(LOOKS)] for group in groups]
    labels = [short_labels([name.replace("_", " ") for name in names], LABEL_TEXT)[0] for names in shown]
    looks = [_looks(names) for names in shown]
    key = [KeyLine(*each) for group in zip(labels, looks, strict=True) for each in zip(*group, strict=True)]
    sheet = LineSheet(len(groups), [*foot, *explained(marks)], key, at_ends=True)
    axis = checkpoint_axis(tables)
    for index, (group, names) in enumerate(zip(groups, shown, strict=True)):
        axes = sheet.panel(index)
        values = np.stack([group[name] for name in names])
        ends = _draw_scores(axes, axis, values, looks[index], losses=is_loss(names[0]))
        sheet.label(axes, [EndLabel(label, *end) for label, end in zip(labels[index], ends, strict=True)])
        draw_checkpoint_axis(axes, axis, labeled=index == len(groups) - 1)
        draw_time_marks(axes, axis, marks, numbered=index == 0)
    return sheet.finish()


def _scores(tables: Tables, is_kind: Callable[[str], bool]) -> dict[str, FloatArray]:
    """Return the scores of a kind that have at least one finite value."""
    return {name: values for name, values in tables.scalars.items() if is_kind(name) and np.isfinite(values).any()}


def _draw_scores(
    axes: Axes, axis: CheckpointAxis, values: FloatArray, looks: Sequence[Look], *, losses: bool
) -> list[tuple[float, str]]:
    """Draw a panel, and return where each line ends, as a share of the panel's height, and its color."""
    log = losses and not (values <= 0).any() and spans_decades(values)
    title = f"Loss{' (log axis)' if log else ''}" if losses else _accuracy_title(values)
    finish_panel(axes, title, log_limits(values) if log else linear_limits(values), log=log)
    for index, (look, row) in enumerate(zip(looks, values, strict=True)):
        draw_line(axes, axis.positions, row, look, index)
    ends = [share_of_height(axes, float(row[np.isfinite(row)][-1])) for row in values]
    return [(end, look.color) for end, look in zip(ends, looks, strict=True)]


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
