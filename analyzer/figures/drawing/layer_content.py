"""Collect what a figure of layers shows, whether it draws them as lines, as rows of a heat map or as tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analyzer.figures.drawing.checkpoint_axis import BoolArray, CheckpointAxis, checkpoint_axis
from analyzer.figures.drawing.finding_marks import Mark
from analyzer.figures.drawing.keys import KeyLine
from analyzer.figures.drawing.layer_table import LayerTable, gap_steps, notes
from analyzer.model.tables import Curve, Tables


@dataclass(frozen=True)
class LayerContent:
    """The layers of a run with a metric for each panel.

    Attributes:
        tables: the run.
        layers: the values of each panel, with the same names in all of them.
        mean: the curve of the mean over the layers, None for none.
        marks: the findings to mark.
        gaps: whether to mark steps over gaps.
        remarks: notes to write under the panels.
    """

    tables: Tables
    layers: Sequence[LayerTable]
    mean: Curve | None = None
    marks: Sequence[Mark] = ()
    gaps: bool = False
    remarks: Sequence[str] = ()

    @cached_property
    def axis(self) -> CheckpointAxis:
        """The horizontal axis of all panels."""
        return checkpoint_axis(self.tables)

    @property
    def names(self) -> tuple[str, ...]:
        """The layers in the order of the network."""
        return self.layers[0].names

    @property
    def over_gaps(self) -> BoolArray:
        """Whether to mark the step to each checkpoint (n,), because it leads over a gap."""
        return gap_steps(self.tables, self.axis, self.layers) if self.gaps else np.zeros(len(self.axis.positions), bool)

    def notes(self) -> list[KeyLine]:
        """Explain the marks of values, and append the remarks."""
        return notes(self.tables, self.axis, self.layers, gaps=self.gaps, remarks=self.remarks)
