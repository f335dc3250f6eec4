"""The overview of a run with a few weight matrices: every singular value of each of them through time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from analyzer.figures.drawing.sheet import HEAD, MARGIN, is_narrow, new_sheet, place, sheet_width
from analyzer.figures.drawing.spectrum_lines import EDGE_LOOK, draw_spectrum_lines
from analyzer.figures.drawing.style import LABEL_SIZE

if TYPE_CHECKING:
    from analyzer.model.tables import Tables

# All in inches.
_LINES, _SPECTRA, _ALONE = 1.2, 1.35, 2.6  # heights; _ALONE without spectra
_ALONE_IF_NARROW, _SPECTRA_IF_NARROW = 1.6, 2  # the height of lines, and the panels of spectra abreast
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
    grid = _Grid.fitting(len(upper), len(spectra), panel_top(marks), panel_top(of_layers))
    drawn = new_sheet(grid.bottom + key_height(foot) + MARGIN / 2, sheet_width(SHEET_WIDTH))
    for index, (title, lines) in enumerate(upper):
        axes = place(drawn, *grid.lines(index))
        draw_labeled_lines(axes, title, lines, NAME_ROOM)
        draw_checkpoint_axis(axes, axis, titled=not spectra)
        draw_time_marks(axes, axis, marks)
    labels = dict(zip(names, layer_labels(names, grid.pitch * 72 - 10), strict=True))
    for index, spectrum in enumerate(spectra):
        axes, name = place(drawn, *grid.spectrum(index)), spectrum.tensor
        title = _spectrum_title(labels[name], spectrum.count, (grid.pitch - _LEFT) * 72)
        measured = measured_at(tables, name, "spectral_norm")
        draw_spectrum_lines(axes, axis, title, spectrum, measured, colors[name])
        draw_checkpoint_axis(axes, axis)
        draw_time_marks(axes, axis, [mark for mark in marks if name in mark.tensors])
    draw_key(drawn, MARGIN, grid.bottom, sheet_width(SHEET_WIDTH) - 2 * MARGIN, foot)
    return drawn


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where the panels are, in inches: those of lines ``lines_abreast``, below them those of spectra.

    ``lines_top`` and ``spectra_top`` are above each panel, for its name and the numbers of findings.
    """

    lines_abreast: int
    spectra_abreast: int
    height: float
    lines_top: float
    spectra_top: float
    second: float
    bottom: float

    @classmethod
    def fitting(cls, upper: int, spectra: int, lines_top: float, spectra_top: float) -> _Grid:
        """Return the grid of so many panels: one row of each kind, or as many as fit a narrow sheet."""
        lines_abreast, spectra_abreast = (1, _SPECTRA_IF_NARROW) if is_narrow() else (max(1, upper), max(1, spectra))
        height = _LINES if spectra else _ALONE_IF_NARROW if is_narrow() else _ALONE
        last = _TICKS if spectra else _AXIS
        second = HEAD + -(-upper // lines_abreast) * (lines_top + height + last)
        bottom = second + -(-spectra // spectra_abreast) * (spectra_top + _SPECTRA + _AXIS)
        return cls(lines_abreast, spectra_abreast, height, lines_top, spectra_top, second, bottom)

    def lines(self, index: int) -> tuple[float, float, float, float]:
        """Return the left, top, width and height of a panel of lines."""
        row, column = divmod(index, self.lines_abreast)
        pitch = (sheet_width(SHEET_WIDTH) - MARGIN) / self.lines_abreast
        below = _TICKS if self.bottom > self.second else _AXIS
        top = HEAD + row * (self.lines_top + self.height + below) + self.lines_top
        return MARGIN + column * pitch + _LEFT - 0.1, top, pitch - _LEFT - NAME_ROOM, self.height

    @property
    def pitch(self) -> float:
        """The distance from the left of a panel of singular values to that of the next one."""
        return (sheet_width(SHEET_WIDTH) - MARGIN) / self.spectra_abreast

    def spectrum(self, index: int) -> tuple[float, float, float, float]:
        """Return the left, top, width and height of a panel of singular values."""
        row, column = divmod(index, self.spectra_abreast)
        top = self.second + row * (self.spectra_top + _SPECTRA + _AXIS) + self.spectra_top
        return MARGIN + column * self.pitch + _LEFT - 0.1, top, self.pitch - _LEFT - 0.05, _SPECTRA


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
