"""The overview of a run with a few weight matrices: every singular value of each of them through time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from analyzer.figures.drawing.checkpoint_axis import CheckpointAxis, draw_checkpoint_axis
from analyzer.figures.drawing.finding_marks import draw_time_marks
from analyzer.figures.drawing.keys import KeyLine, draw_key, key_height
from analyzer.figures.drawing.labeled_lines import LabeledLine, draw_labeled_lines
from analyzer.figures.drawing.labels import fitted, text_width
from analyzer.figures.drawing.overview_panels import (
    COLORS,
    NAME_ROOM,
    NAME_TEXT,
    SHEET_WIDTH,
    layer_labels,
    layer_line,
    measured_at,
    moved_title,
    overview_marks,
    panel_top,
    score_lines,
)
from analyzer.figures.drawing.sheet import HEAD, MARGIN, new_sheet, place
from analyzer.figures.drawing.spectrum_lines import EDGE_LOOK, draw_spectrum_lines
from analyzer.figures.drawing.style import LABEL_SIZE

if TYPE_CHECKING:
    from analyzer.model.tables import Tables

# All in inches.
_LINES, _SPECTRA, _ALONE = 1.2, 1.35, 2.6  # heights; _ALONE without spectra
_LEFT = 0.7  # for the numbers of the vertical axis
_TICKS, _AXIS = 0.26, 0.45  # below a panel without and with a label of its axis


def draw_few(tables: Tables, axis: CheckpointAxis, names: Sequence[str]) -> Figure | None:
    """Draw scores, motion and condition numbers as lines, and below them the singular values of each matrix.

    Args:
        tables: the run.
        axis: its checkpoints.
        names: the matrices, at most as many as there are looks.
    """
    upper = _line_panels(tables, axis, names)
    colors = dict(zip(names, COLORS, strict=False))
    spectra = [tables.spectra[name] for name in names if name in tables.spectra]
    spectra = [spectrum for spectrum in spectra if np.isfinite(spectrum.leading).any()]
    if not upper and not spectra:
        return None
    foot = [KeyLine("the largest singular value that noise alone would have; larger ones are colored", EDGE_LOOK)]
    foot = foot if any(np.isfinite(spectrum.edge).any() for spectrum in spectra) else []
    marks = overview_marks(tables, names)
    of_layers = [mark for mark in marks if {spectrum.tensor for spectrum in spectra} & {*mark.tensors}]
    height = _LINES if spectra else _ALONE
    first = HEAD + panel_top(marks)
    second = (first + height + _TICKS if upper else HEAD) + panel_top(of_layers)
    bottom = (second + _SPECTRA if spectra else first + height) + _AXIS
    drawn = new_sheet(bottom + key_height(foot) + MARGIN / 2, SHEET_WIDTH)
    pitch = (SHEET_WIDTH - MARGIN) / max(1, len(upper))
    for index, (title, lines) in enumerate(upper):
        width = pitch - _LEFT - NAME_ROOM
        axes = place(drawn, MARGIN + index * pitch + _LEFT - 0.1, first, width, height)
        draw_labeled_lines(axes, title, lines, NAME_ROOM)
        draw_checkpoint_axis(axes, axis, titled=not spectra)
        draw_time_marks(axes, axis, marks)
    pitch = (SHEET_WIDTH - MARGIN) / max(1, len(spectra))
    labels = dict(zip(names, layer_labels(names, pitch * 72 - 10), strict=True))
    for index, spectrum in enumerate(spectra):
        left, name = MARGIN + index * pitch + _LEFT - 0.1, spectrum.tensor
        axes = place(drawn, left, second, pitch - _LEFT - 0.05, _SPECTRA)
        title = _spectrum_title(labels[name], spectrum.count, (pitch - _LEFT) * 72)
        measured = measured_at(tables, name, "spectral_norm")
        draw_spectrum_lines(axes, axis, title, spectrum, measured, colors[name])
        draw_checkpoint_axis(axes, axis)
        draw_time_marks(axes, axis, [mark for mark in marks if name in mark.tensors])
    draw_key(drawn, MARGIN, bottom, SHEET_WIDTH - 2 * MARGIN, foot)
    return drawn


def _line_panels(tables: Tables, axis: CheckpointAxis, names: Sequence[str]) -> list[tuple[str, list[LabeledLine]]]:
    """Return the title and the lines of each panel of the upper row that has something to show."""
    labels = layer_labels(names, NAME_TEXT)

    def layers(metric: str, factor: float = 1.0) -> list[LabeledLine]:
        named = zip(names, labels, COLORS, strict=False)
        return [layer_line(tables, axis, name, metric, label, color, factor) for name, label, color in named]

    panels = [
        score_lines(tables, axis),
        (moved_title(axis), layers("relative_step_distance", 100.0)),
        ("condition number κ = σ₁/σₙ", layers("condition_number")),
    ]
    return [(title, lines) for title, lines in panels if any(np.isfinite(line.y).any() for line in lines)]


def _spectrum_title(label: str, count: int, room: float) -> str:
    """Return the longest title that fits into ``room`` points."""
    values = "singular value" if count == 1 else "singular values"
    for title in (f"{label}: its {count} {values}", f"{label}: {count} values"):
        if text_width(title, LABEL_SIZE) <= room:
            return title
    return fitted(label, room, LABEL_SIZE)
