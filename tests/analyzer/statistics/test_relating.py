"""Coefficients of every series with every other, by both methods, and which intervals are left."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from curve_tables import even_trend

from analyzer.statistics import relating
from analyzer.statistics.bootstrap import intervals
from analyzer.statistics.coefficients import ranks, z_scores
from analyzer.statistics.jumps import guarded, robust_residuals
from analyzer.statistics.relating import METHODS, relate
from analyzer.statistics.significance import autocorrelations, effective_counts, p_values

N = 30
FIELDS = ("coefficient", "low", "high", "n_effective", "p_value")
LAGS = N // 2


@pytest.fixture(scope="module")
def series():
    generator = np.random.default_rng(3)
    first = generator.standard_normal((2, N))
    second = generator.standard_normal((3, N)) + 0.5 * first[[0, 1, 0]]
    second[2] = np.exp(second[2])
    return first, second


def past(z):
    return np.sum(z[1:] * z[:-1]) / len(z)


def test_series_without_a_trend_are_described_by_both_methods(series):
    first, second = series
    found = relate(first, second)
    assert METHODS == ("pearson", "spearman")
    assert all(getattr(found, name).shape == (2, 3, 2) for name in FIELDS) and found.past.shape == (2, 3, 2, 2)
    for i, x in enumerate(first):
        for j, y in enumerate(second):
            for method, (a, b) in enumerate(((x, y), (scipy.stats.rankdata(x), scipy.stats.rankdata(y)))):
                own = [past(scipy.stats.zscore(one)) for one in (a, b)]
                assert found.coefficient[i, j, method] == pytest.approx(np.corrcoef(a, b)[0, 1])
                assert found.past[i, j, method].tolist() == pytest.approx(own)
                z = scipy.stats.zscore(a)[None], scipy.stats.zscore(b)[None]
                r = found.coefficient[i : i + 1, j : j + 1, method]
                expected = effective_counts(N, *(autocorrelations(one, LAGS) for one in z), r)
                assert found.n_effective[i, j, method] == pytest.approx(expected[0, 0])
    assert np.isnan([found.low, found.high, found.p_value]).all()


def test_a_series_without_its_trend_has_intervals_and_p_values_if_ten_pairs_are_effective(series):
    first, second = series
    slow = np.sin(np.arange(N) / 6)
    trend = even_trend(N)
    x, y = (np.vstack([one, slow])[:, trend.kept] for one in (first, second))
    found = relate(x, y, trend=trend)
    assert found.n_effective[2, 3, 0] < 10 < found.n_effective[0, 0, 0]
    for method, (a, b) in enumerate(((z_scores(x), z_scores(y)), (z_scores(ranks(x)), z_scores(ranks(y))))):
        enough = found.n_effective[..., method] >= 10
        assert enough.any() and not enough.all()
        low, high = intervals(a, b, enough)
        p = p_values(
            a, b, found.coefficient[..., method], found.n_effective[..., method], trend.leverage, trend.parameters
        )
        assert np.array_equal(found.low[..., method], low, equal_nan=True)
        assert np.array_equal(found.high[..., method], high, equal_nan=True)
        assert np.array_equal(found.p_value[..., method], p, equal_nan=True)
        assert np.isfinite(low).tolist() == np.isfinite(p).tolist() == enough.tolist()


@pytest.mark.parametrize("side", [0, 1])
def test_a_series_that_is_constant_but_for_rounding_has_no_coefficient_by_ranks_either(series, side):
    pair = [series[0].copy(), series[1].copy()]
    pair[side][1] = 1 + 1e-15 * np.arange(N)
    found = np.isnan(relate(*pair).coefficient)
    expected = np.zeros((2, 3), dtype=bool)
    expected[(1, slice(None)) if side == 0 else (slice(None), 1)] = True
    assert found.all(axis=2).tolist() == found.any(axis=2).tolist() == expected.tolist()


@pytest.mark.parametrize("side", [0, 1])
def test_rounding_is_noise_beside_the_magnitudes_that_each_side_came_from(series, side):
    pair = [1e-14 * series[0], 1e-14 * series[1]]
    assert np.isfinite(relate(*pair).coefficient).all()
    magnitudes = [np.full(2, 1e-14), np.full(3, 1e-14)]
    assert np.isfinite(relate(*pair, tuple(magnitudes)).coefficient).all()
    magnitudes[side][1] = 1.0
    found = np.isnan(relate(*pair, tuple(magnitudes)).coefficient).all(axis=2)
    expected = np.zeros((2, 3), dtype=bool)
    expected[(1, slice(None)) if side == 0 else (slice(None), 1)] = True
    assert found.tolist() == expected.tolist()


def test_pairs_with_jumps_have_the_number_and_the_p_value_without_them(series):
    trend = even_trend(N)
    first, second = (one.copy() for one in series)
    first[0, 20] += 40
    second[1, 12] -= 30
    robust = robust_residuals(trend, first), robust_residuals(trend, second)
    x, y = trend.removed(first), trend.removed(second)
    plain, found = relate(x, y, trend=trend), relate(x, y, trend=trend, robust=robust)
    for method, name in enumerate(METHODS):
        counts, p = guarded(*robust, trend, name, plain.n_effective[..., method], plain.p_value[..., method])
        assert np.array_equal(found.n_effective[..., method], counts, equal_nan=True)
        assert np.array_equal(found.p_value[..., method], p, equal_nan=True)
    assert not np.array_equal(found.p_value, plain.p_value, equal_nan=True)


@pytest.mark.parametrize(
    ("jump", "low", "high", "p", "is_kept"),
    [
        (True, 0.1, 0.5, 0.06, False),
        (True, -0.5, -0.1, 0.06, False),
        (True, 0.1, 0.5, np.nan, False),
        (True, 0.1, 0.5, 0.0501, False),
        (True, 0.1, 0.5, 0.0499, True),
        (True, -0.1, 0.5, 0.06, True),
        (True, 0.0, 0.5, 0.06, True),
        (True, -0.5, 0.0, 0.06, True),
        (False, 0.1, 0.5, 0.06, True),
        (False, -0.5, -0.1, np.nan, True),
    ],
)
def test_an_interval_that_excludes_zero_because_of_a_jump_alone_is_left_out(
    monkeypatch, series, jump, low, high, p, is_kept
):
    def filled(value):
        return np.full((2, 3), value)

    monkeypatch.setattr(relating, "intervals", lambda *_: (filled(low), filled(high)))
    monkeypatch.setattr(relating, "guarded", lambda *_: (filled(20.0), filled(p)))
    monkeypatch.setattr(relating, "with_jumps", lambda *_: filled(jump))
    trend = even_trend(N)
    x, y = (one[:, trend.kept] for one in series)
    found = relate(x, y, trend=trend, robust=(None, None))
    expected = (low, high) if is_kept else (np.nan, np.nan)
    for name, value in zip(("low", "high"), expected, strict=True):
        assert np.array_equal(getattr(found, name), np.full((2, 3, 2), value), equal_nan=True)
