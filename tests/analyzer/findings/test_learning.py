"""Weights at rest, and networks that learn nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from curve_tables import tables_of
from planted import (
    DECAYING,
    EPOCHS,
    LEARNED,
    STEADY,
    TIME,
    alarming,
    finding_of,
    found_with,
    only,
    tables_with,
)

from analyzer.findings.learning import nothing_learned, training_at_rest


def test_weights_at_rest_with_a_learned_network_are_only_information(tmp_path):
    findings = found_with(tmp_path, DECAYING)
    one = only(findings, "training_at_rest")
    assert one.severity == "info" and one.checkpoints[1] == "epoch_39.safetensors"
    start = int(one.checkpoints[0].split("_")[1].split(".")[0])
    assert 10 <= start <= 14  # when 0.97 * 0.9 * exp(-t/3) is down to one point
    assert f"from epoch {start} to 39" in one.sentence and "peak at epoch 1, while test accuracy" in one.sentence
    assert alarming(findings) == []


def test_weights_at_rest_before_all_is_learned_deserve_a_notice(tmp_path):
    one = only(
        found_with(tmp_path, DECAYING, train_accuracy=LEARNED * 0.6, test_accuracy=LEARNED * 0.6), "training_at_rest"
    )
    assert one.severity == "notice" and "At a training accuracy of about 60.0 %, either" in one.sentence
    assert "the schedule has ended or" in one.sentence


@pytest.mark.parametrize(
    ("rates", "accuracy"),
    [(STEADY, LEARNED), (DECAYING, np.linspace(0.1, 0.9, EPOCHS)), (DECAYING, np.full(EPOCHS, np.nan))],
    ids=["still moving", "still learning", "no accuracy"],
)
def test_who_moves_or_learns_is_not_at_rest(tmp_path, rates, accuracy):
    findings = found_with(
        tmp_path, rates, test_accuracy=accuracy, train_accuracy=accuracy, test_loss=np.full(EPOCHS, np.nan)
    )
    assert "training_at_rest" not in {one.rule for one in findings}


def test_nothing_learned(tmp_path):
    chance = 0.1 + 0.01 * np.sin(TIME)
    flat = np.full(EPOCHS, 2.303) + 0.001 * np.cos(TIME)
    one = only(
        found_with(tmp_path, STEADY, test_accuracy=chance, train_accuracy=chance, test_loss=flat, train_loss=flat),
        "nothing_learned",
    )
    assert one.severity == "warning" and "10.0 % at first and 11.0 % at best" in one.sentence


def test_an_evaluation_accuracy_alone_is_enough_to_see_rest(tmp_path):
    absent = np.full(EPOCHS, np.nan)
    findings = found_with(tmp_path, DECAYING, train_accuracy=absent, train_loss=absent)
    assert "Either everything is learned" in only(findings, "training_at_rest").sentence


# ------------------------------------------------------------------------------------------------- edges of rules


@pytest.mark.parametrize(
    ("accuracy", "loss", "count", "reported"),
    [
        (14.99, 2.0, 6, True),
        (15.0, 2.0, 6, False),  # five points
        (12.9, 1.941, 6, True),
        (12.9, 1.94, 6, False),  # 3 % of the loss
        (12.9, 2.0, 5, False),  # five checkpoints
        (12.9, -1.0, 6, False),
    ],
)
def test_nothing_is_learned_below_five_points_and_three_percent(accuracy, loss, count, reported):
    given = {"test_accuracy": [10.0] * (count - 2) + [accuracy] * 2, "test_loss": [2.0] * (count - 1) + [loss]}
    assert (finding_of(nothing_learned, tables_with({}, given)) is not None) == reported


def test_losses_that_are_not_positive_are_not_judged():
    given = {"test_accuracy": [10.0] * 6, "test_loss": [0.0] * 6}
    assert finding_of(nothing_learned, tables_with({}, given)) is None


def rest(rates, scores):
    """Return what is found of weights that move at these rates from epoch 1 on."""
    tables = tables_with({}, scores)
    curve = tables_of({("total", "", "relative_step_distance"): [0, *rates]}, scores)
    return finding_of(training_at_rest, replace(tables, curves=curve.curves))


@pytest.mark.parametrize(
    ("calm", "intervals", "change", "reported"),
    [
        (1.0, 5, 1.0, True),
        (1.01, 5, 1.0, False),  # not quite twenty times slower
        (1.0, 4, 1.0, False),  # four intervals
        (1.0, 5, 1.01, False),  # more than a point
    ],
)
def test_weights_rest_if_they_are_20_times_slower_for_5_intervals_within_a_point(calm, intervals, change, reported):
    accuracy = [10.0] + [90.0] * intervals + [90.0 + change]
    assert (rest([20.0] + [calm] * intervals, {"test_accuracy": accuracy}) is not None) == reported


@pytest.mark.parametrize(("intervals", "reported"), [(50, True), (49, False)])
def test_weights_rest_for_a_fifth_of_the_run(intervals, reported):
    rates = [20.0] * (249 - intervals) + [1.0] * intervals  # 250 checkpoints
    assert (rest(rates, {"test_accuracy": [10.0] * 5 + [90.0] * 245}) is not None) == reported


@pytest.mark.parametrize(("change", "reported"), [(1.0, True), (1.01, False)])
def test_weights_rest_if_the_loss_stays_within_two_percent(change, reported):
    loss = [90.0] + [50.0] * 5 + [50.0 + change]
    assert (rest([20.0] + [1.0] * 5, {"test_loss": loss}) is not None) == reported


@pytest.mark.parametrize(
    ("level", "severity", "words"),
    [
        (99.0, "info", "The training data is learned (about 99.0 % correct)"),
        (98.9, "notice", "At a training accuracy of about 98.9 %"),
        (None, "info", "Either everything is learned"),
    ],
)
def test_rest_deserves_a_notice_below_99_percent(level, severity, words):
    given = {"test_accuracy": [10.0] + [80.0] * 6} | ({"train_accuracy": [level] * 7} if level else {})
    one = rest([20.0] + [1.0] * 5, given)
    assert one.severity == severity and words in one.sentence


@pytest.mark.parametrize("accuracy", [[10, np.nan, np.nan, np.nan, np.nan, 80, 80], [10, 80, 80, 80, 80, np.nan, 80]])
def test_a_score_may_be_missing_at_some_checkpoints(accuracy):
    assert rest([20.0] + [1.0] * 5, {"test_accuracy": accuracy}) is not None


def test_a_score_that_is_known_once_is_not_flat():
    assert rest([20.0] + [1.0] * 5, {"test_accuracy": [10] + [np.nan] * 5 + [80]}) is None


def test_weights_that_stop_altogether_are_infinitely_slower():
    one = rest([20.0] + [0.0] * 5, {"test_accuracy": [10.0] + [80.0] * 6})
    assert "infinitely less than at the peak at epoch 1" in one.sentence


def nothing(moved=None, **scores):
    """Return what is found of scores at chance, with weights that went this share of their norm."""
    given = {"test_accuracy": [10.0] * 8, "test_loss": [2.3] * 8} | scores
    tables = tables_with({}, given)
    if moved is None:
        return finding_of(nothing_learned, tables)
    curves = {("total", "", "initial_distance"): np.linspace(0, 4 * moved, 8), ("total", "", "frobenius_norm"): [4] * 8}
    return finding_of(nothing_learned, replace(tables, curves=tables_of(curves, given).curves))


@pytest.mark.parametrize(
    ("moved", "advice"),
    [
        (None, "Possible causes are the learning rate, the initialization"),
        (0.0, "nothing was trained or the wrong weights were saved"),
        (1.6e-6, "0.00016 % of their norm in the whole run: the learning rate is far too low, so raise it"),
        (0.99e-3, "so raise it"),
        (1.01e-3, "Possible causes are the learning rate, the initialization"),
        (0.49, "Possible causes are the learning rate, the initialization"),
        (0.51, "Possible causes are a learning rate that is too high"),
    ],
)
def test_how_far_the_weights_went_tells_how_to_change_the_learning_rate(moved, advice):
    sentence = nothing(moved).sentence
    assert advice in sentence and ("too high" in sentence) == (moved == 0.51)


@pytest.mark.parametrize(
    "scores",
    [
        {"train_accuracy": [10.0, *[100.0] * 7]},
        {"train_loss": [2.3, *[0.1] * 7]},
        {"test_loss": [2.3, *[1e5] * 7], "train_loss": [2.3, *[1e5] * 7]},
    ],
    ids=["memorized", "loss alone", "diverged"],
)
def test_who_memorized_or_diverged_did_not_learn_nothing(scores):
    assert nothing(**scores) is None and nothing() is not None


def test_a_training_loss_that_blew_up_in_the_first_epoch_was_not_learned():
    assert nothing(train_loss=[np.nan, 1.7e7, *[2.3] * 6]) is not None
    assert nothing(train_loss=[np.nan, 1.7e7, *[1.1] * 6]) is None  # lower than the test loss ever was
    assert nothing(train_loss=[1.7e7, *[2.3] * 7]) is None  # it was so bad at first


def test_a_step_that_towers_above_its_neighbors_is_no_peak():
    rates = [20.0, 15, 12, 10, 300, 300, 8, 5, 2, *[0.5] * 9]
    one = rest(rates, {"test_accuracy": [10.0, *[80.0] * 18]})
    assert "40 times less than at the peak at epoch 1," in one.sentence


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_widening_intervals_are_no_rest(exponent):
    lengths = 2.0 ** np.arange(12)
    scores = {"test_accuracy": [10.0, *[80.0] * 12]}
    tables = tables_with({}, scores)
    curve = tables_of({("total", "", "relative_step_distance"): [0, *lengths**exponent]}, scores)
    axis = np.append(0, np.cumsum(lengths))
    assert finding_of(training_at_rest, replace(tables, curves=curve.curves, axis=axis)) is None
