"""The checkpoint axis, and what counts as a gap."""

from __future__ import annotations

from figure_tables import make_tables

from analyzer.figures.drawing.checkpoint_axis import checkpoint_axis, steps_over_gaps
from analyzer.figures.drawing.heat_cells import cells


def test_what_counts_as_a_gap():
    tables = make_tables(4, 6, missing=(3,))  # epochs 0 1 2 4 5 6
    axis = checkpoint_axis(tables)
    references = tables.curves["tensor", "fc1.weight", "step_distance"].references
    assert list(steps_over_gaps(axis, tables, references)) == [False, False, False, True, False, False]
    skipping = (*references[:4], references[1], references[5])
    assert steps_over_gaps(axis, tables, skipping)[4]
    growing = checkpoint_axis(make_tables(4, 6, axis=[0, 1, 2, 4, 8, 16]))
    assert not steps_over_gaps(growing, tables, references).any()  # no usual spacing, so no gap
    edges, columns = cells(axis)
    assert columns == [0, 1, 2, -1, 3, 4, 5]
    assert list(edges) == [-0.5, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
