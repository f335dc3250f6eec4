"""Scores that collapse."""

from __future__ import annotations

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
    found_with,
    only,
    tables_with,
)

from analyzer.findings.collapse import collapse_of
from analyzer.findings.score_choice import Score
from analyzer.findings.scores_lost import score_collapses

AFTER_25 = TIME >= 25


@pytest.mark.parametrize("known", ["both", "test", "train"])
def test_an_accuracy_that_collapses_is_told_with_its_levels_and_places(tmp_path, known):
    absent = np.full(EPOCHS, np.nan)
    test, train = (np.where(AFTER_25, 0.22, level * LEARNED) for level in (0.97, 1.0))
    test, train = (absent if known == "train" else test), (absent if known == "test" else train)
    loss = np.where(AFTER_25, 2.0, FALLING_LOSS)
    findings = found_with(tmp_path, STEADY, test_accuracy=test, train_accuracy=train, test_loss=loss, train_loss=absent)
    one = only(findings, "score_collapses")
    assert (one.severity, one.figure) == ("warning", "accuracy")
    assert one.checkpoints == tuple(f"epoch_{epoch}.safetensors" for epoch in (24, 25, 39))
    name, best = ("train", "100.0") if known == "train" else ("test", "97.0")
    assert one.sentence.startswith(
        f"{name.capitalize()} accuracy fell from its best, {best} % at epoch 24, to 22.0 % at epoch 39, "
    )
    assert (
        "lower by a third or more since epoch 25" in one.sentence
        and "before the collapse is that of epoch 24." in one.sentence
    )
    assert ("so did train accuracy, from 100.0 % to 22.0 %" in one.sentence) == (known == "both")
    assert alarming(findings) == ["score_collapses"]  # nor is it an early form of overfitting


def test_a_collapse_at_the_last_checkpoint_is_told_and_one_that_passed_is_not(tmp_path):
    last, passed = (np.where(epoch == TIME, 0.1, LEARNED) for epoch in (EPOCHS - 1, 20))
    one = only(found_with(tmp_path / "last", STEADY, train_accuracy=last, test_accuracy=last), "score_collapses")
    assert "to 10.0 % at epoch 39; so did" in one.sentence
    findings = found_with(tmp_path / "passed", STEADY, train_accuracy=passed, test_accuracy=passed)
    assert alarming(findings) == []


def test_losses_that_jump_and_stay_are_a_collapse_too(tmp_path):
    losses = {name: np.where(AFTER_25, 10, 1) * (FALLING_LOSS[24] + 0.01 * np.cos(TIME)) for name in ("test", "train")}
    findings = found_with(tmp_path, STEADY, test_loss=losses["test"], train_loss=losses["train"])
    one = only(findings, "score_collapses")
    assert "Test loss rose from its lowest, " in one.sentence and "three times as high or more since" in one.sentence
    assert one.evidence["since"] == "epoch_25.safetensors" and one.evidence["best"].keys() == {
        "test_loss",
        "train_loss",
    }
    assert alarming(findings) == ["score_collapses"]


def test_learning_by_heart_is_not_a_collapse_too(tmp_path):
    test = np.where(TIME < 10, 0.6 * LEARNED, 0.6 - 0.3 * (TIME - 9) / 30)
    loss = np.where(TIME < 10, FALLING_LOSS, FALLING_LOSS[9] * (1 + (TIME - 9) / 5))
    findings = found_with(tmp_path, STEADY, test_accuracy=test, test_loss=loss)
    assert loss[-1] > 3 * loss.min() and test[-1] < 0.6 * test.max()
    assert [one for one in alarming(findings) if one != "condition_beside_overfitting"] == ["overfitting"]


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("checkpoints", [6, 40])
def test_an_accuracy_on_a_hundred_images_hardly_ever_collapses_by_chance(level, checkpoints):
    right = np.random.default_rng(0).binomial(100, level, (full_count(4000, 400), checkpoints)).astype(np.float64)
    fallen = [row for row in right if collapse_of(Score("test_accuracy", row)) is not None]
    assert len(fallen) <= 0.015 * len(right)


@pytest.mark.parametrize("images", [10, 20, 50])
@pytest.mark.parametrize("level", [0.02, 0.1, 0.9])
def test_an_accuracy_on_a_few_images_seldom_collapses_by_chance(level, images):
    right = np.random.default_rng(0).binomial(images, level, (400, 30)) * (100 / images)
    assert sum(collapse_of(Score("test_accuracy", row)) is not None for row in right) <= 8


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("val_accuracy", [0.0] * 8),  # it never was any better
        ("val_accuracy", [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]),
        ("val_loss", [0.5, 0.2, *[0.0001] * 6, 0.0003]),  # three times nothing, and rounded
    ],
)
def test_next_to_nothing_does_not_collapse(name, values):
    assert collapse_of(Score(name, np.array(values, dtype=np.float64))) is None


# ------------------------------------------------------------------------------------------------- edges of rules


@pytest.mark.parametrize(
    ("values", "collapses"),
    [
        ([90.0] * 6 + [60.0], True),  # exactly a third
        ([90.0] * 6 + [60.1], False),
        ([24.0] * 6 + [14.0], True),  # a third is eight points, of which it takes ten
        ([24.0] * 6 + [14.1], False),
        ([90.0] * 5 + [60.0], True),
        ([90.0] * 4 + [60.0], False),  # five checkpoints
        ([90.0] * 6 + [60.0, 90.0], False),  # it came back
        ([10.0] * 7, False),
    ],
)
def test_an_accuracy_collapses_by_a_third_and_ten_points(values, collapses):
    assert (collapse_of(Score("test_accuracy", np.array(values))) is not None) == collapses


@pytest.mark.parametrize(
    ("values", "collapses"),
    [
        ([1.0] * 6 + [3.01], True),
        ([1.0] * 6 + [2.99], False),
        ([21.0, *[1.0] * 6, 3.01], True),  # it gave up a tenth of what was gained, which is two
        ([21.2, *[1.0] * 6, 3.01], False),
        ([21.0, *[1.0] * 6, 3.0], True),  # exactly a tenth, and exactly three times as high
        ([1.0] * 6 + [0.0, 4.0], False),  # a loss of zero has no logarithm
    ],
)
def test_a_loss_collapses_to_three_times_its_lowest_and_a_tenth_of_its_gain(values, collapses):
    assert (collapse_of(Score("test_loss", np.array(values))) is not None) == collapses


def test_a_collapse_exceeds_five_times_the_scatter():
    values = np.array([90.0, 84, 90, 84, 90, 84, 90, 84])
    scatter = 6 * 1.4826 / np.sqrt(2)  # of changes of six points, larger than that of the falls alone
    for far, collapses in ((5.05, True), (4.95, False)):
        score = Score("test_accuracy", np.append(values, 90 - far * scatter))
        assert (collapse_of(score) is not None) == collapses


def test_a_collapse_at_the_last_checkpoint_alone_has_no_duration():
    given = {"test_accuracy": [90.0] * 6 + [20.0]}
    assert "to 20.0 % at epoch 6. The last" in finding_of(score_collapses, tables_with({}, given)).sentence


def test_a_collapse_has_the_positions_of_its_best_and_of_its_beginning():
    values = np.array([50, 90, 95, 90, 90, 90, np.nan, 20, 20])
    collapse = collapse_of(Score("test_accuracy", values))
    assert (collapse.best, collapse.before, collapse.since, collapse.end) == (2, 5, 7, 8)
    assert collapse.level(7) == "20.0 %"
