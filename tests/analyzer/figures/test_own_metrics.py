"""The figure of the user's own metrics."""

from __future__ import annotations

import dataclasses

from figure_parts import DRAW, texts
from figure_tables import make_tables


def test_more_metrics_of_ones_own_than_fit_are_counted():
    shown = texts(DRAW["own_metrics"](make_tables(4)))
    assert "first_direction_share (share of ‖W‖²)" in shown
    assert "2 more are in measurements.csv" in shown
    tables = make_tables(4)
    built_in = {name: row for name, row in tables.metrics.items() if row.family != "mine"}
    assert DRAW["own_metrics"](dataclasses.replace(tables, metrics=built_in)) is None
