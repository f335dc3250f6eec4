"""The swap test: exact on small tables, valid where every series drifts, and not deaf."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from builders import full_count

from analyzer.statistics.swap import swap_test


def runs(generator: np.random.Generator, count: int, coupling: float, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies and distances that all saturate alike; ``coupling`` is how its own two noises correlate."""
    decay = np.exp(-np.arange(n) / 8)
    common, own = generator.standard_normal((2, count, n))
    mixed = coupling * common + np.sqrt(1 - coupling**2) * own
    return 1 - decay + 0.05 * common, decay + 0.05 * mixed


def test_the_p_value_counts_every_arrangement():
    scores, weights = runs(np.random.default_rng(0), 6, 0.5, n=12)
    result = swap_test(scores, weights)
    table = np.corrcoef(scores, weights)[:6, 6:]
    means = np.array([np.mean([table[i, j] for i, j in enumerate(order)]) for order in permutations(range(6))])
    matched = np.mean(np.diag(table))
    assert result.coefficient == pytest.approx(matched)
    assert result.unmatched == pytest.approx(np.mean(table[~np.eye(6, dtype=bool)]))
    assert result.arrangements == 720
    extreme = np.abs(means - means.mean()) >= abs(matched - means.mean()) - 1e-9
    assert result.p_value == pytest.approx(np.mean(extreme))
    assert result.rank == np.count_nonzero(means >= matched - 1e-9)
    assert (result.runs, result.n, result.status) == (6, 12, "ok")


def test_an_arrangement_that_is_as_good_counts_against_the_matched_one():
    scores, weights = runs(np.random.default_rng(7), 6, 0.9999, n=60)
    alone = swap_test(scores, weights)
    assert (alone.rank, alone.p_value) == (1, pytest.approx(1 / 720))
    weights[1], scores[1] = weights[0], scores[0]
    tied = swap_test(scores, weights)
    assert (tied.rank, tied.p_value) == (2, pytest.approx(2 / 720))


def test_a_matched_coefficient_far_below_the_others_is_last_and_as_extreme():
    scores, weights = runs(np.random.default_rng(8), 6, -0.9999, n=60)
    result = swap_test(scores, weights)
    assert (result.rank, result.p_value) == (720, pytest.approx(1 / 720))
    assert result.coefficient < result.unmatched


@pytest.mark.parametrize(("count", "arrangements"), [(2, 2), (5, 120), (7, 5040), (8, 10_000)])
def test_all_arrangements_are_tried_where_they_are_at_most_10_000(count, arrangements):
    result = swap_test(*runs(np.random.default_rng(9), count, 0.5))
    assert result.arrangements == arrangements


@pytest.mark.parametrize("count", [2, 3, 5])
def test_fewer_than_six_runs_have_a_rank_only(count):
    result = swap_test(*runs(np.random.default_rng(1), count, 0.99))
    assert (result.p_value, result.status, result.rank) == (None, "too_few", 1)


def test_many_runs_are_sampled_and_the_same_each_time():
    scores, weights = runs(np.random.default_rng(2), 10, 0.9)
    result = swap_test(scores, weights)
    assert result.arrangements == 10_000
    assert result == swap_test(scores, weights)
    assert result.p_value == pytest.approx(1e-4)


def test_a_lone_run_and_a_constant_one_are_undefined():
    assert swap_test(np.ones((1, 5)), np.arange(5.0)[None]).status == "undefined"
    scores, weights = runs(np.random.default_rng(3), 6, 0.5)
    scores[2] = 0.5
    result = swap_test(scores, weights)
    assert (result.status, result.coefficient, result.p_value, result.rank) == ("undefined", None, None, None)
    assert (result.arrangements, result.runs, result.n) == (0, 6, 40)


def test_only_checkpoints_that_all_runs_have_are_used():
    scores, weights = runs(np.random.default_rng(4), 6, 0.5)
    keep = np.arange(40) != 7
    expected = swap_test(scores[:, keep], weights[:, keep])
    for gapped in (scores, weights):
        kept, gapped[1, 7] = gapped[1, 7], np.nan
        assert swap_test(scores, weights) == expected
        gapped[1, 7] = kept


def test_spearman_ranks_each_run():
    scores, weights = runs(np.random.default_rng(5), 6, 0.5)
    result = swap_test(scores, weights, method="spearman")
    assert result == swap_test(np.exp(scores), weights**3, method="spearman")


def test_runs_that_only_share_their_drift_are_not_called_significant_and_coupled_ones_are():
    generator = np.random.default_rng(6)
    repeats = full_count(2000, 300)
    drifting = [swap_test(*runs(generator, 6, 0.0)) for _ in range(repeats)]
    assert min(result.coefficient for result in drifting) < -0.8  # every one of them correlates
    assert np.mean([result.p_value < 0.05 for result in drifting]) <= 0.07
    coupled = [swap_test(*runs(generator, 6, 0.6)) for _ in range(repeats)]
    assert np.mean([result.p_value < 0.05 for result in coupled]) > 0.8
