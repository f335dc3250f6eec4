"""The draws of the stationary bootstrap and the blocks that intervals are made with."""

from __future__ import annotations

import numpy as np
import pytest
from arch.bootstrap import optimal_block_length

from analyzer.statistics import bootstrap
from analyzer.statistics.bootstrap import block_lengths, intervals, percentile_interval, resampled_weights, weights_of
from analyzer.statistics.coefficients import z_scores


def persistent(generator: np.random.Generator, n: int, past: float) -> np.ndarray:
    series = generator.standard_normal(n)
    for t in range(1, n):
        series[t] += past * series[t - 1]
    return series


def test_a_pair_is_drawn_in_blocks_as_long_as_the_more_persistent_series_needs_rounded_up(monkeypatch):
    generator = np.random.default_rng(3)
    first = z_scores(np.array([persistent(generator, 80, past) for past in (0.0, 0.9)]))
    second = z_scores(np.array([persistent(generator, 80, past) for past in (0.1, 0.7, 0.95)]))
    asked = []
    monkeypatch.setattr(
        bootstrap, "resampled_weights", lambda n, block: asked.append(block) or resampled_weights(n, block)
    )
    needed = [np.maximum(optimal_block_length(one.T)["stationary"].to_numpy(), 1) for one in (first, second)]
    for i in range(2):
        for j in range(3):
            wanted = np.zeros((2, 3), dtype=bool)
            wanted[i, j] = True
            low, high = intervals(first, second, wanted)
            assert asked.pop() == np.ceil(max(needed[0][i], needed[1][j])) and not asked
            assert np.isfinite(low).tolist() == np.isfinite(high).tolist() == wanted.tolist()
    whole = intervals(first, second, np.ones((2, 3), dtype=bool))
    assert sorted(asked) == asked == sorted({*asked})
    monkeypatch.setattr(bootstrap, "_PAIRS_AT_ONCE", 2)
    again = intervals(first, second, np.ones((2, 3), dtype=bool))
    assert np.array(again) == pytest.approx(np.array(whole), rel=1e-12)


@pytest.mark.parametrize(("n", "most"), [(40, 14), (400, 60)])
def test_a_block_is_at_most_a_third_of_the_series_and_three_times_its_root(n, most):
    wave = z_scores(np.sin(np.arange(n))[None])  # its sum hardly varies, so it asks for endless blocks
    assert block_lengths(wave).tolist() == [most] == optimal_block_length(wave[0])["stationary"].tolist()


def test_endless_blocks_draw_every_row_once_and_blocks_of_one_draw_rows_one_by_one():
    assert resampled_weights(12, 10**12) == pytest.approx(np.full((bootstrap.RESAMPLES, 12), 1 / 12))
    counts = resampled_weights(12, 1) * 12
    assert counts == pytest.approx(counts.round())
    assert np.mean(counts == 0) == pytest.approx((11 / 12) ** 12, abs=0.03)  # rows that a draw of twelve misses


def test_weights_count_how_often_a_row_was_drawn():
    found = weights_of(np.array([[0, 0, 3, 1], [2, 2, 2, 2]]))
    assert found.tolist() == [[0.5, 0.25, 0, 0.25], [0, 0, 1, 0]]


@pytest.mark.parametrize("count", [41, 400, 500])
def test_a_percentile_interval_is_that_of_numpy(count):
    drawn = np.random.default_rng(count).standard_normal((3, count))
    expected = np.quantile(drawn, [0.025, 0.975], axis=1)
    assert np.array(percentile_interval(drawn.copy())) == pytest.approx(expected, rel=1e-12)


def test_a_resample_of_one_row_over_and_over_has_a_coefficient_of_zero():
    x = z_scores(np.array([[1.0, 2.0, 4.0]]))
    pair = np.array([0])
    assert bootstrap.resampled(x, x, pair, pair, np.array([[1.0, 0.0, 0.0]]))[0, 0] == pytest.approx(0, abs=1e-3)
