"""The figure of changes in accuracy and in the weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from figure_parts import DRAW, texts
from figure_tables import change_pair, make_tables


def test_r_and_n_are_written_in_the_figure():
    tables = make_tables(4)
    pair = tables.change_pairs[1]
    shown = texts(DRAW["accuracy_change"](tables))
    assert f"r = {pair.coefficient:.2f}, n = 50 (descriptive only)" in shown
    assert any("without a p-value" in text for text in shown)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            "test accuracy: r = −0.22 (95 % interval −0.43 to 0.08), n = 45, effective 42 (r₁ = −0.30, r₂ = −0.13), "
            "p = 0.49",
        ),
        (
            {"low": None, "high": None, "p_value": None, "n_effective": 6.2, "n": 12, "status": "too_few"},
            "test accuracy: r = −0.22, n = 12, effective 6 (r₁ = −0.30, r₂ = −0.13): too few for a p-value",
        ),
        (
            {"coefficient": None, "n": 4, "status": "too_few"},
            "test accuracy: no coefficient, n = 4 (too few checkpoints)",
        ),
        (
            {"coefficient": None, "n": 45, "status": "undefined"},
            "test accuracy: no coefficient, n = 45 (one of the two is constant)",
        ),
    ],
)
def test_what_is_left_without_drift_is_told_with_its_uncertainty_or_why_not(changes, expected):
    tables = make_tables(4)
    pair = tables.change_pairs[1]
    pair = dataclasses.replace(pair, stationary=dataclasses.replace(pair.stationary, **changes))
    shown = texts(DRAW["accuracy_change"](dataclasses.replace(tables, change_pairs=(pair,))))
    assert expected in shown
    assert any(text.startswith("Without drift") for text in shown)


@pytest.mark.parametrize("score", [[0.25, 0.5, 0.75, 1.0], [np.nan, np.nan, 0.1, 0.3]])
def test_a_score_without_an_r_is_said_to_have_none_rather_than_drawn(score):
    pair = change_pair("val_acc", np.arange(4.0), np.array(score), np.array([np.nan, 1, 2, 4]))
    tables = make_tables(4)
    assert DRAW["accuracy_change"](dataclasses.replace(tables, change_pairs=(pair,))) is None
    shown = texts(DRAW["accuracy_change"](dataclasses.replace(tables, change_pairs=(*tables.change_pairs, pair))))
    assert any(text.startswith("val acc: no r (too few changes, or") for text in shown)
    assert not any(text.startswith("val acc: change") for text in shown)


@pytest.mark.parametrize(("powers", "is_said"), [((0.534, 0.941), True), ((None, None), False)])
def test_beside_a_p_value_stands_what_could_have_been_detected(powers, is_said):
    tables = make_tables(4)
    pair = tables.change_pairs[1]
    row = dataclasses.replace(pair.stationary, power_05=powers[0], power_07=powers[1])
    pair = dataclasses.replace(pair, stationary=row)
    shown = texts(DRAW["accuracy_change"](dataclasses.replace(tables, change_pairs=(pair,))))
    text = "a true r of 0.5 would have p < 0.05 in 53 % of such runs, one of 0.7 in 94 %"
    assert (text in shown) == is_said
    assert any("a true r" in one for one in shown) == is_said


def test_no_line_joins_the_neighbors_of_an_epoch_without_a_score():
    score = np.array([0.1, 0.3, 0.5, 0.6, np.nan, 0.7, 0.75, 0.8])
    pair = change_pair("val_acc", np.arange(8.0), score, np.array([np.nan, 4, 3, 5, 2, 2, 1, 1]))
    tables = dataclasses.replace(make_tables(4, 8), change_pairs=(pair,))
    line = DRAW["accuracy_change"](tables).axes[0].get_lines()[0]
    assert list(line.get_xdata()) == [1, 2, 3, 4, 5, 6, 7]
    assert list(np.isnan(line.get_ydata())) == [False, False, False, True, True, False, False]
