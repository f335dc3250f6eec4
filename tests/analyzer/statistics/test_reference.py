"""Intervals, block lengths and q-values beside ``arch`` and ``scipy`` on the same data."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from arch.bootstrap import StationaryBootstrap, optimal_block_length
from curve_tables import correlations, even_trend, tables_of
from hypothesis import given
from hypothesis import strategies as st

from analyzer.model.tables import is_tested
from analyzer.statistics.bootstrap import (
    RESAMPLES,
    block_lengths,
    intervals,
    percentile_interval,
    resampled,
    resampled_weights,
    weights_of,
)
from analyzer.statistics.coefficients import pearson, ranks, z_scores
from analyzer.statistics.jumps import robust_residuals
from analyzer.statistics.significance import benjamini_hochberg


def persistent(generator: np.random.Generator, count: int, n: int, past: float) -> np.ndarray:
    series = generator.standard_normal((count, n))
    for t in range(1, n):
        series[:, t] += past * series[:, t - 1]
    return series


@pytest.mark.parametrize("n", [12, 20, 47, 200])
@pytest.mark.parametrize("past", [-0.6, 0.0, 0.5, 0.95])
def test_block_lengths_are_those_of_arch(n, past):
    series = persistent(np.random.default_rng(n), 40, n, past)
    expected = np.maximum(optimal_block_length(series.T)["stationary"].to_numpy(), 1)
    assert block_lengths(series) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [14, 47, 200])
def test_an_interval_from_the_draws_of_arch_is_that_of_arch(n):
    x, y = persistent(np.random.default_rng(n), 2, n, 0.5)
    y = 0.5 * x + y
    arguments = {"seed": 3}
    theirs = StationaryBootstrap(4, x, y, **arguments).conf_int(
        lambda a, b: np.corrcoef(a, b)[0, 1], reps=400, method="percentile"
    )
    drawn = StationaryBootstrap(4, np.arange(n), **arguments)
    indices = np.array([positional[0] for positional, _ in drawn.bootstrap(400)])
    pair = np.array([0])
    first, second = z_scores(x)[None], z_scores(y)[None]
    low, high = percentile_interval(resampled(first, second, pair, pair, weights_of(indices)))
    assert [low[0], high[0]] == pytest.approx(theirs[:, 0], abs=1e-10)


@pytest.mark.parametrize("past", [0.0, 0.7])
def test_an_interval_of_our_own_draws_agrees_with_arch(past):
    generator = np.random.default_rng(8)
    for _ in range(5):
        x, y = persistent(generator, 2, 60, past)
        y = 0.4 * x + y
        low, high = intervals(z_scores(x)[None], z_scores(y)[None], np.array([[True]]))
        block = int(np.ceil(max(block_lengths(np.array([x, y])))))
        theirs = StationaryBootstrap(block, x, y, seed=1).conf_int(
            lambda a, b: np.corrcoef(a, b)[0, 1], reps=4000, method="percentile"
        )
        # Both are Monte Carlo: the width is about 0.5, its ends are known to about 0.02 from 500 resamples.
        assert [low[0, 0], high[0, 0]] == pytest.approx(theirs[:, 0], abs=0.06)


def test_blocks_have_the_length_that_was_asked_for():
    """Seen through weights: resamples of longer blocks repeat fewer distinct places next to each other."""
    n, block = 40, 5
    weights = resampled_weights(n, block)
    assert weights.shape == (RESAMPLES, n)
    assert weights.sum(axis=1) == pytest.approx(1)
    assert weights.mean(axis=0) == pytest.approx(1 / n, rel=0.25)
    # The variance of a resampled mean, here of a slow wave: Politis & Romano (1994), with circular autocovariances.
    wave = np.sin(2 * np.pi * np.arange(n) / n)
    lags = np.arange(1, n)
    keep = 1 - 1 / block
    share = (1 - lags / n) * keep**lags
    circular = np.array([np.mean(wave * np.roll(wave, lag)) for lag in lags])
    expected = (np.mean(wave**2) + 2 * float(share @ circular)) / n
    assert np.var(weights @ wave) == pytest.approx(expected, rel=0.2)


def test_intervals_are_the_same_each_time():
    x, y = persistent(np.random.default_rng(0), 2, 30, 0.3)
    wanted = np.array([[True]])
    first = intervals(z_scores(x)[None], z_scores(y)[None], wanted)
    resampled_weights.cache_clear()
    assert intervals(z_scores(x)[None], z_scores(y)[None], wanted) == first


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_q_values_are_those_of_scipy(p):
    expected = scipy.stats.false_discovery_control(p)
    assert benjamini_hochberg(np.array(p)[:, None])[:, 0] == pytest.approx(expected, rel=1e-12)


def test_a_pair_without_p_value_counts_for_nothing_in_a_family():
    p = np.array([[0.01, np.nan], [np.nan, np.nan], [0.04, 0.2]])
    q = benjamini_hochberg(p)
    assert q[:, 0] == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert q[:, 1] == pytest.approx([np.nan, np.nan, 0.2], nan_ok=True)


@pytest.fixture(scope="module")
def rows():
    generator = np.random.default_rng(11)
    n, layers = 50, 8
    score = np.cumsum(generator.standard_normal(n))
    shared = np.diff(score, prepend=0)
    curves = {
        ("tensor", f"w{i}", "condition_number"): np.exp(np.cumsum(0.1 * i * shared + generator.standard_normal(n)))
        for i in range(layers)
    }
    curves["tensor", "w0", "step_distance"] = np.exp(generator.standard_normal(n))
    return curves, score, correlations(tables_of(curves, {"test_accuracy": score}))


def only(rows, **fields):
    (found,) = [row for row in rows if all(getattr(row, name) == value for name, value in fields.items())]
    return found


def test_every_number_of_a_row_follows_from_the_curves(rows):
    curves, score, found = rows
    for tensor in ("w0", "w5"):
        key = {"metric": "condition_number", "tensor": tensor, "method": "pearson", "lag": 0}
        curve = np.log(curves["tensor", tensor, "condition_number"])
        drawn = only(found, transform="levels", **key)
        assert drawn.coefficient == pytest.approx(scipy.stats.pearsonr(np.exp(curve), score).statistic)
        assert (drawn.n, drawn.p_value, drawn.low) == (50, None, None)

        x, y = np.diff(curve), np.diff(score)
        differences = only(found, transform="differences of score and of log metric", **key)
        assert differences.coefficient == pytest.approx(scipy.stats.pearsonr(x, y).statistic)
        assert (differences.n, differences.p_value, differences.low) == (49, None, None)

        trend = even_trend(49)
        x, y = trend.removed(x[None])[0], trend.removed(y[None])[0]
        tested = only(found, transform="differences of score and of log metric, trend removed", **key)
        assert tested.coefficient == pytest.approx(scipy.stats.pearsonr(x, y).statistic)
        past = [np.sum(z[1:] * z[:-1]) / np.sum(z**2) for z in (y - y.mean(), x - x.mean())]
        assert list(tested.autocorrelations) == pytest.approx(past)
        low, high = intervals(z_scores(x)[None], z_scores(y)[None], np.array([[True]]))
        assert (tested.low, tested.high) == pytest.approx((low[0, 0], high[0, 0]))
        assert tested.low < tested.coefficient < tested.high and tested.status == "ok"

        rho = only(found, transform=tested.transform, **{**key, "method": "spearman"})
        assert rho.coefficient == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
        low, high = intervals(z_scores(ranks(x))[None], z_scores(ranks(y))[None], np.array([[True]]))
        assert (rho.low, rho.high) == pytest.approx((low[0, 0], high[0, 0]))


def test_a_metric_of_intervals_is_set_against_changes_of_the_score(rows):
    curves, score, found = rows
    key = {"metric": "step_distance", "tensor": "w0", "method": "pearson", "lag": 0}
    distance = curves["tensor", "w0", "step_distance"][1:]
    drawn = only(found, transform="score difference, z-scored", **key)
    assert drawn.coefficient == pytest.approx(scipy.stats.pearsonr(distance, np.diff(score)).statistic)
    differences = only(found, transform="differences of score differences and of log metric", **key)
    expected = scipy.stats.pearsonr(np.diff(np.log(distance)), np.diff(score, n=2)).statistic
    assert (differences.coefficient, differences.n) == (pytest.approx(expected), 48)


def test_q_values_go_over_the_layers_of_one_metric_score_and_method(rows):
    _, _, found = rows
    for method in ("pearson", "spearman"):
        its = [row for row in found if is_tested(row) and (row.metric, row.method) == ("condition_number", method)]
        assert len(its) == 8
        expected = scipy.stats.false_discovery_control([row.p_value for row in its])
        assert [row.q_value for row in its] == pytest.approx(expected)
    alone = [row for row in found if is_tested(row) and row.metric == "step_distance"]
    assert all(row.q_value == row.p_value is not None for row in alone)


def test_a_strong_coupling_is_found_and_an_absent_one_is_not(rows):
    _, _, found = rows
    p = {row.tensor: row.p_value for row in found if is_tested(row) and row.method == "pearson"}
    assert p["w7"] < 0.05 < p["w0"]


def test_lags_are_explored_without_p_value_and_the_right_way_round():
    generator = np.random.default_rng(2)
    change = generator.standard_normal(61)
    distance = np.exp(np.cumsum(np.roll(change, -2)))  # the score follows two checkpoints after the weights
    curves = {("mean", "", "condition_number"): distance, ("tensor", "w", "condition_number"): distance}
    found = correlations(tables_of(curves, {"test_accuracy": np.cumsum(change)}))
    lagged = {row.lag: row for row in found if row.lag and row.method == "pearson"}
    assert sorted(lagged) == [-3, -2, -1, 1, 2, 3]
    assert {row.scope for row in lagged.values()} == {"mean"}
    assert all(row.p_value is row.q_value is row.low is None for row in lagged.values())
    assert lagged[2].coefficient > 0.9 > 0.5 > max(abs(lagged[lag].coefficient) for lag in (-3, -2, -1, 1, 3))
    whole = next(row for row in found if is_tested(row) and row.scope == "mean")
    assert lagged[2].n == whole.n - 2


def test_the_trend_leaves_no_saturation_behind():
    t = np.arange(49)
    trend = even_trend(49)
    assert trend.basis.T @ trend.basis == pytest.approx(np.eye(trend.parameters), abs=1e-12)
    for curve in (np.exp(-t / 10), 1 / (1 + t), t**2.0, np.ones(49)):
        changes = curve[None] / np.abs(curve).max()
        assert np.abs(trend.removed(changes)).max() < 0.01
    assert pearson(trend.removed(np.exp(-t / 10)[None])[0], trend.removed(np.exp(-t / 20)[None])[0]).n >= 40


def test_a_jump_is_set_aside_and_does_not_bend_the_trend_around_it():
    generator = np.random.default_rng(3)
    rough = 0.01 * generator.uniform(-1, 1, (2, 49))  # bounded: no jump by chance
    series = 0.5 * np.exp(-np.arange(49) / 10) + rough
    series[1, 20] += 1.0
    trend = even_trend(49)
    residuals, usual = robust_residuals(trend, series)
    place = int(np.count_nonzero(trend.kept[:20]))
    assert usual[0].all() and np.flatnonzero(~usual[1]).tolist() == [place]
    beside = np.arange(residuals.shape[1]) != place
    assert np.abs(residuals[1, beside]).max() < 0.1 * residuals[1, place]


def test_one_moment_at_which_both_jump_proves_nothing_and_gets_no_interval_away_from_zero():
    generator = np.random.default_rng(4)
    shared = np.zeros(49)
    shared[5:7] = 30.0, -25.0
    changes = generator.standard_normal((2, 49)) + shared
    curves = {("tensor", "w", "rms"): np.exp(np.concatenate([[0.0], np.cumsum(changes[0])]))}
    score = {"test_accuracy": np.concatenate([[0.0], np.cumsum(changes[1])])}
    rows = [row for row in correlations(tables_of(curves, score)) if is_tested(row)]
    assert rows[0].coefficient > 0.8  # told, as a description
    for row in rows:
        assert row.p_value > 0.05
        assert row.low is None or row.low <= 0 <= row.high
