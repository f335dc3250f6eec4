"""Checkpoints of the same weights: copies, a standstill, and what NaN makes alike."""

from __future__ import annotations

import numpy as np
import pytest
from element_tables import NAN, tables_of_states
from planted import checked

from analyzer.findings import find_in_files

N = 20
SCORE = 0.9 - 0.8 * 0.7 ** np.arange(N)


def words(*same: range) -> list[str]:
    """Return one word per checkpoint, the same one in each of the given ranges."""
    found = [f"state {at}" for at in range(N)]
    for places in same:
        for at in places:
            found[at] = found[places[0]]
    return found


def held(states, scores=None):
    """Return the scores as they are read again from checkpoints of the same weights."""
    values = SCORE if scores is None else scores
    first = [states.index(word) for word in states]
    return values[first]


def rules_of(states, scores, **tensors):
    """Return the findings by rule, without those about the lack of scores."""
    tables = tables_of_states({"w": states, "v": states, **tensors}, scores)
    return {one.rule: one for one in checked(find_in_files(tables)) if one.rule != "no_scores"}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("since", [4, 10, 17])
def test_weights_that_stay_the_same_to_the_end_are_a_standstill_and_no_copies(since, known):
    states = words(range(since - 1, N))
    found = rules_of(states, {"test_accuracy": held(states)} if known else None)
    assert found.keys() == {"weights_stand_still"}
    one = found["weights_stand_still"]
    assert one.severity == "warning" and one.evidence["since"] == f"c{since}"
    assert one.sentence.startswith(f"Nothing was learned any more from epoch {since} on: ")
    assert one.sentence.index("learning rate of 0") < one.sentence.index("copies")


@pytest.mark.parametrize("name", ["test_accuracy", "val_loss"])
def test_scores_that_change_show_that_equal_files_up_to_the_end_are_copies(name):
    one = rules_of(words(range(14, N)), {name: SCORE})["same_weights"]
    assert one.severity == "serious" and f"{name.replace('_', ' ').capitalize()} differs between them" in one.sentence
    assert one.evidence["score_that_differs"] == name


def test_a_score_that_is_evaluated_again_differs_by_less_than_a_thousandth():
    states = words(range(10, N))
    for size, rule in ((0.9e-3, "weights_stand_still"), (1.1e-3, "same_weights")):
        assert rules_of(states, {"test_loss": np.where(np.arange(N) == 15, 1 - size, 1)}).keys() == {rule}


def test_a_training_score_that_changes_says_nothing_about_copies():
    assert rules_of(words(range(10, N)), {"train_accuracy": SCORE}).keys() == {"weights_stand_still"}


@pytest.mark.parametrize("differ", [True, False])
@pytest.mark.parametrize(("first", "count"), [(13, 2), (13, 3), (2, 3), (0, 2)])
def test_an_epoch_that_was_written_again_before_training_went_on_is_a_copy(first, count, differ):
    states = words(range(first, first + count))
    found = rules_of(states, {"test_accuracy": SCORE if differ else held(states)})
    assert found.keys() == {"same_weights"}
    one = found["same_weights"]
    assert one.severity == "serious" and one.checkpoints == tuple(f"c{at}" for at in range(first, first + count))
    assert ("so training went on" in one.sentence) == (differ and np.ptp(SCORE[first : first + count]) > 1e-3)
    assert "learning rate" not in one.sentence


def test_a_long_pause_before_training_went_on_may_be_a_learning_rate_of_0():
    for count, named in ((3, False), (4, True)):
        states = words(range(8, 8 + count))
        one = rules_of(states, {"test_accuracy": held(states)})["same_weights"]
        assert ("as with a learning rate of 0" in one.sentence) == named


def test_two_equal_checkpoints_at_the_end_are_one_that_was_saved_twice():
    assert rules_of(words(range(18, N)), None).keys() == {"same_weights"}


@pytest.mark.parametrize("changes", [True, False])
def test_all_checkpoints_alike_are_a_run_that_was_never_trained_or_saved(changes):
    found = rules_of(words(range(N)), {"test_accuracy": SCORE if changes else np.full(N, 0.1)})
    assert found.keys() == {"weights_stand_still"}
    one = found["weights_stand_still"]
    assert one.severity == "serious" and one.sentence.startswith("All 20 checkpoints contain exactly the same weights")
    assert ("not those that were saved" in one.sentence) == changes
    assert ("left out of the optimizer" in one.sentence) != changes


@pytest.mark.parametrize("rest", ["still", "moving"])
def test_nan_up_to_the_end_is_neither_a_copy_nor_frozen(rest):
    """As with a gradient scaler, which skips every step once the loss is NaN: the finite tensors stay as they are."""
    lost = [*words()[:6], *[NAN] * (N - 6)]
    still = words(range(5, N)) if rest == "still" else words()
    found = rules_of(lost, {"test_accuracy": SCORE}, bias=still)
    assert found.keys() == {"nonfinite_weights"}


def test_one_checkpoint_with_nan_hides_no_frozen_tensor():
    states = words()
    states[7] = NAN
    found = rules_of(states, {"test_accuracy": SCORE}, frozen=words(range(N)))
    assert found.keys() == {"nonfinite_weights", "frozen_tensors"}
    assert "from epoch 0 to 19, the whole run" in found["frozen_tensors"].sentence


@pytest.mark.parametrize(
    ("first", "last", "cause"),
    [
        (9, N, "a schedule that ended, a learning rate of 0, or a gradient that became exactly zero"),
        (0, N, "a learning rate of 0, or parameters left out of the optimizer"),
        (5, 9, "a learning rate of 0 for that time, or part of a checkpoint was saved twice"),
    ],
)
def test_parameters_that_all_stay_while_buffers_move_are_not_frozen_on_purpose(first, last, cause):
    states = words(range(first, last))
    tables = tables_of_states({"w": states, "v": states, "mean": words()}, None, {"mean": "buffer"})
    one = next(one for one in checked(find_in_files(tables)) if one.rule == "frozen_tensors")
    assert cause in one.sentence and "on purpose" not in one.sentence


def test_one_layer_that_stays_may_be_frozen_on_purpose():
    one = rules_of(words(), None, frozen=words(range(9, N)))["frozen_tensors"]
    assert "frozen did not change by a single bit from epoch 9 to 19: frozen on purpose, or" in one.sentence
