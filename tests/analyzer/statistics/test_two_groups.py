"""Two groups of numbers: exact on small ones, as scipy has it, and right as often as it says."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from builders import full_count
from scipy import stats

from analyzer.statistics.two_groups import compare_groups, least_p_value


def groups(generator: np.random.Generator, n: int, m: int, shift: float = 0.0, wider: float = 1.0):
    return generator.standard_normal(n), shift + wider * generator.standard_normal(m)


@pytest.mark.parametrize("wider", [1.0, 8.0])
@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_the_p_value_is_the_larger_of_every_arrangement_by_welch_t_and_of_welch(shift, wider):
    first, second = groups(np.random.default_rng(0), 6, 7, shift, wider)
    numbers = np.concatenate([first, second])
    chosen = np.array(list(combinations(range(13), 6)))
    rest = np.array([[i for i in range(13) if i not in row] for row in chosen])
    found = np.abs(stats.ttest_ind(numbers[rest], numbers[chosen], axis=1, equal_var=False).statistic)
    welch = stats.ttest_ind(second, first, equal_var=False)
    test = compare_groups(first, second)
    permuted = np.mean(found >= abs(welch.statistic) * (1 - 1e-9))
    assert test.p_value == pytest.approx(max(permuted, welch.pvalue))
    assert test.p_value > 0.05 or not test.low <= 0 <= test.high
    assert test.difference == pytest.approx(second.mean() - first.mean())
    interval = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    assert (test.low, test.high) == pytest.approx((interval.low, interval.high))


def test_either_of_the_two_p_values_is_the_larger_somewhere():
    larger = set()
    for seed in range(8):
        first, second = groups(np.random.default_rng(seed), 6, 6, 2.0, 1 + seed % 2 * 5)
        welch = stats.ttest_ind(second, first, equal_var=False).pvalue
        larger.add(compare_groups(first, second).p_value > welch * (1 + 1e-9))
    assert larger == {True, False}


def test_a_permutation_p_value_counts_mirror_images_and_ties():
    """The second group is wholly above the first: of 924 arrangements only this one and its mirror are as extreme."""
    first, second = np.arange(6.0), 100 + np.arange(6.0)
    assert compare_groups(first, second).p_value == pytest.approx(2 / 924)
    first[5] = second[0] = 50.0  # exchanging the two changes nothing, so it counts as well
    welch = stats.ttest_ind(second, first, equal_var=False).pvalue
    assert welch < 4 / 924
    assert compare_groups(first, second).p_value == pytest.approx(4 / 924)


@pytest.mark.parametrize(("n", "m", "least"), [(6, 6, 2 / 924), (6, 7, 1 / 1716), (7, 7, 2 / 3432), (8, 8, 2 / 12870)])
def test_the_least_p_value_is_that_of_one_arrangement_or_of_two(n, m, least):
    assert least_p_value(n, m) == pytest.approx(least)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 9), (5, 5), (5, 60)])
def test_fewer_than_six_in_a_group_are_only_described(n, m):
    first, second = groups(np.random.default_rng(1), n, m, 50.0)
    test = compare_groups(first, second)
    assert (test.low, test.high, test.p_value, test.status) == (None, None, None, "too_few")
    assert test.difference == pytest.approx(second.mean() - first.mean())


def test_numbers_that_do_not_vary_and_numbers_that_are_missing():
    assert compare_groups(np.full(6, 0.9), np.full(6, 0.9)).status == "undefined"
    assert compare_groups(np.full(6, 0.9), np.full(6, 0.9)).p_value is None
    apart = compare_groups(np.full(6, 1.0), np.full(6, 2.0))
    assert apart.p_value == pytest.approx(2 / 924) == least_p_value(6, 6)
    assert (apart.low, apart.high) == (1.0, 1.0)
    assert compare_groups(np.array([1.0, np.nan]), np.ones(6)).status == "missing"
    assert compare_groups(np.zeros(0), np.ones(6)).status == "missing"
    assert compare_groups(np.full(6, np.inf), np.ones(6)).status == "missing"


def test_large_groups_are_sampled_and_the_same_each_time():
    first, second = groups(np.random.default_rng(2), 12, 14, 3.0)
    test = compare_groups(first, second)
    assert test == compare_groups(first, second)
    assert test.p_value == pytest.approx(1e-4) == least_p_value(12, 14)
    assert compare_groups(*groups(np.random.default_rng(5), 12, 14)).p_value > 0.05


@pytest.mark.parametrize(("n", "m", "wider"), [(6, 6, 1.0), (6, 6, 4.0), (6, 12, 1.0)])
def test_groups_without_a_difference_are_seldom_called_different(n, m, wider):
    generator = np.random.default_rng(3)
    tests = [compare_groups(*groups(generator, n, m, wider=wider)) for _ in range(full_count(2000, 400))]
    assert np.mean([test.p_value <= 0.05 for test in tests]) <= 0.07
    assert np.mean([test.low <= 0 <= test.high for test in tests]) >= 0.92


def test_a_planted_difference_is_found():
    generator = np.random.default_rng(4)
    tests = [compare_groups(*groups(generator, 6, 6, 3.0)) for _ in range(full_count(2000, 300))]
    assert np.mean([test.p_value <= 0.05 for test in tests]) > 0.95
    assert np.mean([test.low <= 3 <= test.high for test in tests]) >= 0.92
