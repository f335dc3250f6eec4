"""The figure of the correlations of all metrics with the score, by layer."""

from __future__ import annotations

import dataclasses

from figure_parts import DRAW, texts
from figure_tables import correlation, make_tables

from analyzer.figures import FIGURES

REMARK = next(spec.remark for spec in FIGURES if spec.name == "correlation_matrix")


def with_rows(*rows):
    related = {}
    for row in rows:
        related.setdefault(row.metric, []).append(row)
    return dataclasses.replace(make_tables(4), correlations=related)


def test_coefficients_are_written_with_their_intervals_and_small_q_is_marked():
    first, second = (row.name for row in make_tables(4).tensors[:2])
    tables = with_rows(correlation("alpha", first, -0.31), correlation("step_distance", second, 0.52, 0.01))
    shown = texts(DRAW["correlation_matrix"](tables))
    assert {"−0.31", "0.52*", "−0.43 to 0.08", "gray: no coefficient"} <= set(shown)
    assert REMARK(tables) == "Of 2 correlations with a p-value, 1 has p < 0.05."


def test_raw_curves_and_other_scores_are_not_meant():
    raw = dataclasses.replace(correlation("alpha", "", 0.98), transform="as is")
    other = dataclasses.replace(correlation("alpha", "", 0.97), scalar="train_accuracy")
    unknown = dataclasses.replace(correlation("alpha", ""), coefficient=None)
    assert DRAW["correlation_matrix"](with_rows(raw, other, unknown)) is None


def test_of_many_layers_the_strongest_are_shown_in_network_order():
    tables = make_tables(30)
    rows = [correlation("alpha", row.name, 0.3 + 0.01 * n) for n, row in enumerate(tables.tensors[:30])]
    shown = texts(DRAW["correlation_matrix"](dataclasses.replace(tables, correlations={"alpha": rows})))
    values = [text for text in shown if len(text) == 4 and text.startswith("0.")]
    assert values == [f"{0.3 + 0.01 * n:.2f}" for n in range(10, 30)]
    assert any("correlations.csv has all" in text for text in shown)
