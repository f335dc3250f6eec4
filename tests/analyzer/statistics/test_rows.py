"""Rows of correlations from arrays of numbers: what they are called, their status, and which of them there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analyzer.model.tables import is_tested
from analyzer.statistics.curves import WeightCurve
from analyzer.statistics.relating import Relations
from analyzer.statistics.rows import (
    AS_IS,
    DIFFERENCES,
    LAGS,
    VARIANTS,
    WITHOUT_TREND,
    Grid,
    not_related,
    rows_of,
    transform_name,
)

OF_STATES = WeightCurve("tensor", "w", "rms", np.zeros(3), (None, None, None))
OF_INTERVALS = WeightCurve("total", "", "step_distance", np.zeros(3), (None, "c0", "c1"))


def relations(series: int, scores: int, start: float = 0.0) -> Relations:
    """Numbers that are all different: 100 for each field, 10 for each series, and so on."""
    shape = (series, scores, 2)
    place = np.arange(float(np.prod(shape))).reshape(shape)
    fields = [start + 100 * field + place for field in range(5)]
    past = np.stack([start + 500 + place, start + 600 + place], axis=3)
    power = np.stack([start + 700 + place, start + 800 + place], axis=3)
    return Relations(fields[0], fields[1], fields[2], past, fields[3], fields[4], power)


def test_a_grid_has_room_for_the_included_series_only():
    grid = Grid(np.array([False, True, False, True]), 2)
    assert grid.n.tolist() == [[0, 0], [0, 0]]
    assert grid.past.shape == (2, 2, 2, 2) and grid.coefficient.shape == (2, 2, 2)
    assert grid.cells(3) == ([0, 0], [[0, 0], [0, 0]], [[[None] * 10] * 2] * 2)
    grid.put(np.array([3]), np.array([1]), 7, relations(1, 1), cycle=(0, 4))
    grid.q_value[1, 1, 0] = 0.5
    assert grid.cells(1)[0] == [0, 0]
    counts, cycles, numbers = grid.cells(3)
    assert counts == [0, 7] and cycles == [[0, 0], [0, 4]] and numbers[0] == [[None] * 10] * 2
    assert numbers[1] == [
        [0, 100, 200, 300, 400, 0.5, 500, 600, 700, 800],
        [1, 101, 201, 301, 401, None, 501, 601, 701, 801],
    ]


def test_numbers_go_to_their_series_and_scores():
    grid = Grid(np.ones(3, dtype=bool), 3)
    grid.put(np.array([0, 2]), np.array([0, 2]), 5, relations(2, 2))
    assert grid.n.tolist() == [[5, 0, 5], [0, 0, 0], [5, 0, 5]]
    assert grid.coefficient[2, 0].tolist() == [4, 5] and grid.coefficient[0, 2].tolist() == [2, 3]
    assert grid.p_value[2, 2].tolist() == [406, 407] and grid.n_effective[2, 2].tolist() == [306, 307]
    grid.put(np.array([1]), np.array([0]), 4, None)
    assert grid.n[1, 0] == 4 and np.isnan(grid.coefficient[1, 0]).all()


def test_only_the_pairs_of_a_mask_are_stored():
    grid = Grid(np.ones(3, dtype=bool), 2)
    grid.put(np.array([0, 2]), np.array([0, 1]), 5, relations(2, 2))
    grid.put(np.array([0, 2]), np.array([1]), 4, relations(2, 1, 0.5), np.array([[False], [True]]), cycle=(7, 0))
    assert grid.n.tolist() == [[5, 5], [0, 0], [5, 4]]
    assert grid.cycle.tolist() == [[[0, 0]] * 2, [[0, 0]] * 2, [[0, 0], [7, 0]]]
    assert grid.coefficient[0, 1].tolist() == [2, 3] and grid.coefficient[2, 1].tolist() == [2.5, 3.5]


@pytest.mark.parametrize(
    ("series", "transform", "name"),
    [
        (OF_STATES, AS_IS, "levels"),
        (OF_STATES, DIFFERENCES, "differences of score and of log metric"),
        (OF_STATES, WITHOUT_TREND, "differences of score and of log metric, trend removed"),
        (OF_INTERVALS, AS_IS, "score difference, z-scored"),
        (OF_INTERVALS, DIFFERENCES, "differences of score differences and of log metric"),
        (OF_INTERVALS._replace(metric="rotation_count"), DIFFERENCES, "differences of score differences and of metric"),
        (OF_STATES._replace(metric="mine"), WITHOUT_TREND, "differences of score and of metric, trend removed"),
    ],
)
def test_a_transform_is_described_in_words(series, transform, name):
    assert transform_name(series, transform) == name
    removed = name.replace("trend removed", "trend and period of 7 removed")
    assert transform_name(series, transform, 7) == removed


def grids(coefficient=0.5, n_effective=12.0, lagged=True, p_value=None):
    """Grids of one series and one score; the numbers of each variant begin with the coefficient."""
    found = {}
    for number, variant in enumerate(VARIANTS):
        grid = Grid(np.array([lagged or not variant[1]]), 1)
        if grid.included[0]:
            one = relations(1, 1, float(number))
            of_variant = replace(
                one,
                coefficient=np.full((1, 1, 2), coefficient),
                n_effective=np.full((1, 1, 2), n_effective),
            )
            if p_value is not None:
                of_variant = replace(of_variant, p_value=np.full((1, 1, 2), p_value))
            grid.put(np.array([0]), np.array([0]), 20 + number, of_variant)
        found[variant] = grid
    return found


def test_a_series_has_a_row_for_each_score_variant_and_method_with_its_numbers_in_place():
    rows = list(rows_of(OF_STATES, 0, {0: "loss"}, grids()))
    assert [(row.lag, row.method) for row in rows] == [(lag, m) for _, lag in VARIANTS for m in ("pearson", "spearman")]
    assert [lag for _, lag in VARIANTS] == [0, 0, 0, *LAGS] and LAGS == (-3, -2, -1, 1, 2, 3)
    assert {(row.scope, row.tensor, row.metric) for row in rows} == {("tensor", "w", "rms")}
    one = rows[3]  # the differences by Spearman
    assert (one.scalar, one.transform) == ("loss", "differences of score and of log metric")
    assert (one.coefficient, one.low, one.high, one.n, one.n_effective) == (0.5, 102, 202, 21, 12)
    assert (one.p_value, one.q_value, one.status) == (402, None, "ok")
    assert one.autocorrelations == (602, 502)  # the score's first
    assert (one.power_05, one.power_07) == (702, 802)
    assert [is_tested(row) for row in rows] == [False] * 4 + [True] * 2 + [False] * 12


def test_a_series_outside_a_grid_and_a_lag_without_a_coefficient_have_no_row():
    assert len(list(rows_of(OF_STATES, 0, {0: "loss"}, grids(lagged=False)))) == 6
    without = list(rows_of(OF_STATES, 0, {0: "loss"}, grids(coefficient=np.nan)))
    assert [(row.lag, row.coefficient, row.status) for row in without] == [(0, None, "undefined")] * 6


def test_autocorrelations_are_told_only_where_both_are_known():
    for side in (0, 1):
        made = grids()
        made[AS_IS, 0].past[0, 0, 0, side] = np.nan
        first, second = list(rows_of(OF_STATES, 0, {0: "loss"}, made))[:2]
        assert first.autocorrelations is None and second.autocorrelations == (601, 501)


@pytest.mark.parametrize(
    ("n_effective", "status"), [(10.0, "ok"), (np.nextafter(10, 0), "too_few"), (np.nan, "too_few")]
)
def test_below_ten_effective_pairs_differences_only_describe(n_effective, status):
    rows = list(rows_of(OF_STATES, 0, {0: "loss"}, grids(n_effective=n_effective)))
    found = {(row.transform, row.lag): row.status for row in rows if not is_tested(row)}
    assert found.pop(("levels", 0)) == "ok"
    assert len(found) == 7 and set(found.values()) == {status}


@pytest.mark.parametrize(("p_value", "status"), [(0.9, "ok"), (np.nan, "too_few")])
def test_a_tested_row_without_a_p_value_has_too_few_pairs(p_value, status):
    rows = list(rows_of(OF_STATES, 0, {0: "loss"}, grids(n_effective=30.0, p_value=p_value)))
    assert [row.status for row in rows if is_tested(row)] == [status] * 2


def test_without_a_coefficient_a_trend_had_too_few_pairs_if_the_differences_have_one():
    made = grids()
    made[WITHOUT_TREND, 0].coefficient[:] = np.nan
    made[AS_IS, 0].coefficient[:] = np.nan
    made[DIFFERENCES, 0].coefficient[0, 0, 1] = np.nan
    rows = [row.status for row in rows_of(OF_STATES, 0, {0: "loss"}, made) if row.lag == 0]
    assert rows == ["undefined", "undefined", "ok", "undefined", "too_few", "undefined"]


def test_one_row_stands_for_a_metric_that_is_left_out():
    row = not_related("rms", "loss")
    assert (row.scope, row.tensor, row.metric, row.scalar, row.lag, row.method) == ("tensor", "", "rms", "loss", 0, "")
    assert row.transform == "not related: too many tensors" and (row.n, row.status) == (0, "missing")
    numbers = (row.coefficient, row.low, row.high, row.n_effective, row.p_value, row.q_value, row.autocorrelations)
    assert numbers == (None,) * 7
