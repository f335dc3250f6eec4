"""Checkpoints in each other's place, of another run, and weights that go back; silence where nothing is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from curve_tables import tables_of
from element_tables import tables_of_states

from analyzer.findings.order_of_weights import (
    exchanged_checkpoints,
    foreign_checkpoint,
    goes_back,
    misplaced_steps,
)
from analyzer.model.tables import Tables
from analyzer.model.trajectory import trajectory_of

K = 500
RULES = (exchanged_checkpoints, foreign_checkpoint, goes_back)


def learning(count=26, seed=0, drift=0.6, decay=0.97):
    """Weights (count, K) that move in steps with a common part, which get shorter, and overshoot now and then."""
    generator = np.random.default_rng(seed)
    ahead = generator.standard_normal(K)
    steps = drift * ahead + generator.standard_normal((count - 1, K))
    steps *= decay ** np.arange(count - 1)[:, None]
    return np.vstack((np.zeros(K), np.cumsum(steps, axis=0))) + 5 * generator.standard_normal(K)


def tables(weights, hidden=(), cosines=None, parts=()) -> Tables:
    """The tables of a run whose weights are known; steps in ``hidden`` are below the precision of storage."""
    n = len(weights)
    steps = np.diff(weights, axis=0)
    lengths = np.concatenate(([np.nan], np.linalg.norm(steps, axis=1)))
    if cosines is None:
        cosines = np.full(n, np.nan)
        with np.errstate(invalid="ignore"):
            cosines[2:] = np.sum(steps[1:] * steps[:-1], axis=1) / lengths[2:] / lengths[1:-1]
    curves = {("total", "", "step_distance"): lengths, ("tensor", "w", "update_cosine"): cosines}
    found = tables_of(curves, {"accuracy": np.zeros(n)})
    total = found.curves["total", "", "step_distance"]
    statuses = tuple("below_precision" if place in hidden else "ok" for place in range(n))
    sketches = [None, *enumerate(steps)]
    for place in parts:
        sketches[place] = None
    return replace(
        found,
        curves={**found.curves, ("total", "", "step_distance"): replace(total, statuses=statuses)},
        trajectory=trajectory_of(sketches, K),
    )


def told(of: Tables) -> list[tuple[str, tuple[str, ...]]]:
    return [(finding.rule, finding.checkpoints) for rule in RULES for finding in rule(of)]


def exchanged(weights, first, second):
    weights = weights.copy()
    weights[[first, second]] = weights[[second, first]]
    return weights


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("drift", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("decay", [1.0, 0.8, 0.5])
def test_a_run_in_right_order_is_silent(seed, drift, decay):
    assert told(tables(learning(25, seed, drift, decay))) == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("first", "second"), [(8, 14), (2, 20), (5, 7), (0, 9), (1, 24), (12, 25), (0, 25)])
def test_exchanged_checkpoints_are_the_right_pair(seed, first, second):
    of = tables(exchanged(learning(26, seed), first, second))
    assert told(of) == [("exchanged_checkpoints", (f"c{first}", f"c{second}"))]
    (finding,) = exchanged_checkpoints(of)
    assert finding.evidence["path_after_exchange"] < 0.75
    assert f"Epochs {first} and {second} are in each other's place" in finding.sentence
    assert {first, second} - {0} <= misplaced_steps(of)


@pytest.mark.parametrize("seed", range(5))
def test_weights_that_come_near_to_exchanged_ones_do_not_go_back(seed):
    of = tables(exchanged(learning(26, seed, decay=0.8), 12, 25))
    assert told(of) == [("exchanged_checkpoints", ("c12", "c25"))]


def test_exchanged_neighbors_of_a_straight_path_are_found():
    weights = exchanged(learning(26, 1, drift=5.0, decay=1.0), 10, 11)
    assert told(tables(weights)) == [("exchanged_checkpoints", ("c10", "c11"))]


@pytest.mark.parametrize("seed", range(5))
def test_neighbors_on_a_path_of_random_steps_could_be_in_either_order(seed):
    assert told(tables(exchanged(learning(26, seed, drift=0.0, decay=1.0), 10, 11))) == []


def test_two_exchanged_pairs_are_both_found_and_more_disorder_is_not_called_an_exchange():
    weights = exchanged(exchanged(learning(30, 2), 4, 9), 15, 22)
    assert told(tables(weights)) == [("exchanged_checkpoints", ("c4", "c9")), ("exchanged_checkpoints", ("c15", "c22"))]
    shuffled = np.random.default_rng(0).permutation(learning(30, 2))
    assert not list(exchanged_checkpoints(tables(shuffled)))


@pytest.mark.parametrize("position", [1, 2, 12, 23, 24])
def test_a_checkpoint_of_another_run(position):
    weights = learning(26, 3)
    weights[position] = learning(26, 99)[position]
    of = tables(weights)
    assert told(of) == [("foreign_checkpoint", (f"c{position}",))]
    assert misplaced_steps(of) == {position, position + 1}


def test_a_few_damaged_elements_are_not_another_run():
    weights = learning(26, 3)
    weights[12, 0] += 1e4
    cosines = np.full(26, 0.3)  # of the other tensors, which went on
    assert told(tables(weights, cosines=cosines)) == []


@pytest.mark.parametrize("to", [0, 5, 10])
def test_a_training_that_was_resumed_goes_back(to):
    weights = learning(21, 4, decay=1.0)
    generator = np.random.default_rng(5)
    resumed = weights[to] + np.cumsum(generator.standard_normal((15, K)), axis=0)
    of = tables(np.vstack((weights, resumed)))
    assert told(of) == [("goes_back", (f"c{to}", "c21"))]
    (finding,) = goes_back(of)
    assert f"The weights at epoch 21 go back to those of epoch {to}, " in finding.sentence
    assert "repeat" not in finding.sentence
    assert 21 in misplaced_steps(of)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("count", "to"), [(21, 16), (12, 7), (26, 22)])
def test_a_training_that_was_resumed_from_near_by_goes_back(count, to, seed):
    """Other batches take it about half as far from the older checkpoint as the way back is long."""
    weights = learning(count, seed, drift=0.3, decay=1.0)
    resumed = weights[to] + np.cumsum(1.2 * np.random.default_rng(seed + 9).standard_normal((6, K)), axis=0)
    assert told(tables(np.vstack((weights, resumed)))) == [("goes_back", (f"c{to}", f"c{count}"))]


def test_a_training_that_repeats_what_it_did_is_one_finding():
    weights = learning(21, 4, decay=1.0)
    noise = 0.01 * np.random.default_rng(6).standard_normal((15, K))
    (finding,) = goes_back(tables(np.vstack((weights, weights[6:21] + noise, weights[20] + learning(9, 7)))))
    assert finding.checkpoints == ("c6", "c21")
    repeated = "From there to epoch 35 they repeat those up to epoch 20."
    assert repeated in finding.sentence and "resumed from epoch 5 or epoch 6" in finding.sentence
    assert finding.evidence["repeated"] == 15


@pytest.mark.parametrize("period", [2, 3, 4])
def test_weights_that_swing_and_series_that_alternate_are_neither(period):
    corners = 10 * np.random.default_rng(8).standard_normal((period, K))
    noise = np.random.default_rng(9).standard_normal((24, K))
    assert told(tables(np.tile(corners, (24 // period, 1)) + noise)) == []


def wandering(seed, count=17):
    """Weights (count, K) that wander about one point, in few directions as where hardly more than a bias learns."""
    generator = np.random.default_rng(seed)
    return generator.standard_normal((count, 10)) @ generator.standard_normal((10, K))


def test_weights_that_wander_about_one_point_say_nothing_about_their_order():
    """Unless they must make progress, all but one of these are reported."""
    assert [seed for seed in range(20) if told(tables(wandering(seed)))] == []


@pytest.mark.parametrize("seed", range(3))
def test_a_way_back_from_wandering_weights_is_found_by_its_length(seed):
    way = learning(12, seed, drift=2.0, decay=1.0)
    rested = way[-1] + 0.03 * wandering(seed, 25)
    weights = np.vstack((way, rested, way[4] + 0.03 * wandering(seed + 9, 6)))
    assert ("goes_back", ("c4", "c37")) in told(tables(weights))


def test_weights_around_a_minimum_are_silent():
    """Converged: every checkpoint is another draw around the same point, after a long way."""
    way = learning(10, 10)
    around = way[-1] + 1e-3 * np.random.default_rng(11).standard_normal((20, K))
    assert told(tables(np.vstack((way, around)))) == []


@pytest.mark.parametrize("moving", [1, 2, 4])
def test_a_remnant_of_the_network_that_moves_does_not_tell_the_order(moving):
    """Of four tensors that moved at first, so many still do where two checkpoints were exchanged."""
    found = tables(exchanged(learning(), 8, 14))
    lengths = np.concatenate(([np.nan], np.ones(25)))
    dead = np.where(np.arange(26) > 5, 0.0, lengths)
    rows = {("tensor", f"w{n}", "step_distance"): lengths if n < moving else dead for n in range(4)}
    more = tables_of(rows, {"accuracy": np.zeros(26)})
    tensors = (*found.tensors, *more.tensors)
    assert (told(replace(found, tensors=tensors, curves={**found.curves, **more.curves})) != []) == (moving > 1)


def test_steps_that_rounding_may_have_made_prove_nothing():
    weights = learning(26, 3)
    weights[12] = learning(26, 99)[12]
    assert told(tables(weights, hidden=(12, 13))) == []
    assert told(tables(exchanged(learning(26, 0), 8, 14), hidden=range(26))) == []
    resumed = np.vstack((weights[:12], weights[2] + learning(14, 6) - learning(14, 6)[0]))
    assert told(tables(resumed, hidden=(12, 13))) == []


def test_after_a_far_excursion_the_rounding_of_sketches_proves_nothing():
    """The sketches of two steps of 10⁶ are stored to 100: what is added up from them is not known to be near."""
    weights = learning(26, 3)
    far = weights.copy()
    far[12:14] += 1e6
    found = tables(far).trajectory
    assert found.roundings[11, 14] > 100 * np.linalg.norm(weights[11] - weights[14])
    assert all(rule != "goes_back" or places[1] == "c14" for rule, places in told(tables(far)))


def test_copies_and_gaps_come_before():
    weights = learning(26, 3)
    weights[13] = weights[12]
    assert told(tables(weights)) == []
    exchanged_over_gap = tables(exchanged(learning(26, 0), 8, 14), parts=(11,))
    assert ("exchanged_checkpoints", ("c8", "c14")) not in told(exchanged_over_gap)


@pytest.mark.parametrize(("at", "of"), [(18, 2), (10, 7), (23, 20)])
def test_a_checkpoint_overwritten_by_an_older_one_is_no_other_run_and_no_exchange(at, of):
    weights = learning()
    weights[at] = weights[of]
    found = tables(weights)
    held = tables_of_states({"w": [str(of if place == at else place) for place in range(26)]})
    assert told(found) != []
    known = replace(found, source=held.source, elements=held.elements)
    assert told(known) == []
    assert {at, at + 1} <= misplaced_steps(known)


def test_the_step_out_of_a_copy_does_not_go_back():
    weights = learning(drift=5.0, decay=0.85)
    weights[11] = weights[8]
    held = tables_of_states({"w": [str(8 if place == 11 else place) for place in range(26)]})
    assert told(replace(tables(weights), source=held.source, elements=held.elements)) == []


def test_too_few_checkpoints_or_no_distances():
    assert told(tables(learning(4))) == []
    assert told(replace(tables(exchanged(learning(26, 0), 8, 14)), trajectory=trajectory_of((), 0))) == []
