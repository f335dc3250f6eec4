"""The notes under a figure by layer, which explain the marks that occur in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyzer.figures.drawing.checkpoint_axis import BoolArray, CheckpointAxis, steps_over_gaps
from analyzer.figures.drawing.keys import KeyLine
from analyzer.figures.drawing.layer_table import MARKS, LayerTable, precision_note
from analyzer.figures.drawing.style import GAP_MARKER
from analyzer.model.tables import Tables


def notes(
    tables: Tables, axis: CheckpointAxis, layers: Sequence[LayerTable], *, gaps: bool, remarks: Sequence[str] = ()
) -> list[KeyLine]:
    """Explain status marks, steps over gaps and limited precision, as far as they occur, and append the remarks."""
    kinds = {kind for table in layers for layer in range(len(table.names)) for _, kind in table.marks(layer)}
    lines = [KeyLine(meaning, marker=marker) for kind, (marker, meaning) in MARKS.items() if kind in kinds]
    if gaps and gap_steps(tables, axis, layers).any():
        meaning = "hollow: a step over missing checkpoints, which covers more training than the others"
        lines.append(KeyLine(meaning, marker=GAP_MARKER, hollow=True))
    return [*lines, *(KeyLine(text) for text in (*remarks, precision_note(layers)) if text)]


def gap_steps(tables: Tables, axis: CheckpointAxis, layers: Sequence[LayerTable]) -> BoolArray:
    """Return, for each checkpoint (n,), whether the step of any layer to it leads over a gap."""
    over = np.zeros(len(axis.positions), dtype=bool)
    references = {curve.references for table in layers for curve in table.curves if curve is not None}
    for each in references:  # nearly always one tuple for all layers
        over |= steps_over_gaps(axis, tables, each)
    return over
