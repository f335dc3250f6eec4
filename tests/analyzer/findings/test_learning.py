"""Rules that hold weights and scores together: planted scores, and real training on the bundled images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import STRESS, full_count
from commands import measured
from planted import alarming, checked, found_in, only

from analyzer.findings import find
from analyzer.findings.collapse import collapse_of
from analyzer.findings.score_choice import Score
from analyzer.report.reading import read_tables
from analyzer.store.store import open_store

pytest.importorskip("torch")

SHAPES = {"fc1.weight": (20, 30), "fc2.weight": (12, 20), "out.weight": (10, 12)}
EPOCHS = 40
TIME = np.arange(EPOCHS)


def walk(rates):
    """Weights that move by ``rates[epoch]`` of their norm into each epoch, always on in one direction."""
    generator = np.random.default_rng(0)
    weights = {key: generator.standard_normal(shape) for key, shape in SHAPES.items()}
    ways = {key: generator.standard_normal(shape) for key, shape in SHAPES.items()}
    states = []
    for rate in rates:
        weights = {key: array + rate * ways[key] for key, array in weights.items()}
        states.append({key: array.astype(np.float32) for key, array in weights.items()})
    return states


def scores(**series):
    return [{key: None if np.isnan(v[t]) else repr(float(v[t])) for key, v in series.items()} for t in range(EPOCHS)]


LEARNED = 1 - 0.9 * np.exp(-TIME / 3)
FALLING_LOSS = 2.3 * np.exp(-TIME / 6)
DECAYING = 0.1 * np.exp(-TIME / 2) + 2e-4
STEADY = np.full(EPOCHS, 0.01)


def found(tmp_path, rates, **series):
    given = {"train_accuracy": LEARNED, "test_accuracy": LEARNED * 0.97, "train_loss": FALLING_LOSS}
    return found_in(tmp_path, walk(rates), scores=scores(**{**given, "test_loss": FALLING_LOSS + 0.1, **series}))


def test_weights_at_rest_with_a_learned_network_are_only_information(tmp_path):
    findings = found(tmp_path, DECAYING)
    one = only(findings, "training_at_rest")
    assert one.severity == "info" and one.checkpoints[1] == "epoch_39.safetensors"
    start = int(one.checkpoints[0].split("_")[1].split(".")[0])
    assert 10 <= start <= 14  # when 0.97 * 0.9 * exp(-t/3) is down to one point
    assert f"from epoch {start} to 39" in one.sentence and "peak at epoch 1, while test accuracy" in one.sentence
    assert alarming(findings) == []


def test_weights_at_rest_before_all_is_learned_deserve_a_notice(tmp_path):
    one = only(found(tmp_path, DECAYING, train_accuracy=LEARNED * 0.6, test_accuracy=LEARNED * 0.6), "training_at_rest")
    assert one.severity == "notice" and "At a training accuracy of about 60.0 % this is" in one.sentence
    assert "the end of a schedule, or" in one.sentence


@pytest.mark.parametrize(
    ("rates", "accuracy"),
    [(STEADY, LEARNED), (DECAYING, np.linspace(0.1, 0.9, EPOCHS)), (DECAYING, np.full(EPOCHS, np.nan))],
    ids=["still moving", "still learning", "no accuracy"],
)
def test_who_moves_or_learns_is_not_at_rest(tmp_path, rates, accuracy):
    findings = found(
        tmp_path, rates, test_accuracy=accuracy, train_accuracy=accuracy, test_loss=np.full(EPOCHS, np.nan)
    )
    assert "training_at_rest" not in {one.rule for one in findings}


def test_nothing_learned(tmp_path):
    chance = 0.1 + 0.01 * np.sin(TIME)
    flat = np.full(EPOCHS, 2.303) + 0.001 * np.cos(TIME)
    one = only(
        found(tmp_path, STEADY, test_accuracy=chance, train_accuracy=chance, test_loss=flat, train_loss=flat),
        "nothing_learned",
    )
    assert one.severity == "warning" and "10.0 % at first and 11.0 % at best" in one.sentence


@pytest.mark.parametrize("scale", [1, 100])
@pytest.mark.parametrize(("gap", "severity"), [(0.04, None), (0.07, "notice"), (0.2, "warning")])
def test_overfitting_by_its_gap_in_shares_and_in_per_cent(tmp_path, gap, severity, scale):
    ahead = 0.75 * LEARNED + gap / (1 + np.exp((15 - TIME) / 2))
    findings = found(tmp_path, STEADY, test_accuracy=scale * 0.75 * LEARNED, train_accuracy=scale * ahead)
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
    one = only(found(tmp_path, STEADY, test_accuracy=test, test_loss=loss), "overfitting")
    assert one.severity == "warning" and one.evidence["fall_points"] == pytest.approx(6.3, abs=0.8)
    assert "stopping near epoch 15" in one.sentence and "lost about 6" in one.sentence


def test_a_constant_gap_is_no_overfitting(tmp_path):
    high, low = np.full(EPOCHS, 0.9), np.full(EPOCHS, 0.7)
    assert alarming(found(tmp_path, STEADY, train_accuracy=high, test_accuracy=low)) == []


@pytest.mark.parametrize("seed", range(full_count(40, 6)))
def test_a_noisy_accuracy_does_not_fall(tmp_path, seed):
    """As on a test set of a hundred images: the best of forty checkpoints is better than the last by chance."""
    noisy = np.minimum(LEARNED * 0.9 + 0.04 * np.random.default_rng(seed).standard_normal(EPOCHS), 1)
    given = scores(train_accuracy=LEARNED * 0.93, test_accuracy=noisy)
    assert alarming(found_in(tmp_path, walk(STEADY), ("size",), given)) == []


AFTER_25 = TIME >= 25


@pytest.mark.parametrize("known", ["both", "test", "train"])
def test_an_accuracy_that_collapses_is_told_with_its_levels_and_places(tmp_path, known):
    absent = np.full(EPOCHS, np.nan)
    test, train = (np.where(AFTER_25, 0.22, level * LEARNED) for level in (0.97, 1.0))
    test, train = (absent if known == "train" else test), (absent if known == "test" else train)
    loss = np.where(AFTER_25, 2.0, FALLING_LOSS)
    findings = found(tmp_path, STEADY, test_accuracy=test, train_accuracy=train, test_loss=loss, train_loss=absent)
    one = only(findings, "score_collapses")
    assert (one.severity, one.figure) == ("warning", "accuracy")
    assert one.checkpoints == tuple(f"epoch_{epoch}.safetensors" for epoch in (24, 25, 39))
    name, best = ("train", "100.0") if known == "train" else ("test", "97.0")
    assert one.sentence.startswith(f"{name} accuracy fell from its best, {best} % at epoch 24, to 22.0 % at epoch 39, ")
    assert "lower by a third or more since epoch 25" in one.sentence and "that of epoch 24." in one.sentence
    assert ("so did train accuracy, from 100.0 % to 22.0 %" in one.sentence) == (known == "both")
    assert alarming(findings) == ["score_collapses"]  # nor is it an early form of overfitting


def test_a_collapse_at_the_last_checkpoint_is_told_and_one_that_passed_is_not(tmp_path):
    last, passed = (np.where(epoch == TIME, 0.1, LEARNED) for epoch in (EPOCHS - 1, 20))
    one = only(found(tmp_path / "last", STEADY, train_accuracy=last, test_accuracy=last), "score_collapses")
    assert "to 10.0 % at epoch 39; so did" in one.sentence
    findings = found(tmp_path / "passed", STEADY, train_accuracy=passed, test_accuracy=passed)
    assert alarming(findings) == []


def test_losses_that_jump_and_stay_are_a_collapse_too(tmp_path):
    losses = {name: np.where(AFTER_25, 10, 1) * (FALLING_LOSS[24] + 0.01 * np.cos(TIME)) for name in ("test", "train")}
    findings = found(tmp_path, STEADY, test_loss=losses["test"], train_loss=losses["train"])
    one = only(findings, "score_collapses")
    assert "test loss rose from its least, " in one.sentence and "three times as high or more since" in one.sentence
    assert one.evidence["since"] == "epoch_25.safetensors" and one.evidence["best"].keys() == {
        "test_loss",
        "train_loss",
    }
    assert alarming(findings) == ["score_collapses"]


def test_learning_by_heart_is_not_a_collapse_too(tmp_path):
    test = np.where(TIME < 10, 0.6 * LEARNED, 0.6 - 0.3 * (TIME - 9) / 30)
    loss = np.where(TIME < 10, FALLING_LOSS, FALLING_LOSS[9] * (1 + (TIME - 9) / 5))
    findings = found(tmp_path, STEADY, test_accuracy=test, test_loss=loss)
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


def test_a_rising_test_loss_alone_is_a_notice(tmp_path):
    loss = FALLING_LOSS + 0.2 + np.where(TIME > 20, 0.01 * (TIME - 20), 0)
    one = only(found(tmp_path, STEADY, test_loss=loss), "test_loss_rises")
    assert one.severity == "notice" and one.evidence["least"] == pytest.approx(loss.min())
    assert one.checkpoints[0] == f"epoch_{loss.argmin()}.safetensors"


def test_rising_condition_numbers_are_said_as_association_and_only_beside_overfitting(tmp_path):
    states = walk(STEADY)
    for epoch, weights in enumerate(states):
        left, sizes, right = np.linalg.svd(weights["fc1.weight"], full_matrices=False)
        sizes[0] *= 1 + 0.1 * epoch
        weights["fc1.weight"] = (left * sizes @ right).astype(np.float32)
    behind = LEARNED - 0.2 / (1 + np.exp((15 - TIME) / 2))
    heart = scores(train_accuracy=LEARNED, test_accuracy=behind)
    one = only(found_in(tmp_path / "a", states, scores=heart), "condition_beside_overfitting")
    assert one.tensor == "fc1.weight" and one.figure == "condition_number"
    assert "does not say that one causes the other" in one.sentence and "in 1 of 3 layers" in one.sentence
    calm = scores(train_accuracy=LEARNED, test_accuracy=LEARNED)
    assert "condition_beside_overfitting" not in {other.rule for other in found_in(tmp_path / "b", states, scores=calm)}


def test_an_evaluation_accuracy_alone_is_enough_to_see_rest(tmp_path):
    absent = np.full(EPOCHS, np.nan)
    findings = found(tmp_path, DECAYING, train_accuracy=absent, train_loss=absent)
    assert "Either all is learned" in only(findings, "training_at_rest").sentence


# ------------------------------------------------------------------------------------------------- real training


def trained(folder: Path, images: int, epochs: int, **changes):
    """Findings about the trainer's own network on the first so many images of the bundled sample."""
    from trainer import datasets, training
    from trainer.config import TrainingConfig

    sample = datasets.load("mnist-sample", Path())
    part = replace(sample, train_images=sample.train_images[:images], train_labels=sample.train_labels[:images])
    folder.mkdir()
    for _ in training.train(TrainingConfig(**changes), part, folder, epochs):
        pass
    with open_store(measured(folder).path) as store:
        return checked(find(read_tables(store, folder.name), store.problems(folder.name)))


def test_training_on_500_images_is_overfitting(tmp_path):
    findings = trained(tmp_path / "few", 500, 60, lr=0.05)
    one = only(findings, "overfitting")
    assert one.severity == "warning" and 10 < one.evidence["gap_points"] < 25
    assert only(findings, "condition_beside_overfitting").severity == "notice"
    assert {one.rule for one in findings if one.severity in ("warning", "serious")} == {"overfitting"}


def test_20_healthy_seeds_have_at_most_one_warning_in_all(tmp_path):
    """Also under plain ``make test``, with fewer seeds and epochs."""
    warnings, longest = [], 0
    for seed in range(full_count(20, 2)):
        findings = trained(tmp_path / f"seed{seed}", 8000, 50 if STRESS else 12, seed=seed)
        warnings += [one for one in findings if one.severity in ("warning", "serious")]
        longest = max(longest, len(findings))
    assert len(warnings) <= 1, [one.sentence for one in warnings]
    assert "score_collapses" not in {one.rule for one in warnings}
    assert longest <= 4  # a calm list


def test_a_learning_rate_that_kills_all_units_is_seen(tmp_path):
    findings = trained(tmp_path / "dead", 2000, 12, lr=3.0)
    frozen = only(findings, "frozen_tensor")
    assert frozen.severity == "warning" and "out.bias" not in frozen.evidence["tensors"]
    assert only(findings, "nothing_learned").severity == "warning"
