"""The path of a run from sketched steps: distances, cosines, gaps, and what storage hides."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.model.trajectory import NO_TRAJECTORY, trajectory_of

K = 64


def path(count: int, seed: int = 0) -> tuple[np.ndarray, list[tuple[int, np.ndarray] | None]]:
    steps = np.random.default_rng(seed).standard_normal((count - 1, K))
    return np.vstack((np.zeros(K), np.cumsum(steps, axis=0))), [None, *enumerate(steps)]


def test_distances_are_those_of_the_positions():
    positions, steps = path(12)
    found = trajectory_of(steps, K)
    exact = np.linalg.norm(positions[:, None] - positions, axis=2)
    np.testing.assert_allclose(found.distances, exact, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found.distances, found.distances.T)
    assert found.distance(3, 9) == pytest.approx(exact[3, 9], rel=1e-12)
    cosines = found.cosines
    expected = positions[2] @ positions[7] / np.linalg.norm(positions[2]) / np.linalg.norm(positions[7])
    assert cosines[2, 7] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(cosines[0]).all() and np.isnan(cosines[:, 0]).all()  # the start has no direction


def test_tiny_steps_after_a_long_way_keep_their_digits():
    generator = np.random.default_rng(1)
    late = 1e-9 * generator.standard_normal((3, K))
    found = trajectory_of([None, (0, 1e3 * generator.standard_normal(K)), (1, late[0]), (2, late[1]), (3, late[2])], K)
    assert found.distances[1, 3] == pytest.approx(np.linalg.norm(late[0] + late[1]), rel=1e-3)
    assert found.distances[2, 4] == pytest.approx(np.linalg.norm(late[1] + late[2]), rel=1e-3)


def test_a_gap_cuts_the_run_into_parts_that_cannot_be_compared():
    _, steps = path(7)
    steps[3] = None
    found = trajectory_of(steps, K)
    assert found.parts == (0, 0, 0, 3, 3, 3, 3)
    distances = found.distances
    assert np.isnan(distances[:3, 3:]).all() and np.isfinite(distances[:3, :3]).all()
    assert np.isfinite(distances[3:, 3:]).all()
    assert np.isnan(found.distance(2, 3)) and np.isfinite(found.distance(3, 5))
    assert np.isnan(found.cosines[:3, 3:]).all() and np.isnan(found.roundings[:3, 3:]).all()


def test_a_checkpoint_without_any_step_has_no_distance_even_to_itself():
    _, steps = path(5)
    steps[1] = steps[2] = None  # both sides of checkpoint 1
    found = trajectory_of(steps, K)
    assert found.parts == (-1, -1, 2, 2, 2)
    assert np.isnan(found.distances[1]).all() and np.isnan(found.distance(1, 1))
    assert found.distances[2, 2] == 0


def test_a_step_may_begin_at_an_earlier_checkpoint_than_the_one_before():
    generator = np.random.default_rng(2)
    first, second = generator.standard_normal((2, K))
    found = trajectory_of([None, (0, first), None, (1, second)], K)
    assert found.parts == (0, 0, -1, 0)
    assert found.distance(0, 3) == pytest.approx(np.linalg.norm(first + second), rel=1e-12)
    assert np.isnan(found.distance(1, 2))


def test_storage_displaces_what_is_the_sum_of_long_steps():
    far = np.full(K, 1e6)
    found = trajectory_of([None, (0, np.ones(K)), (1, far), (2, -far), (3, np.ones(K))], K)
    share = 0.4245 * 2.0**-11
    roundings = found.roundings
    assert roundings[0, 1] == pytest.approx(share * np.sqrt(K), rel=1e-9)
    assert roundings[1, 3] == pytest.approx(share * 1e6 * np.sqrt(2 * K), rel=1e-9)
    assert roundings[4, 0] == roundings[0, 4] > roundings[1, 3]
    assert (np.diagonal(roundings) == 0).all()


def test_no_trajectory_is_empty():
    assert NO_TRAJECTORY.distances.shape == NO_TRAJECTORY.cosines.shape == (0, 0)
