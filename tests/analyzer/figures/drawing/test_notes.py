"""The notes under a figure."""

from __future__ import annotations

from figure_parts import DRAW, texts
from figure_tables import make_tables, with_curve


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
