"""Layers in network order, marks that cannot be confused, and the notes under a figure."""

from __future__ import annotations

import dataclasses

from figure_parts import DRAW, data_lines, texts
from figure_tables import make_tables, with_curve

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


def test_values_limited_by_precision_are_counted():
    tables = make_tables(4)

    def edit(values, statuses):
        statuses[:7] = ["precision_limited"] * 7

    shown = texts(DRAW["condition_number"](with_curve(tables, "fc1.weight", "condition_number", edit)))
    assert "7 of 204 values are limited by the precision in which the weights are stored" in shown


def test_a_layer_that_stands_still_is_not_said_to_be_limited_by_precision():
    tables = make_tables(4)

    def frozen(values, statuses):
        values[1:] = 0.0
        statuses[1:] = ["below_precision"] * 50

    def slow(values, statuses):
        statuses[1:4] = ["below_precision"] * 3

    still = with_curve(tables, "fc1.weight", "step_distance", frozen)
    assert not any("limited by the precision" in text for text in texts(DRAW["step_distance"](still)))
    both = with_curve(still, "fc2.weight", "step_distance", slow)
    assert any(text.startswith("3 of 200 values are limited") for text in texts(DRAW["step_distance"](both)))
