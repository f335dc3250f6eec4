"""Build what the overviews of few and of many layers share: the sheet, the panel of scores, the panel of motion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analyzer.figures.drawing.checkpoint_axis import BoolArray, CheckpointAxis
from analyzer.figures.drawing.finding_marks import NUMBERS_HEIGHT, Mark, marks_for
from analyzer.figures.drawing.labeled_lines import LabeledLine
from analyzer.figures.drawing.labels import short_labels
from analyzer.figures.drawing.line_panels import SECOND_LINE
from analyzer.figures.drawing.sheet import is_narrow
from analyzer.figures.drawing.style import LOOKS
from analyzer.model.network import block_label
from analyzer.model.score_names import accuracies, is_share, losses
from analyzer.model.tables import UNITS

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray
    from analyzer.model.tables import Tables

SHEET_WIDTH = 12.0  # inches
NAME_ROOM = 1.1  # inches for the names at the ends of lines
NAME_TEXT = NAME_ROOM * 72 - 18  # points for a name after its leader
# Those of the looks that are dark enough for text.
COLORS = tuple(look.color for look in LOOKS if look.color not in ("#E69F00", "#56B4E9"))
_NAME_HEIGHT, _NUMBERS_HEIGHT = 0.27, NUMBERS_HEIGHT / 72  # inches above a panel
_MOST_SCORES = 4
_KINDS = frozenset({"accuracy", "acc", "loss"})  # the panel's name says it
_GRAYS = ("#000000", "#8a8a8a", "#5f5f5f", "#b0b0b0")
_DASHES = ("-", "-", "--", "--")


def panel_top(marks: Sequence[Mark]) -> float:
    """Return the inches above a panel for its name and the numbers of its findings."""
    return _NAME_HEIGHT + (_NUMBERS_HEIGHT if marks else 0.0) + (SECOND_LINE if is_narrow() else 0.0)


def layer_labels(names: Sequence[str], width: float) -> list[str]:
    """Return a label no wider than ``width`` points for each layer: ``block 3 q``, or its name without ``.weight``."""
    bare = [block_label(name) or _plain_name(name) for name in names]
    return short_labels(bare if len(set(bare)) == len(bare) else names, width)[0]


def _plain_name(name: str) -> str:
    plain = name.removesuffix(".weight")
    return name if plain.isdecimal() else plain or name  # a number alone would not be seen to be a layer's name


def values_of(tables: Tables, tensor: str, metric: str) -> FloatArray:
    """Return the values (checkpoints,) of a metric; NaN where there is no finite one."""
    curve = tables.curves.get(("tensor", tensor, metric))
    if curve is None:
        return np.full(len(tables.checkpoints), np.nan)
    return np.where(np.isfinite(curve.values), curve.values, np.nan)


def measured_at(tables: Tables, tensor: str, metric: str) -> BoolArray:
    """Return whether a metric was to be measured at each checkpoint: ``--spectra-every`` leaves some out."""
    curve = tables.curves.get(("tensor", tensor, metric))
    if curve is None:
        return np.ones(len(tables.checkpoints), dtype=bool)
    return np.array([status is not None for status in curve.statuses], dtype=bool)


def layer_line(
    tables: Tables, axis: CheckpointAxis, tensor: str, metric: str, label: str, color: str, factor: float = 1.0
) -> LabeledLine:
    """Return a metric of a layer as a line, which goes on over checkpoints that were left out on purpose."""
    measured = measured_at(tables, tensor, metric)
    return LabeledLine(label, axis.positions[measured], factor * values_of(tables, tensor, metric)[measured], color)


def score_lines(tables: Tables, axis: CheckpointAxis) -> tuple[str, list[LabeledLine]]:
    """Return the name of the panel of scores, and its lines: errors if there are accuracies, else losses.

    There are no lines if the run has neither.
    """
    known = [name for name, values in tables.scalars.items() if np.isfinite(values).any()]
    shares = accuracies(known) or list(filter(is_share, known))
    chosen = (shares or losses(known))[:_MOST_SCORES]
    values = [np.where(np.isfinite(tables.scalars[name]), tables.scalars[name], np.nan) for name in chosen]
    title = "loss"
    if shares:
        largest = max(float(np.nanmax(row)) for row in values)
        whole = 1.0 if largest <= 1 else 100.0
        title = "errors in %: 100 % − accuracy" if accuracies(known) else "errors in %: 100 % − score"
        if largest > 100:
            title, whole = "scores", 0.0
        values = [100 / whole * (whole - row) for row in values] if whole else values
    labels = _score_labels(chosen)
    drawn = zip(labels, values, _GRAYS, _DASHES, strict=False)
    return title, [LabeledLine(label, axis.positions, row, gray, dash) for label, row, gray, dash in drawn]


def _score_labels(names: Sequence[str]) -> list[str]:
    """Return ``train`` and ``val`` where that tells the scores apart, otherwise their whole names."""
    short = [" ".join(word for word in name.split("_") if word not in _KINDS) for name in names]
    if all(short) and len(set(short)) == len(short):
        return short
    return [name.replace("_", " ") for name in names]


def moved_title(axis: CheckpointAxis) -> str:
    """Return the name of the panel of motion."""
    every = axis.label if axis.spacing == 1 and axis.label in UNITS else "checkpoint"
    return f"moved per {every}, in % of the norm"


def overview_marks(tables: Tables, drawn: Sequence[str]) -> list[Mark]:
    """Return the marks of the findings that have a place in the overview and are more than information.

    Those about the whole run have none, unless they are about one of the ``drawn`` layers.
    """
    whole, layers = (0, len(tables.checkpoints) - 1), set(drawn)
    return [
        mark
        for mark in marks_for(tables)
        if mark.severity != "info" and ((mark.first, mark.last) != whole or layers & {*mark.tensors})
    ]
