"""Runs that share their initial weights: where they differ first, and the bounds on how far apart they are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from compared_runs import LAYERS, stored_run

from analyzer.comparing import compare_runs


def contents(digests):
    """Checkpoint -> tensor -> digest from one text per epoch, whose letters are the digests of the layers."""
    return {
        f"epoch_{epoch:g}": {LAYERS[i]: f"{epoch}{text[i]}" for i in range(len(LAYERS)) if text[i] != "-"}
        for epoch, text in digests.items()
    }


def pair(first, second, **second_options):
    runs = [
        stored_run("a", epochs=tuple(first), contents=contents(first)),
        stored_run("b", seed=1, epochs=tuple(second), contents=contents(second), **second_options),
    ]
    return runs, compare_runs(runs)


def test_each_tensor_diverges_at_its_own_place_in_the_order_of_the_network():
    same = {0: "aaa", 1: "aaa", 2: "aaa", 4: "aaa"}
    _, comparison = pair(same, {0: "aaa", 1: "aab", 2: "bab", 4: "aab"})
    (found,) = comparison.divergences
    assert (found.start, found.place, found.end) == (0, 1, 4)
    assert [(one.tensor, one.place) for one in found.tensors] == [(LAYERS[0], 2), (LAYERS[1], None), (LAYERS[2], 1)]


def test_bounds_follow_from_the_triangle_inequality_at_the_place_of_each():
    same = {0: "aaa", 1: "aaa", 2: "aaa"}
    runs, comparison = pair(same, {0: "aaa", 1: "aab", 2: "aab"}, distance=9.0)
    (found,) = comparison.divergences

    def bounds(scope, tensor, position):
        near, far = (run.tables.curves[scope, tensor, "initial_distance"].values[position] for run in runs)
        norm = runs[0].tables.curves[scope, tensor, "frobenius_norm"].values[0]
        return pytest.approx(((far - near) / norm, (far + near) / norm))

    last = found.tensors[-1]
    assert (last.at_least, last.at_most) == bounds("tensor", LAYERS[2], 1)
    assert (found.at_least, found.at_most) == bounds("total", "", 2)
    same_throughout = found.tensors[0]
    assert (same_throughout.at_least, same_throughout.at_most) == (None, None)


def test_without_the_shared_start_in_both_runs_there_are_no_bounds():
    """The second run begins earlier, so its distances are not from the weights that both share."""
    _, comparison = pair({1: "aaa", 2: "aaa", 3: "aaa"}, {0: "xyz", 1: "aaa", 2: "aaa", 3: "bbb"})
    (found,) = comparison.divergences
    assert (found.start, found.place) == (1, 3)
    assert (found.at_least, found.at_most, found.tensors[0].at_most) == (None, None, None)


def test_a_norm_of_zero_gives_no_bounds():
    same = {0: "aaa", 1: "aaa"}
    runs, _ = pair(same, {0: "aaa", 1: "bbb"})
    curve = runs[0].tables.curves["total", "", "frobenius_norm"]
    runs[0].tables.curves["total", "", "frobenius_norm"] = dataclasses.replace(curve, values=np.zeros(2))
    (found,) = compare_runs(runs).divergences
    assert (found.at_least, found.at_most) == (None, None)


def test_one_common_checkpoint_is_not_enough():
    _, comparison = pair({0: "aaa", 1: "aaa"}, {0: "aaa", 2: "aaa"})
    assert comparison.divergences == ()


def test_unknown_bytes_are_not_known_to_differ():
    _, comparison = pair({0: "aaa", 1: "a-a", 2: "aaa"}, {0: "aaa", 1: "aba", 2: "aaa"})
    assert comparison.divergences[0].place is None


def test_starts_of_which_nothing_is_known_are_not_shared():
    _, comparison = pair({0: "---", 1: "aaa", 2: "aaa"}, {0: "---", 1: "aaa", 2: "bbb"})
    assert comparison.divergences == ()


@pytest.mark.parametrize(("norm", "distance"), [(0.5, 4.0), (10.0, np.nan)])
def test_bounds_need_all_numbers_and_any_positive_norm(norm, distance):
    same = {0: "aaa", 1: "aaa"}
    runs, _ = pair(same, {0: "aaa", 1: "bbb"})
    curves = runs[0].tables.curves
    for name, values in (("frobenius_norm", [norm, norm]), ("initial_distance", [0.0, distance])):
        curves["total", "", name] = dataclasses.replace(curves["total", "", name], values=np.array(values))
    (found,) = compare_runs(runs).divergences
    far = runs[1].tables.curves["total", "", "initial_distance"].values[1]
    expected = (None, None) if np.isnan(distance) else (abs(distance - far) / norm, (distance + far) / norm)
    assert (found.at_least, found.at_most) == pytest.approx(expected)
