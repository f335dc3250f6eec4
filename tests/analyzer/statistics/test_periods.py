"""Which period two series have in common."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.statistics.coefficients import z_scores
from analyzer.statistics.periods import common_periods, common_waves


def repeating(generator: np.random.Generator, count: int, n: int, period: int, share: float) -> np.ndarray:
    """Series of which a share of the variance repeats, each with a pattern of its own."""
    pattern = z_scores(generator.standard_normal((count, period)))
    noise = generator.standard_normal((count, n))
    return z_scores(np.sqrt(share) * np.tile(pattern, n)[:, :n] + np.sqrt(1 - share) * noise)


@pytest.mark.parametrize("period", [3, 5, 7, 10, 16])
@pytest.mark.parametrize("n", [50, 97])
def test_a_clear_period_is_found_itself_and_no_multiple(n, period):
    generator = np.random.default_rng([n, period])
    first, second = (repeating(generator, count, n, period, 0.8) for count in (8, 5))
    found = common_periods(first, second)
    assert found.shape == (8, 5)
    assert (found == period).mean() > 0.8
    assert ((found == period) | ((found > 1) & (period % np.maximum(found, 1) == 0))).mean() > 0.95  # or a divisor


def test_a_weak_repetition_counts_beside_a_strong_one():
    generator = np.random.default_rng(1)
    strong, weak = repeating(generator, 20, 100, 5, 0.9), repeating(generator, 20, 100, 5, 0.1)
    for found in (common_periods(strong, weak), common_periods(weak, strong)):
        assert ((found > 0) & (found % 5 == 0)).mean() > 0.9
    assert (common_periods(weak, weak) == 5).mean() < 0.5  # would hardly correlate


@pytest.mark.parametrize("coupled", [0.0, 0.7, 0.9])
def test_noise_has_rarely_a_period_coupled_or_not(coupled):
    generator = np.random.default_rng(2)
    first, own = generator.standard_normal((2, 300, 45))
    second = coupled * first + np.sqrt(1 - coupled**2) * own
    found = common_periods(z_scores(first), z_scores(second))
    pairs = np.diag(found) if coupled else found
    assert (pairs > 0).mean() < 0.03


def test_different_periods_are_none_in_common():
    generator = np.random.default_rng(3)
    found = common_periods(repeating(generator, 10, 90, 7, 0.9), repeating(generator, 10, 90, 5, 0.9))
    assert np.isin(found, [5, 7]).mean() < 0.1


def test_half_the_series_is_not_seen_and_short_series_have_no_period():
    wave = z_scores(np.sin(2 * np.pi * np.arange(41) / 21)[None])
    assert common_periods(wave, wave).max() < 21
    for n in (1, 2, 3, 4):
        assert common_periods(np.ones((2, n)), np.ones((1, n))).shape == (2, 1)


def test_an_opposite_phase_is_a_common_period_too():
    wave = z_scores(np.tile([1.0, 0.2, -0.4, -0.8], 12)[None])
    assert common_periods(wave, -wave).tolist() == [[4]]


@pytest.mark.parametrize("period", [10, 15])
def test_a_smooth_cycle_that_repeats_three_times_is_a_wave_and_noise_has_it_seldom(period):
    generator = np.random.default_rng(period)
    first, second = generator.standard_normal((2, 30, 45))
    wave = np.sqrt(2) * np.sin(2 * np.pi * np.arange(45) / period)
    found = common_waves(z_scores(first + wave), z_scores(second - wave))
    assert (np.abs(found - period) <= 2).mean() > 0.9
    assert (common_waves(z_scores(first), z_scores(second)) > 0).mean() < 0.5
    assert common_waves(np.ones((2, 3)), np.ones((1, 3))).tolist() == [[0], [0]]
