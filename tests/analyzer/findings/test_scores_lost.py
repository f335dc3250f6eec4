"""A changed task, a collapse in noise, and values that no accuracy can have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted import checked, finding_of, tables_with

from analyzer.findings.overfitting import gap_between, overfitting
from analyzer.findings.overfitting import test_loss_rises as loss_rises
from analyzer.findings.scores_lost import impossible_accuracy, score_collapses, task_changes

N = 31
TIME = np.arange(N)
LEARNED = 97 * (1 - np.exp(-TIME / 2.0)) + 1


def found(scores, curves=None):
    """Return the findings of all rules about scores by rule."""
    tables = tables_with(curves or {}, scores)
    rules = (overfitting, loss_rises, task_changes, score_collapses, impossible_accuracy)
    return {one.rule: one for rule in rules for one in checked(list(rule(tables)))}


@pytest.mark.parametrize("scale", [1, 0.01])
@pytest.mark.parametrize("place", [8, 16, 25])
@pytest.mark.parametrize("train", ["holds", "restarts"])
def test_a_test_score_that_is_lost_at_once_beside_training_is_a_change_of_the_task(place, train, scale):
    trained = LEARNED.copy()
    if train == "restarts":
        trained[place:] = 98 - 40 * np.exp(-(TIME[place:] - place) / 1.5)
    scores = {"train_accuracy": scale * trained, "test_accuracy": scale * np.where(place > TIME, 0.98 * LEARNED, 0.5)}
    one = found(scores)
    assert one.keys() == {"task_changes"}
    assert one["task_changes"].evidence["since"] == f"c{place}" and one["task_changes"].severity == "warning"
    before = f"{0.98 * LEARNED[place - 1]:.1f} % at epoch {place - 1} to 0.5 % at epoch {place}"
    assert before in one["task_changes"].sentence and "This is no overfitting" in one["task_changes"].sentence


def test_a_task_that_is_forgotten_slowly_began_where_training_started_anew():
    test = np.where(TIME < 15, 0.98 * LEARNED, 95 * np.exp(-(TIME - 14) / 3.0))
    trained = np.where(TIME < 15, LEARNED, 98 - 40 * np.exp(-(TIME - 15) / 1.5))
    one = found({"train_accuracy": trained, "test_accuracy": test})
    assert one.keys() == {"task_changes"} and one["task_changes"].evidence["since"] == "c15"


@pytest.mark.parametrize(("end", "is_change"), [(9.5, False), (17.0, True)])
def test_a_training_score_that_is_lost_as_well_is_no_change_of_the_task(end, is_change):
    """At 9.5 it loses 9 points, too few for a collapse of its own."""
    low = np.minimum(TIME, 10) * 1.0 + 8
    test, trained = np.where(TIME < 16, low + 4, 11.0), np.where(TIME < 16, low + 0.5, end)
    assert ("task_changes" in found({"train_accuracy": trained, "test_accuracy": test})) == is_change


def starting_anew(place, test_end, train_end=97.0):
    """Scores of which the training accuracy falls by 26 points at a place, while the test accuracy falls slowly."""
    restarted = train_end - (train_end - 72) * np.exp(-(TIME - place) / 1.5)
    forgotten = test_end + (84 - test_end) * np.exp(-(TIME - place) / 4.0)
    return {
        "train_accuracy": np.where(place > TIME, LEARNED, restarted),
        "test_accuracy": np.where(place > TIME, 0.86 * LEARNED, forgotten),
    }


@pytest.mark.parametrize("place", [8, 16, 25])
@pytest.mark.parametrize("test_end", [40, 74])
def test_a_test_accuracy_that_falls_slowly_where_training_starts_anew_is_a_change_of_the_task(place, test_end):
    scores = starting_anew(place, test_end)
    one = found(scores)
    assert one.keys() == {"task_changes"} and one["task_changes"].evidence["since"] == f"c{place}"
    train = scores["train_accuracy"]
    words = f"while train accuracy fell from {train[place - 1]:.1f} % to 72.0 % there and is {train[-1]:.1f} %"
    assert words in one["task_changes"].sentence


@pytest.mark.parametrize(("test_end", "train_end"), [(83, 97), (74, 80)])
def test_a_training_accuracy_that_falls_at_once_is_no_new_task_if_both_recover_or_both_do_not(test_end, train_end):
    assert "task_changes" not in found(starting_anew(16, test_end, train_end))


def test_losses_tell_a_change_of_the_task_as_well():
    train = np.where(TIME == 16, 1.1, 2.3 * np.exp(-TIME / 4) + 0.03)
    test = np.where(TIME < 16, 2.3 * np.exp(-TIME / 4) + 0.08, 12.0)
    one = found({"train_loss": train, "test_loss": test})
    assert one.keys() == {"task_changes"} and one["task_changes"].evidence["since"] == "c16"


def test_a_long_step_of_the_weights_at_the_change_is_told():
    scores = {"train_accuracy": LEARNED, "test_accuracy": np.where(TIME < 16, LEARNED, 0)}
    tables = tables_with({"step_distance": np.where(TIME == 16, 35.0, 1.0)}, scores)
    curves = {("total", "", "step_distance"): tables.curves["tensor", "w", "step_distance"]}
    one = finding_of(task_changes, replace(tables, curves=curves))
    assert "The weights moved 35 times as far there as in the interval before." in one.sentence


def test_memorizing_wrong_labels_is_no_change_of_the_task():
    test = np.where(TIME < 6, 0.88 * LEARNED, 86 - 40 * (TIME - 5) / 25)
    one = found({"train_accuracy": LEARNED, "test_accuracy": test})
    assert one.keys() == {"overfitting"} and one["overfitting"].evidence["best"] == f"c{test.argmax()}"


@pytest.mark.parametrize("seed", range(10))
def test_a_noisy_accuracy_that_decays_has_collapsed(seed):
    generator = np.random.default_rng(seed)
    level = 65 * (1 - np.exp(-TIME / 2.0)) * np.where(TIME < 12, 1, 1 - 0.5 * (TIME - 11) / 19)
    scores = {
        f"{name}_accuracy": np.clip(level + ahead + 5 * generator.standard_normal(N), 0, 100)
        for name, ahead in (("test", 0), ("train", 3))
    }
    scores["test_accuracy"][-1] = 32.3
    one = found(scores)
    assert one.keys() == {"score_collapses"}
    best = int(np.argmax(scores["test_accuracy"]))
    words = f"Test accuracy fell from its best, {scores['test_accuracy'][best]:.1f} % at epoch {best}, to 32.3 %"
    assert words in one["score_collapses"].sentence


@pytest.mark.parametrize("dead", ["at the end", "from the start", "noisily"])
def test_a_loss_beyond_that_of_an_untrained_network_has_diverged(dead):
    loss = np.full(N, 2.3)
    loss[1:] = 977864 if dead == "from the start" else 2.4
    if dead == "noisily":
        loss[1::2], loss[2::2] = 5e4, 3.0
    loss[-1] = 977864
    scores = {"train_loss": loss, "test_loss": loss, "test_accuracy": np.full(N, 9.8)}
    one = found(scores)
    assert one.keys() == {"score_collapses"}
    assert "to 977864 at epoch 30" in one["score_collapses"].sentence


def test_a_test_loss_that_rises_alone_has_not_diverged():
    scores = {"train_loss": 2.3 * np.exp(-TIME / 3), "test_loss": 2.3 + TIME / 2.0}
    assert found(scores).keys() == {"test_loss_rises"}


@pytest.mark.parametrize(
    ("name", "values", "places", "range_"),
    [
        ("test_accuracy", {5: -0.2}, ["c5"], "0 to 1"),
        ("train_accuracy", {0: 1.3, 9: 40.0}, ["c0", "c9"], "0 to 1"),
        ("val_acc", {3: 140.0}, ["c3"], "0 to 100"),
    ],
)
def test_an_impossible_accuracy_is_named_and_left_out_of_the_other_rules(name, values, places, range_):
    scale = 1 if range_ == "0 to 100" else 0.01
    train, test = ("train_acc", "val_acc") if name == "val_acc" else ("train_accuracy", "test_accuracy")
    scores = {train: scale * LEARNED, test: scale * 0.7 * LEARNED}
    for place, value in values.items():
        scores[name] = np.where(place == TIME, value, scores[name])
    one = found(scores)
    assert one.keys() == {"impossible_accuracy", "overfitting"}
    assert list(one["impossible_accuracy"].evidence["values"]) == places
    assert one["impossible_accuracy"].severity == "warning"
    first = f"{next(iter(values.values())):g}".replace("-", "−")
    known = f" is outside {range_} in {len(values)} of {N} values, first {first} at"
    assert known in one["impossible_accuracy"].sentence


@pytest.mark.parametrize(("value", "scale"), [(-0.0002, 0.01), (1.004, 0.01), (100.4, 1)])
def test_an_accuracy_hardly_beyond_its_range_is_information(value, scale):
    scores = {"train_accuracy": scale * LEARNED, "test_accuracy": np.where(TIME == 4, value, scale * 0.97 * LEARNED)}
    one = found(scores)["impossible_accuracy"]
    assert one.severity == "info" and " is slightly outside 0 to " in one.sentence and "Rounding" in one.sentence


def test_other_scores_are_no_impossible_accuracies():
    assert found({"test_f1": np.full(N, -3.0), "test_loss": np.full(N, -2.0)}) == {}
    assert gap_between(tables_with({}, {"test_f1": np.full(N, 3.0)})) is None
