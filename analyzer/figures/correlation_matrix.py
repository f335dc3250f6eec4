"""Correlations of every metric's changes with those of the score, by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analyzer.figures.catalog import REPORT
from analyzer.figures.drawing.colors import ColorScale
from analyzer.figures.drawing.keys import KeyLine, draw_key, key_height
from analyzer.figures.drawing.labels import fitted, short_labels, text_width
from analyzer.figures.drawing.sheet import HEAD, MARGIN, is_narrow, new_sheet, place, sheet_width, size_of, text_room
from analyzer.figures.drawing.style import INK, NO_VALUE, SMALL_SIZE
from analyzer.model.score_names import accuracies, losses
from analyzer.model.tables import Correlation, Tables, is_tested

_MOST_LAYERS, _MOST_METRICS = 20, 7  # the text of an interval fits into a seventh of the width
_METRICS_IF_NARROW = 3
_LEFT, _ROW, _NAMES = 1.75, 0.36, 0.55  # inches: the layers' names, a row, the metrics' names in two lines
_LEFT_IF_NARROW = 1.2
_SMALL_P = 0.05
_DARK = 0.6  # |r| from which white text is easier to read
_SCALE = ColorScale((-1.0, 1.0), log=False, zeros=False, diverging=True)
_MEAN = "mean of all layers"
_FIRST = ("step_distance", "condition_number")  # the metrics that are related to the score everywhere else, too
Cells = Mapping[tuple[str, str], Correlation]


def _remark(tables: Tables) -> str:
    """Say how many of the correlations have a small p-value, which the colors alone do not show."""
    cells = _cells(tables, _score(tables))
    tested = [one.p_value for one in cells.values() if one.p_value is not None]
    small = sum(p_value < _SMALL_P for p_value in tested)
    if not tested:
        return "No correlation has a p-value: there are too few checkpoints." if cells else ""
    return f"Of {len(tested)} correlations with a p-value, {small or 'none'} {'have' if small > 1 else 'has'} p < 0.05."


def _score(tables: Tables) -> str | None:
    """Return the score that matters most."""
    return next(iter([*accuracies(tables.scalars), *losses(tables.scalars)]), None)


@REPORT.figure(
    order=42,
    title="Correlation of changes with the score",
    how_to_read=(
        "Pearson's r between the changes of a metric and the changes of the score from checkpoint to checkpoint, with "
        "the trends removed, and below it the 95 % interval where it is known. The raw curves are not compared here: "
        "two curves that both settle correlate anyway."
    ),
    remark=_remark,
)
def correlation_matrix(tables: Tables) -> Figure | None:
    """Draw r of every metric (columns) for the mean and the layers (rows) with the score that matters most."""
    score = _score(tables)
    cells = _cells(tables, score)
    if not cells:
        return None
    layers, metrics = _shown(cells, [row.name for row in tables.tensors])
    foot = _foot(cells, layers, metrics, str(score))
    left = _LEFT_IF_NARROW if is_narrow() else _LEFT
    height = HEAD + _NAMES + _ROW * len(layers)
    drawn = new_sheet(height + 0.1 + key_height(foot) + MARGIN)
    axes = place(drawn, left, HEAD + _NAMES, sheet_width() - left - MARGIN, _ROW * len(layers))
    _draw_names(axes, layers, metrics, left - MARGIN)
    for row, layer in enumerate(layers):
        for column, metric in enumerate(metrics):
            _draw_cell(axes, row, column, cells.get((layer, metric)))
    draw_key(drawn, MARGIN, height + 0.1, text_room(), foot)
    return drawn


def _cells(tables: Tables, score: str | None) -> Cells:
    """Return the tested correlation of each (layer, metric) that has a coefficient; the mean's layer is empty."""
    matrices = {row.name for row in tables.tensors if row.kind == "matrix"}
    return {
        (one.tensor, metric): one
        for metric, rows in tables.correlations.items()
        for one in rows
        if is_tested(one) and one.scalar == score and one.method == "pearson"
        if one.scope == "mean" or (one.scope == "tensor" and one.tensor in matrices)
        if one.coefficient is not None
    }


def _shown(cells: Cells, order: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the mean and the layers in network order, and the metrics; where they are too many, the strongest."""
    strongest = sorted(cells, key=lambda key: -abs(cells[key].coefficient or 0.0))
    layers = list(dict.fromkeys(layer for layer, _ in strongest if layer))[:_MOST_LAYERS]
    known = {metric for _, metric in cells}
    ranked = dict.fromkeys([*(name for name in _FIRST if name in known), *(metric for _, metric in strongest)])
    metrics = set(list(ranked)[: _METRICS_IF_NARROW if is_narrow() else _MOST_METRICS])
    mean = [""] if any(not layer and metric in metrics for layer, metric in cells) else []
    columns = [name for name in dict.fromkeys(metric for _, metric in cells) if name in metrics]
    return [*mean, *sorted(layers, key=order.index)], columns


def _foot(cells: Cells, layers: Sequence[str], metrics: Sequence[str], score: str) -> list[KeyLine]:
    foot = [
        KeyLine(fitted(f"the score is {score}; red: both rise together, blue: one falls as the other rises", 620)),
        KeyLine("framed and bold: p < 0.05 for this cell alone; * also q < 0.05, among all that were tested"),
    ]
    known = {(layer, metric) for layer in layers for metric in metrics}
    if not known <= cells.keys():
        foot.append(KeyLine("gray: no coefficient", patch=NO_VALUE))
    if not cells.keys() <= known:
        foot.append(KeyLine("only the layers and metrics with the strongest correlations; correlations.csv has all"))
    return foot


def _draw_names(axes: Axes, layers: Sequence[str], metrics: Sequence[str], left: float) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, len(metrics))
    axes.set_ylim(len(layers), 0)
    width, height = size_of(axes)
    room = 72 * width / len(metrics) - 4
    names, _ = short_labels([layer for layer in layers if layer], 72 * left - 8)
    for row, name in enumerate([*([_MEAN] if "" in layers else []), *names]):
        axes.text(-5 / 72 / width * len(metrics), row + 0.5, name, size=SMALL_SIZE, color=INK, ha="right", va="center")
    for column, metric in enumerate(metrics):
        above = -4 / 72 / height * len(layers)
        name = _in_lines(metric, room)
        axes.text(column + 0.5, above, name, size=SMALL_SIZE, color=INK, ha="center", va="bottom")


def _in_lines(metric: str, room: float) -> str:
    """Return the metric's name in lines no wider than ``room`` points."""
    lines = [""]
    for word in metric.split("_"):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(fitted(line, room) for line in lines)


def _draw_cell(axes: Axes, row: int, column: int, one: Correlation | None) -> None:
    if one is None or one.coefficient is None:
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=NO_VALUE, edgecolor="white", linewidth=1))
        return
    is_small = one.p_value is not None and one.p_value < _SMALL_P
    is_listed = one.q_value is not None and one.q_value < _SMALL_P
    color = _SCALE.colors(np.array([[one.coefficient]]))[0, 0] / 255
    axes.add_patch(Rectangle((column, row), 1, 1, facecolor=color, edgecolor="white", linewidth=1))
    if is_small:
        frame = Rectangle((column + 0.03, row + 0.06), 0.94, 0.88, fill=False, edgecolor=INK, linewidth=1.4)
        axes.add_patch(frame)
    ink = "white" if abs(one.coefficient) > _DARK else INK
    text = f"{one.coefficient:.2f}{'*' if is_listed else ''}".replace("-", "−")
    has_interval = one.low is not None and one.high is not None
    y = row + (0.3 if has_interval else 0.5)
    weight = "bold" if is_small else "normal"
    axes.text(column + 0.5, y, text, size=SMALL_SIZE, color=ink, ha="center", va="center", weight=weight)
    if has_interval:
        interval = f"{one.low:.2f} to {one.high:.2f}".replace("-", "−")
        axes.text(column + 0.5, row + 0.7, interval, size=SMALL_SIZE, color=ink, ha="center", va="center")
