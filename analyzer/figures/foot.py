"""The lines under a figure that explain its marks: only those that occur in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyzer.figures.horizontal import Horizontal, steps_over_gaps
from analyzer.figures.layers import MARKS, LayerTable, precision_remark
from analyzer.figures.sheet import KeyLine
from analyzer.figures.style import GAP_MARKER
from analyzer.model.run import Tables


def foot_lines(
    tables: Tables, axis: Horizontal, layers: Sequence[LayerTable], *, gaps: bool, remarks: Sequence[str] = ()
) -> list[KeyLine]:
    """Explain status marks, steps over gaps and limited precision, each where it occurs, and add the remarks."""
    kinds = {kind for table in layers for layer in range(len(table.names)) for _, kind in table.marks(layer)}
    lines = [KeyLine(meaning, marker=marker) for kind, (marker, meaning) in MARKS.items() if kind in kinds]
    if gaps and gap_steps(tables, axis, layers).any():
        meaning = "hollow: a step over missing checkpoints, so it covers more training than the others"
        lines.append(KeyLine(meaning, marker=GAP_MARKER, hollow=True))
    remark = precision_remark(layers)
    return [*lines, *(KeyLine(text) for text in (*remarks, remark) if text)]


def gap_steps(
    tables: Tables, axis: Horizontal, layers: Sequence[LayerTable]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Say for each checkpoint whether any layer's step to it leads over a gap."""
    over = np.zeros(len(axis.positions), dtype=bool)
    references = {curve.references for table in layers for curve in table.curves if curve is not None}
    for each in references:  # nearly always one tuple for all the layers
        over |= steps_over_gaps(axis, tables, each)
    return over
