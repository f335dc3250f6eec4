"""What a test could have detected, beside simulated tests."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from curve_tables import even_trend

from analyzer.statistics.coefficients import coefficients, z_scores
from analyzer.statistics.power import power
from analyzer.statistics.significance import p_values


@pytest.mark.parametrize("r", [0.5, 0.7])
@pytest.mark.parametrize("changes", [39, 59])
def test_power_is_how_often_coupled_noise_has_a_small_p(changes, r):
    generator = np.random.default_rng(changes)
    trend = even_trend(changes)
    repeats, small = 1500, 0
    x, own = generator.standard_normal((2, repeats, changes))
    first, second = (z_scores(trend.removed(one)) for one in (x, r * x + np.sqrt(1 - r**2) * own))
    count = first.shape[1]
    for a, b in zip(first, second, strict=True):
        pair = coefficients(a[None], b[None])
        n = np.full((1, 1), float(count))
        small += p_values(a[None], b[None], pair, n, trend.leverage, trend.parameters)[0, 0] < 0.05
    found = power(r, np.array([float(count)]), trend.leverage, trend.parameters)[0]
    assert found == pytest.approx(small / repeats, abs=0.06)


def test_power_is_that_of_the_noncentral_t():
    leverage = np.full(30, 0.2)
    for count in (12.0, 20.0, 30.0):
        shift = 0.5 * np.sqrt(count * 0.8 / 0.75 / 1.2)
        limit = scipy.stats.t.ppf(0.975, count - 7)
        expected = scipy.stats.nct.sf(limit, count - 7, shift) + scipy.stats.nct.cdf(-limit, count - 7, shift)
        counts = np.array([[count, np.nan], [30.0, 6.9]])
        found = power(0.5, counts, leverage, 6)
        assert found[0, 0] == pytest.approx(expected, abs=2e-3)
        assert np.isnan(found[0, 1]) and np.isnan(found[1, 1])  # fewer than 7 pairs leave no degree of freedom
    assert np.isnan(power(0.5, np.array([np.nan]), leverage, 6)).all()


def test_power_grows_with_the_number_and_the_size():
    counts = np.linspace(15, 200, 50)
    leverage = np.full(200, 0.05)
    weak, strong = power(0.5, counts, leverage, 6), power(0.7, counts, leverage, 6)
    assert (np.diff(weak) >= 0).all() and (strong >= weak).all()
    assert (np.diff(weak[:20]) > 0).all() and (strong[:20] > weak[:20]).all()
