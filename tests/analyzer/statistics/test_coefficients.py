"""Coefficients of tied, tiny and huge numbers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from analyzer.statistics.coefficients import coefficients, pearson, ranks, z_scores


def spearman(x, y):
    """Correlate ranks, as :mod:`analyzer.statistics.relating` does."""
    return pearson(ranks(x), ranks(y))


def test_spearman_of_ties_is_pearson_of_mean_ranks():
    x = np.array([1.0, 2.0, 2.0, 3.0, 5.0])
    y = np.array([3.0, 1.0, 4.0, 4.0, 4.0])
    rx, ry = np.array([1, 2.5, 2.5, 4, 5]), np.array([2, 1, 4, 4, 4])
    assert ranks(x).tolist() == rx.tolist() and ranks(y).tolist() == ry.tolist()
    expected = np.sum((rx - 3) * (ry - 3)) / np.sqrt(np.sum((rx - 3) ** 2) * np.sum((ry - 3) ** 2))
    assert spearman(x, y).value == pytest.approx(expected, rel=1e-14)
    # The formula 1 − 6 Σd²/(n(n²−1)) holds without ties only.
    assert spearman(x, y).value != pytest.approx(1 - 6 * np.sum((rx - ry) ** 2) / 120, rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_coefficients_of_many_ties_agree_with_scipy(seed):
    generator = np.random.default_rng(seed)
    x, y = generator.integers(0, 4, (2, 30)).astype(float)
    y += x
    assert spearman(x, y).value == pytest.approx(scipy.stats.spearmanr(x, y).statistic, rel=1e-12)
    assert pearson(x, y).value == pytest.approx(scipy.stats.pearsonr(x, y).statistic, rel=1e-12)


def test_ranks_go_along_the_last_axis():
    values = np.array([[3.0, 1.0, 3.0], [2.0, 2.0, 2.0]])
    assert ranks(values).tolist() == [[2.5, 1.0, 2.5], [2.0, 2.0, 2.0]]


def test_every_series_is_set_against_every_other():
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((2, 9)), generator.standard_normal((3, 9))
    expected = np.corrcoef(x, y)[:2, 2:]
    assert coefficients(z_scores(x), z_scores(y)) == pytest.approx(expected)
    assert np.isnan(coefficients(x[:, :2], y[:, :2])).all()
    assert np.isfinite(coefficients(z_scores(x[:, :3]), z_scores(y[:, :3]))).all()


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_z_scores_do_not_depend_on_the_scale(scale):
    values = np.array([1.0, -2.0, 4.0, 0.5])
    assert z_scores(scale * values) == pytest.approx(scipy.stats.zscore(values), rel=1e-12)


def test_a_spread_is_noise_beside_the_magnitude_that_the_series_came_from():
    noisy = 1e-14 * np.array([[1.0, 3.0, 2.0]])
    assert np.isfinite(z_scores(noisy)).all()
    assert np.isnan(z_scores(noisy, np.array([1.0]))).all()
    assert np.isfinite(z_scores(noisy, np.array([1e-3]))).all()


def test_three_pairs_are_the_fewest():
    x, y = np.array([1.0, 2.0, 4.0, np.nan]), np.array([2.0, 1.0, 5.0, 1.0])
    assert (pearson(x, y).status, pearson(x, y).n) == ("ok", 3)
    assert (pearson(x[1:], y[1:]).status, pearson(x[1:], y[1:]).n) == ("undefined", 2)
    assert pearson(x, y).value == pytest.approx(scipy.stats.pearsonr(x[:3], y[:3]).statistic)
    assert pearson(x[1:], y[1:]).value is None
    assert pearson(x[:0], y[:0]) == (None, 0, "undefined")
    assert np.isnan(coefficients(np.array([[1.0, -1.0]]), np.array([[1.0, -1.0]]))).all()


def test_a_constant_series_has_no_coefficient_and_keeps_its_count():
    x = np.array([1.0, 2.0, 4.0, 3.0])
    for pair in ((x, np.full(4, 0.1)), (np.full(4, 0.1), x)):
        assert pearson(*pair) == (None, 4, "undefined")


@pytest.mark.parametrize(("difference", "is_constant"), [(3.9e-12, True), (4.1e-12, False)])
def test_a_spread_of_a_billionth_of_a_thousandth_is_noise(difference, is_constant):
    """Relative to the power of two above the largest magnitude: of 1 and 1 + d the spread is d/4."""
    assert np.isnan(z_scores(np.array([1.0, 1.0 + difference]))).all() == is_constant


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_z_scores_of_nothing_are_nothing(shape):
    assert z_scores(np.empty(shape)).shape == shape


def test_each_series_has_its_own_spread():
    values = np.array([[1.0, 2.0, 4.0], [5.0, 5.0, 5.0], [-1e300, 1e300, 0.0]])
    found = z_scores(values)
    assert found[0] == pytest.approx(scipy.stats.zscore(values[0])) and np.isnan(found[1]).all()
    assert found[2] == pytest.approx(scipy.stats.zscore([-1.0, 1.0, 0.0]))


def test_a_coefficient_beyond_one_by_rounding_is_one():
    z = np.full((1, 3), 1 + 1e-15) * np.array([[1.0, -1.0, 1.0]])
    assert coefficients(z, z).tolist() == [[1.0]] and coefficients(z, -z).tolist() == [[-1.0]]
