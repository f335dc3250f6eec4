"""Overfitting: gaps between accuracies, falling accuracies, rising losses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import full_count
from planted import (
    EPOCHS,
    FALLING_LOSS,
    LEARNED,
    STEADY,
    TIME,
    alarming,
    finding_of,
    found_in,
    found_with,
    given_scores,
    only,
    tables_with,
    walk,
)

from analyzer.findings import find
from analyzer.findings.overfitting import condition_beside_overfitting, gap_between, overfitting
from analyzer.findings.overfitting import test_loss_rises as loss_rises


@pytest.mark.parametrize("scale", [1, 100])
@pytest.mark.parametrize(("gap", "severity"), [(0.04, None), (0.07, "notice"), (0.2, "warning")])
def test_overfitting_by_its_gap_in_shares_and_in_per_cent(tmp_path, gap, severity, scale):
    ahead = 0.75 * LEARNED + gap / (1 + np.exp((15 - TIME) / 2))
    findings = found_with(tmp_path, STEADY, test_accuracy=scale * 0.75 * LEARNED, train_accuracy=scale * ahead)
    rules = [one for one in findings if one.rule == "overfitting"]
    assert [one.severity for one in rules] == ([severity] if severity else [])
    for one in rules:
        assert one.evidence["gap_points"] == pytest.approx(100 * gap, abs=0.1)
        since = int(one.evidence["since"].split("_")[1].split(".")[0])
        assert gap / (1 + np.exp((15 - since) / 2)) >= 0.05 > gap / (1 + np.exp((17 - since) / 2))
        assert f"since epoch {since}" in one.sentence


def test_a_falling_test_accuracy_and_the_place_to_stop(tmp_path):
    test = np.where(TIME < 15, LEARNED, LEARNED[15] - 0.003 * (TIME - 15))
    loss = np.where(TIME < 15, FALLING_LOSS + 0.3, FALLING_LOSS[15] + 0.3 + 0.01 * (TIME - 15))
    one = only(found_with(tmp_path, STEADY, test_accuracy=test, test_loss=loss), "overfitting")
    assert one.severity == "warning" and one.evidence["fall_points"] == pytest.approx(100 * (test.max() - test[-1]))
    assert one.evidence["best"] == "epoch_15.safetensors"
    assert "test accuracy was best at epoch 15 (99.4 %) and is 92.2 % at epoch 39; test loss was" in one.sentence
    assert one.sentence.endswith("Use the weights from near epoch 15, or stop there.")


def test_a_constant_gap_is_no_overfitting(tmp_path):
    high, low = np.full(EPOCHS, 0.9), np.full(EPOCHS, 0.7)
    assert alarming(found_with(tmp_path, STEADY, train_accuracy=high, test_accuracy=low)) == []


@pytest.mark.parametrize("seed", range(full_count(40, 6)))
def test_a_noisy_accuracy_does_not_fall(tmp_path, seed):
    """As on a test set of a hundred images: the best of forty checkpoints is better than the last by chance."""
    noisy = np.minimum(LEARNED * 0.9 + 0.04 * np.random.default_rng(seed).standard_normal(EPOCHS), 1)
    given = given_scores(train_accuracy=LEARNED * 0.93, test_accuracy=noisy)
    assert alarming(found_in(tmp_path, walk(STEADY), ("size",), given)) == []


def test_a_rising_test_loss_alone_is_a_notice(tmp_path):
    loss = FALLING_LOSS + 0.2 + np.where(TIME > 20, 0.01 * (TIME - 20), 0)
    one = only(found_with(tmp_path, STEADY, test_loss=loss), "test_loss_rises")
    assert one.severity == "notice" and one.evidence["least"] == pytest.approx(loss.min())
    assert one.checkpoints[0] == f"epoch_{loss.argmin()}.safetensors"


def test_rising_condition_numbers_are_said_as_association_and_only_beside_overfitting(tmp_path):
    states = walk(STEADY)
    for epoch, weights in enumerate(states):
        left, sizes, right = np.linalg.svd(weights["fc1.weight"], full_matrices=False)
        sizes[0] *= 1 + 0.1 * epoch
        weights["fc1.weight"] = (left * sizes @ right).astype(np.float32)
    behind = LEARNED - 0.2 / (1 + np.exp((15 - TIME) / 2))
    heart = given_scores(train_accuracy=LEARNED, test_accuracy=behind)
    one = only(found_in(tmp_path / "a", states, scores=heart), "condition_beside_overfitting")
    assert one.tensor == "fc1.weight" and one.figure == "condition_number"
    assert "does not show that one causes the other" in one.sentence and "in 1 of 3 layers" in one.sentence
    calm = given_scores(train_accuracy=LEARNED, test_accuracy=LEARNED)
    assert "condition_beside_overfitting" not in {other.rule for other in found_in(tmp_path / "b", states, scores=calm)}


# ------------------------------------------------------------------------------------------------- edges of rules


def accuracies(ahead, test=None):
    """Return tables of a training accuracy that is ahead by these points of a test accuracy, which is steady at 60."""
    test = np.full(len(ahead), 60.0) if test is None else np.array(test, float)
    return tables_with({}, {"test_accuracy": test, "train_accuracy": test + np.array(ahead)})


@pytest.mark.parametrize(
    ("ahead", "severity"),
    [
        ([0, 0, 0, 5, 5, 5], "notice"),
        ([0, 0, 0, 4.9, 4.9, 4.9], None),
        ([0.1, 0.1, 0.1, 5, 5, 5], None),  # grown by 4.9
        ([1, 1, 1, 6, 6, 6], "notice"),
        ([0, 0, 5, 5, 5], None),  # five checkpoints
        ([0, 0, 0, 15, 15, 15], "warning"),
        ([0, 0, 0, 14.9, 14.9, 14.9], "notice"),
        ([0, 15, 15, 15, 15, 15], "warning"),  # it opened before the second checkpoint
    ],
)
def test_a_gap_is_five_points_and_fifteen_are_a_warning(ahead, severity):
    one = finding_of(overfitting, accuracies(ahead))
    assert (one.severity if one else None) == severity
    since = int(np.argmax(np.array(ahead) >= 5))
    assert one is None or one.checkpoints == (f"c{since}", "c5")


def test_a_gap_begins_at_the_first_checkpoint_after_the_last_close_one():
    assert finding_of(overfitting, accuracies([0, 0, 0, 4.9, 5, 7, 7, 7])).evidence["since"] == "c4"
    assert finding_of(overfitting, accuracies([0, 0, 0, 5, 5, 7, 7, 7])).evidence["since"] == "c3"


def test_a_gap_must_exceed_the_scatter_of_the_test_accuracy():
    scatter = 1.5 * 2 * 1.4826 / np.sqrt(2)  # of a test accuracy that swings by two points
    test = 60.0 + 2 * (np.arange(12) % 2)
    for above, reported in ((0.05, True), (-0.05, False)):
        ahead = np.where(np.arange(12) > 5, 5 + scatter + above, 0)
        assert (gap_between(accuracies(ahead, test)) is not None) == reported


def fallen(points, *, train=80.0, scatter=0.0):
    """Return the gap of a test accuracy that falls from 80, while the training accuracy goes from 79 to ``train``."""
    test = np.append(80.0 - scatter * (np.arange(9) % 2), [80.0 - points] * 3)
    given = {"test_accuracy": test, "train_accuracy": np.append(np.full(9, 79.0), [train] * 3)}
    return gap_between(tables_with({}, given))


def test_a_test_accuracy_falls_by_three_points_while_the_training_accuracy_rises():
    assert fallen(3.0).fall == 3 and fallen(3.0).best == 0
    assert fallen(2.99) is None
    assert fallen(3.0, train=79.0) is None
    assert fallen(3.0, train=79.1) is not None


def test_a_fall_must_exceed_four_times_the_scatter():
    scatter = 4 * 1.4826 / np.sqrt(2)  # of a test accuracy that swings by one point
    assert fallen(scatter + 0.1, scatter=1.0) is not None
    assert fallen(scatter - 0.1, scatter=1.0) is None


def loss_rise(test, train=None):
    """Return what is found of these losses alone."""
    return finding_of(loss_rises, tables_with({}, {"test_loss": test} | ({"train_loss": train} if train else {})))


@pytest.mark.parametrize(
    ("losses", "reported"),
    [
        ([4, 3, 2, 2.3, 2.3, 2.3], True),  # exactly 15 %
        ([4, 3, 2, 2.299, 2.299, 2.299], False),
        ([4, 3, 3, 2, 2.3, 2.3], False),  # two checkpoints after the lowest
        ([3, 2, 2.3, 2.3, 2.3], False),  # five checkpoints
        ([4, 3, 0, 1, 1, 1], False),
    ],
)
def test_a_test_loss_rises_by_15_percent_over_three_checkpoints(losses, reported):
    assert (loss_rise(losses) is not None) == reported


@pytest.mark.parametrize(("last", "reported"), [(0.9, True), (1.0, False)])
def test_a_test_loss_rises_alone_only_while_the_training_loss_falls(last, reported):
    assert (loss_rise([4, 3, 2, 2.4, 2.4, 2.4], [3, 2, 1, last, last, last]) is not None) == reported


@pytest.mark.parametrize(("after", "count", "reported"), [(125, 6, True), (124.9, 6, False), (125, 5, False)])
def test_a_condition_number_rises_by_a_quarter_over_six_checkpoints_of_overfitting(after, count, reported):
    ahead = [0, 0, *[20] * count]
    kappa = [100] * 5 + [after] * (count - 3)
    tables = accuracies(ahead)
    tables = replace(tables_with({"condition_number": kappa}), scalars=tables.scalars)
    assert gap_between(tables).onset == 2
    assert (finding_of(condition_beside_overfitting, tables) is not None) == reported


# --------------------------------------------------------------------------------- places and values are the true ones


def test_a_network_that_memorized_by_the_second_checkpoint_is_overfitting():
    train, test = [10.0, *[100.0] * 20], [10.0, *[50.0] * 20]
    one = finding_of(overfitting, tables_with({}, {"train_accuracy": train, "test_accuracy": test}))
    assert (one.severity, one.evidence["since"], one.evidence["gap_points"]) == ("warning", "c1", 50)
    assert "at epoch 20, train accuracy is 100.0 % and test accuracy 50.0 %, 50.0 points less" in one.sentence
    assert "has been behind by 5 points or more since epoch 1" in one.sentence


def test_a_learned_training_set_far_ahead_from_the_first_checkpoint_on_is_overfitting():
    for level, reported in ((99.0, True), (98.9, False)):
        given = {"train_accuracy": [level] * 9, "test_accuracy": [level - 20] * 9}
        assert (finding_of(overfitting, tables_with({}, given)) is not None) == reported


def test_a_test_accuracy_at_chance_beside_a_learned_training_set_was_memorized():
    scores = {
        "train_accuracy": [3.4, *[100.0] * 30],
        "test_accuracy": [3.8, *[0.0] * 20, *[0.4] * 10],
        "train_loss": [3.16, *np.geomspace(0.08, 0.003, 30)],
        "test_loss": [3.16, *np.linspace(9, 6, 30)],
    }
    findings = [one for one in find(tables_with({}, scores)) if one.rule != "no_scores"]
    (one,) = findings
    assert (one.rule, one.severity) == ("overfitting", "warning")
    assert "test accuracy was never above 3.8 %" in one.sentence and "99.6 points less" in one.sentence


@pytest.mark.parametrize("seed", range(5))
def test_best_and_last_are_single_checkpoints_and_no_medians(seed):
    generator = np.random.default_rng(seed)
    test = np.where(TIME < 8, 90 * LEARNED, 88 - 25 * (TIME - 8) / 31) + generator.standard_normal(EPOCHS)
    train = 100 - 90 * np.exp(-TIME / 8)
    one = finding_of(overfitting, tables_with({}, {"train_accuracy": train, "test_accuracy": test}))
    best, last = int(np.argmax(test)), EPOCHS - 1
    assert f"was best at epoch {best} ({test[best]:.1f} %) and is {test[last]:.1f} % at epoch {last}" in one.sentence
    close = np.flatnonzero(train - test < 5)
    assert one.evidence["since"] == f"c{close[-1] + 1}" and f"or more since epoch {close[-1] + 1}" in one.sentence
    assert one.evidence["gap_points"] == pytest.approx(train[last] - test[last])


def test_where_the_last_checkpoint_is_close_the_gap_has_an_end():
    train = np.append(np.linspace(50, 100, 11), [100.0] * 9)
    test = np.append(np.linspace(50, 80, 11), [80.0] * 9)
    test[-1] = 97
    one = finding_of(overfitting, tables_with({}, {"train_accuracy": train, "test_accuracy": test}))
    assert "at epoch 18, train accuracy is 100.0 % and test accuracy 80.0 %" in one.sentence
    assert "it was behind by 5 points or more from epoch 3 to 18" in one.sentence


@pytest.mark.parametrize("phase", np.linspace(0, 1, 8, endpoint=False))
def test_a_loss_that_follows_a_cyclic_schedule_does_not_rise(phase):
    cycle = 0.3 * (1 + np.cos(2 * np.pi * (TIME / 8 + phase)))
    loss = 1.2 * np.exp(-TIME / 10) + 0.6 + cycle
    assert finding_of(loss_rises, tables_with({}, {"test_loss": loss})) is None
    rising = np.where(TIME < 20, loss, loss + 0.12 * (TIME - 19))
    assert finding_of(loss_rises, tables_with({}, {"test_loss": rising})) is not None


def test_the_place_to_stop_is_named_only_if_the_accuracy_fell():
    given = {"train_accuracy": 100 * LEARNED, "test_accuracy": 60 * LEARNED + 0.01 * TIME}
    loss = 1 + np.abs(TIME - 6) / 10
    one = finding_of(overfitting, tables_with({}, given | {"test_loss": loss, "train_loss": 1 / (1 + TIME)}))
    assert "test loss was lowest at epoch 6 (1) and is 4.3 at epoch 39" in one.sentence and "Use" not in one.sentence
