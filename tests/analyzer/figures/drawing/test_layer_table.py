"""Layers in network order, and marks that cannot be confused."""

from __future__ import annotations

import dataclasses

from figure_parts import DRAW, data_lines
from figure_tables import make_tables

from analyzer.figures.drawing.layer_table import MARKS, ZERO_MARKER, Panel, layer_names
from analyzer.figures.drawing.style import GAP_MARKER, LOOKS


def test_only_weight_matrices_in_network_order():
    tables = make_tables(["z.weight", "a.weight", "m.weight"])
    panel = Panel("zero_fraction", "", "", "linear")
    assert layer_names(tables, [panel]) == ("z.weight", "a.weight", "m.weight")  # and not z.bias
    key = ("tensor", "z.weight[1]", "zero_fraction")
    stack = dataclasses.replace(tables.curves["tensor", "z.weight", "zero_fraction"], tensor="z.weight[1]")
    more = dataclasses.replace(tables, curves={**tables.curves, key: stack})
    assert layer_names(more, [panel]) == ("z.weight", "z.weight[1]", "a.weight", "m.weight")


def test_no_mark_is_taken_for_another_or_for_a_layer():
    marks_of_status = [*(marker for marker, _ in MARKS.values()), ZERO_MARKER]
    assert len(set(marks_of_status)) == len(marks_of_status)
    assert not {look.marker.lower() for look in LOOKS} & set(marks_of_status)
    assert not {"+", "_"} & set(marks_of_status)  # the plus of a layer, and dashes
    figure = DRAW["step_distance"](make_tables(10, missing=(17, 18)))
    hollow = [line for line in data_lines(figure.axes[0]) if line.get_markerfacecolor() == "white"]
    assert {line.get_marker() for line in hollow} == {GAP_MARKER} and len(hollow) == 11
