"""Coefficients without jumps, beside the same computed pair by pair and point by point."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from curve_tables import even_trend

from analyzer.statistics import jumps
from analyzer.statistics.jumps import RobustResiduals, guarded, robust_residuals, with_jumps
from analyzer.statistics.significance import slope_p_values
from analyzer.statistics.trends import Trend

N = 40


def line_and_constant(n: int = N) -> Trend:
    """A trend of two parameters, no place of which has a large leverage."""
    basis, _ = np.linalg.qr(np.column_stack([np.ones(n), np.arange(n)]))
    return Trend(basis)


def fitted(basis: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    roots = np.sqrt(weights)
    found = np.linalg.lstsq(basis * roots[:, None], y * roots, rcond=None)[0]
    residuals = y - basis @ found
    return residuals, 1.4826 * float(np.median(np.abs(residuals)))


def by_hand(basis: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residuals and regular points of one series, one weighted least-squares fit after the other."""
    allowed = 6 * np.sqrt(np.maximum(1 - np.diag(basis @ basis.T), 0.5))
    weights = np.ones(len(y))
    for _ in range(12):
        residuals, deviation = fitted(basis, y, weights)
        weights = np.minimum(deviation / np.maximum(np.abs(residuals), 1e-300), 20.0)
    for _ in range(4):
        regular = np.abs(residuals) <= allowed * deviation
        residuals, deviation = fitted(basis, y, regular.astype(float))
    return residuals, np.abs(residuals) <= allowed * deviation


@pytest.fixture(scope="module")
def jumping() -> np.ndarray:
    """Series with one to four jumps of 3 to 9 standard deviations: some are out of line, others are not."""
    generator = np.random.default_rng(5)
    series = generator.standard_normal((120, N)) + 0.1 * np.arange(N)
    for row, one in enumerate(series):
        places = generator.choice(N, 1 + row % 4, replace=False)
        one[places] += generator.uniform(3, 9, len(places)) * generator.choice([-1, 1], len(places))
    return series


@pytest.mark.parametrize("trend", [line_and_constant(), even_trend(N)], ids=["line", "spline"])
def test_residuals_without_jumps_are_those_of_refitting_by_hand(jumping, trend):
    residuals, regular = robust_residuals(trend, jumping)
    assert residuals.shape == regular.shape == (len(jumping), int(trend.kept.sum()))
    jumps_found = 0
    for y, mine, its in zip(jumping, residuals, regular, strict=True):
        expected, expected_regular = by_hand(trend.basis, y)
        scale = 2.0 ** -np.frexp(np.abs(y).max())[1]
        assert its.tolist() == expected_regular[trend.kept].tolist()
        assert mine == pytest.approx(scale * expected[trend.kept], rel=1e-6, abs=1e-7)
        jumps_found += int((~its).sum())
    assert len(jumping) / 4 < jumps_found < len(jumping) * 2  # some of the 300 are out of line, not all


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_jumps_do_not_depend_on_the_scale(jumping, scale):
    trend = line_and_constant()
    plain, scaled = robust_residuals(trend, jumping[:8]), robust_residuals(trend, scale * jumping[:8])
    assert scaled.regular.tolist() == plain.regular.tolist()
    ratio = scaled.residuals / plain.residuals
    assert ratio == pytest.approx(np.repeat(ratio[:, :1], N, axis=1), rel=1e-6)
    assert ((ratio > 0.49) & (ratio < 2.01)).all()


def test_a_series_on_the_trend_has_no_jump_and_no_residual():
    trend = line_and_constant()
    residuals, regular = robust_residuals(trend, np.array([np.zeros(N), 0.5 * np.arange(N)]))
    assert regular[0].all() and not residuals[0].any()
    assert np.abs(residuals[1]).max() < 1e-8


def flags(*rows: str) -> RobustResiduals:
    regular = np.array([[letter == "." for letter in row] for row in rows])
    return RobustResiduals(np.zeros(regular.shape), regular)


def test_a_pair_has_a_jump_if_either_series_has_one():
    found = with_jumps(flags("...", ".x.", "xxx"), flags("...", "..x"))
    assert found.tolist() == [[False, True], [True, True], [True, True]]


def pair_by_hand(x, y, regular_x, regular_y, trend, method):
    """Effective number and p-value of one pair, from the points that are regular in both."""
    regular = regular_x & regular_y
    x, y = np.where(regular_x, x, 0), np.where(regular_y, y, 0)  # ranks go over all points, jumps being 0
    if method == "spearman":
        x, y = scipy.stats.rankdata(x), scipy.stats.rankdata(y)
    x, y = (scipy.stats.zscore(one[regular]) for one in (x, y))
    n, places = int(regular.sum()), np.flatnonzero(regular).tolist()
    r = np.mean(x * y)
    inverse = 1 / n
    for lag in range(1, len(regular) // 2 + 1):
        apart = [(places.index(t), places.index(t + lag)) for t in places if t + lag in places]
        product = sum(x[a] * x[b] for a, b in apart) / n * sum(y[a] * y[b] for a, b in apart) / n
        inverse += 2 / n * (1 - lag / n) * (product - r**2 / n)
    count = 1 / max(inverse, 1 / n)
    if count < 10:
        return count, np.nan
    numbers = np.array([np.mean(x * y)]), np.array([count]), np.array([n]), trend.leverage[regular][None]
    return count, float(slope_p_values(x[None], y[None], *numbers, trend.parameters)[0])


@pytest.mark.parametrize("at_once", [4096, 2])
@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_pairs_with_jumps_have_the_smaller_number_and_the_larger_p_value(monkeypatch, jumping, method, at_once):
    monkeypatch.setattr(jumps, "PAIRS_AT_ONCE", at_once)
    trend = line_and_constant()
    generator = np.random.default_rng(1)
    calm = generator.standard_normal((2, N))
    shared = jumping[1:4] + 0.3 * calm[0]
    first = robust_residuals(trend, np.vstack([calm[:1], shared]))
    second = robust_residuals(trend, np.vstack([calm[1:], 0.5 * shared[1:] + generator.standard_normal((2, N))]))
    assert with_jumps(first, second).any() and not with_jumps(first, second).all()
    jump = with_jumps(first, second)
    smaller, larger = set(), set()
    for count, p in ((1000.0, 0.0), (1.0, 1.0), (np.inf, np.nan)):
        counts, given = np.full(jump.shape, count), np.full(jump.shape, p)
        found_counts, found_p = guarded(first, second, trend, method, counts, given)
        assert (counts == count).all() and np.array_equal(given, np.full(jump.shape, p), equal_nan=True)
        for (i, j), is_jump in np.ndenumerate(jump):
            if not is_jump or np.isnan(p):
                assert found_counts[i, j] == count and found_p[i, j] == pytest.approx(p, nan_ok=True)
                continue
            series = first.residuals[i], second.residuals[j], first.regular[i], second.regular[j]
            its_count, its_p = pair_by_hand(*series, trend, method)
            assert found_counts[i, j] == pytest.approx(min(count, its_count))
            assert found_p[i, j] == pytest.approx(max(p, its_p))
            smaller.add(its_count < count)
            larger.add(its_p > p)
    assert smaller == larger == {True, False}


def pair(x, y, regular_x, regular_y):
    return (RobustResiduals(np.array([one]), np.array([flag])) for one, flag in ((x, regular_x), (y, regular_y)))


def guarded_pair(n_regular, x=None):
    """A pair of noise whose points from ``n_regular`` on are jumps of the first series."""
    rise, other = np.random.default_rng(2).standard_normal((2, 20))
    regular = np.arange(20) < n_regular
    first, second = pair(rise if x is None else x, other, regular, np.ones(20, dtype=bool))
    trend = Trend(np.full((20, 1), 1 / np.sqrt(20)))
    counts, p = guarded(first, second, trend, "pearson", np.full((1, 1), 20.0), np.full((1, 1), 0.001))
    return counts[0, 0], p[0, 0]


def test_too_few_points_without_jumps_have_no_p_value():
    assert guarded_pair(16)[0] >= 10 and guarded_pair(16)[1] > 0.001
    count, p = guarded_pair(6)
    assert 0 < count < 10 and np.isnan(p)
    for left in (0, 1):
        count, p = guarded_pair(left)
        assert count == 0 and np.isnan(p)


def test_a_series_that_varies_in_its_jumps_alone_has_no_pairs():
    count, p = guarded_pair(16, np.where(np.arange(20) < 16, 3.0, 50.0))
    assert count == 0 and np.isnan(p)


@pytest.mark.parametrize(("n", "is_enough"), [(9, False), (10, True), (11, True)])
def test_exactly_ten_effective_pairs_are_enough(monkeypatch, n, is_enough):
    monkeypatch.setattr(jumps, "effective_counts_of", lambda x, y, n, r: n.astype(float))
    regular = np.arange(12) < n
    x = np.where(regular, [2.0, 0.0, -1.0, 0.0, 1.0, 0.0, -2.0, 0.0, 1.0, 0.0, 1.0, 0.0], 0)[None]
    y = np.where(regular, [1.0, 2.0, -1.0, 0.5, 1.0, 2.0, 1.0, -1.0, 1.0, 0.0, 1.0, 2.0], 0)[None]
    trend = Trend(np.full((12, 1), 1 / np.sqrt(12)))
    counts, p = jumps._without_jumps(x, y, regular[None], trend)
    assert counts.tolist() == [n] and np.isfinite(p).tolist() == [is_enough]


def test_scores_go_over_the_regular_points_and_are_zero_elsewhere():
    values = np.array([[1.0, 2.0, 4.0, 90.0], [3.0, 3.0, 3.0, 9.0], [1.0, 2.0, 3.0, 4.0]])
    regular = np.array([[True, True, True, False]] * 2 + [[False] * 4])
    found = jumps._scored(values, regular)
    assert found[0] == pytest.approx([*scipy.stats.zscore([1.0, 2.0, 4.0]), 0])
    assert not found[1:].any()
