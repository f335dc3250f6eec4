"""Sums that add up over tensors, and which square shows whether a state is finite."""

from __future__ import annotations

from math import inf, isnan, nan

import pytest

from analyzer.model.observed import (
    BEFORE_PREVIOUS,
    CURRENT,
    INITIAL,
    PREVIOUS,
    ROLES,
    ChangedBits,
    DeadLines,
    ElementSummary,
    FinitenessCount,
    InnerProducts,
    SignFlips,
)

PRODUCTS = InnerProducts(*range(11))


def test_roles_are_named_in_the_order_of_fingerprints():
    assert ROLES == (CURRENT, PREVIOUS, BEFORE_PREVIOUS, INITIAL)
    assert [str(role) for role in ROLES] == ["current", "previous", "before_previous", "initial"]


def test_numbers_are_the_fields_in_order():
    assert PRODUCTS.numbers() == tuple(range(11))
    assert (PRODUCTS.count, PRODUCTS.current, PRODUCTS.step_previous, PRODUCTS.rounding) == (0, 1, 7, 10)
    assert FinitenessCount(3, 2, 1).numbers() == (3, 2, 1) and DeadLines(rows=1, columns=2).numbers() == (1, 2)
    assert ChangedBits(9, 4).changed == 4 and SignFlips(9, 4).flipped == 4


@pytest.mark.parametrize(("role", "square"), [(CURRENT, 1), (PREVIOUS, 2), (INITIAL, 3), (BEFORE_PREVIOUS, 5)])
def test_a_state_has_its_own_square_and_w_two_back_that_of_its_step(role, square):
    assert PRODUCTS.squares(role) == square


def test_a_total_adds_up_each_field_and_rounds_once():
    total = InnerProducts.total([(1, 1e16, *[0.5] * 9), (2, 1.0, *[0.25] * 9), (3, -1e16, *[1.0] * 9)])
    assert total == InnerProducts(6, 1.0, *[1.75] * 9)
    assert isinstance(total, InnerProducts) and isinstance(total.count, int)
    assert FinitenessCount.total([(2**60, 0, 0), (1, 1, 1)]) == FinitenessCount(2**60 + 1, 1, 1)


def test_the_largest_element_of_several_tensors_is_the_largest_of_any():
    total = ElementSummary.total([(2, 3.0, 2.0, 1, 1, 5.0), (3, 4.0, 3.5, 0, 2, 7.0), (1, 0.5, 0.5, 0, 0, 0.25)])
    assert total == ElementSummary(count=6, absolute=7.5, largest=3.5, zeros=1, near_zeros=3, squares=12.25)


@pytest.mark.parametrize("numbers", [(inf, -inf), (1e308, 1e308), (nan, 1.0)])
def test_a_sum_that_no_float_can_hold_is_nan(numbers):
    assert isnan(ChangedBits.total([(1, one) for one in numbers]).changed)


def test_infinities_of_one_sign_stay_infinite():
    assert ChangedBits.total([(1, inf), (1, 2.0)]).changed == inf
