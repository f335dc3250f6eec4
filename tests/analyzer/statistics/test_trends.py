"""The trend that is removed from differences: its knots, its span, and the places that it leaves out."""

from __future__ import annotations

import numpy as np
import pytest
from curve_tables import even_trend

from analyzer.statistics.trends import Trend, trend_over


def test_places_whose_leverage_is_above_one_half_are_left_out():
    trend = Trend(np.array([[0.8], [0.6], [0.0]]))
    assert trend.kept.tolist() == [False, True, True]
    assert trend.leverage == pytest.approx([0.36, 0.0])
    assert trend.removed(np.array([[1.0, 2.0, 3.0]])) == pytest.approx(np.array([[2 - 0.6 * 2.0, 3.0]]))


def test_a_leverage_of_exactly_one_half_is_kept():
    trend = Trend(np.array([[0.5, 0.5], [0.5, -0.5], [0.5, 0.5], [0.5, -0.5]]))
    assert trend.kept.all()
    assert trend.leverage.tolist() == [0.5] * 4


@pytest.mark.parametrize("n", [12, 20, 49, 200])
def test_the_leverage_is_the_diagonal_of_the_hat_matrix_and_the_first_places_go(n):
    trend = even_trend(n)
    hat = np.array([np.linalg.lstsq(trend.basis, one, rcond=None)[0] @ trend.basis.T for one in np.eye(n)])
    expected = np.diag(hat)
    assert trend.kept.tolist() == (expected <= 0.5).tolist()
    assert trend.leverage == pytest.approx(expected[expected <= 0.5])
    assert not trend.kept[0] and trend.kept[n // 2 :][:-1].all()


@pytest.mark.parametrize("n", [20, 49, 100, 200])
def test_the_trend_spans_quadratic_splines_with_a_knot_about_every_0_7(n):
    place = np.log2(np.arange(1, n + 1))
    intervals = round(place[-1] / 0.7)
    knots = [place[-1] * k / intervals for k in range(1, intervals)]
    columns = [np.ones(n), place, place**2, *(np.where(place > knot, place - knot, 0) ** 2 for knot in knots)]
    trend = even_trend(n)
    assert trend.parameters == np.linalg.matrix_rank(np.array(columns)) == 3 + len(knots)
    for column in columns:
        assert column - trend.basis @ (trend.basis.T @ column) == pytest.approx(np.zeros(n), abs=1e-9)


def test_only_the_distance_from_the_first_place_counts():
    axis = np.arange(14.0)
    later, first = (trend_over(axis, None, np.array(positions)) for positions in ([5, 6, 8, 12], [0, 1, 3, 7]))
    assert later.basis == pytest.approx(first.basis)


def test_of_few_places_directions_that_are_the_same_count_once():
    trend = even_trend(2)
    assert trend.parameters == 2
    assert not trend.kept.any()
    assert even_trend(3).parameters == 3


@pytest.mark.parametrize(("last", "knots"), [(1, 0), (2, 1), (3, 2), (7, 3), (12, 4)])
def test_short_runs_have_as_many_knots_as_0_7_fits_into_them(last, knots):
    """The direction of each knot is one more parameter, as far as there are places to tell it by."""
    positions = tuple(range(last + 1))
    place = np.log2(1 + np.array(positions, dtype=float))
    at = np.linspace(0, place[-1], knots + 2)[1:-1]
    columns = [place**0, place, place**2, *(np.where(place > knot, place - knot, 0) ** 2 for knot in at)]
    trend = even_trend(last + 1)
    assert trend.parameters == np.linalg.matrix_rank(np.array(columns), tol=1e-8)
    fit = np.linalg.lstsq(np.column_stack(columns), place**3, rcond=None)[0] @ columns
    assert trend.basis @ (trend.basis.T @ place**3) == pytest.approx(fit, abs=1e-8)
