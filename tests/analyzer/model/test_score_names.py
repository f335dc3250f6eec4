"""What the names of scores mean, and that every part of a report and of a comparison knows it."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from builders import random_walk, save_weights
from commands import weightlapse
from compared_runs import stored_run, two_groups

from analyzer.comparing import compare_runs
from analyzer.model import score_names as scores
from analyzer.report.comparison_page import render_page
from analyzer.report.comparison_tables import HEADERS

NAMES = {"Lightning": ("train_acc", "val_acc", "train_loss", "val_loss"), "timm": ("eval_top1", "eval_loss")}


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("train_accuracy", {"accuracy", "share", "training"}),
        ("val_acc", {"accuracy", "share", "held out"}),
        ("val/Acc", {"accuracy", "share", "held out"}),
        ("eval_top1", {"accuracy", "share", "held out"}),
        ("accuracy", {"accuracy", "share"}),
        ("eval_top5", {"share", "held out"}),
        ("eval_f1", {"share", "held out"}),
        ("loss", {"loss"}),
        ("train_loss", {"loss", "training"}),
        ("validation_loss", {"loss", "held out"}),
        ("glossary", set()),
        ("accumulated_steps", set()),
        ("", set()),
    ],
)
def test_a_name_tells_what_a_score_is_and_of_which_data(name, kinds):
    asked = {
        "accuracy": scores.is_accuracy, "share": scores.is_share, "loss": scores.is_loss,
        "training": scores.is_training, "held out": scores.is_held_out,
    }  # fmt: skip
    assert {kind for kind, is_such in asked.items() if is_such(name)} == kinds


def test_data_held_out_are_judged_by_first_and_tables_begin_with_the_training_data():
    names = ["lr", "val_loss", "train_acc", "loss", "val_acc", "generalization_gap", "val_acc_best_of_all", "accuracy"]
    assert scores.accuracies(names) == ["val_acc", "val_acc_best_of_all", "accuracy", "train_acc"]
    assert scores.losses(names) == ["val_loss", "loss"]
    assert scores.leading(names) == [
        "train_acc", "val_acc", "val_acc_best_of_all", "accuracy", "generalization_gap", "val_loss", "loss"
    ]  # fmt: skip


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_a_report_and_an_audit_know_scores_under_their_usual_names(tmp_path, names):
    for epoch, weights in enumerate(random_walk(14)):
        save_weights(tmp_path / f"run/epoch_{epoch}.safetensors", weights)
    generator = np.random.default_rng(0)
    rows = [
        [str(1 + 0.8**epoch) if "loss" in name else str(90 - 80 * 0.7**epoch + generator.random()) for name in names]
        for epoch in range(14)
    ]
    lines = [",".join(["epoch", *names]), *(",".join([str(epoch), *row]) for epoch, row in enumerate(rows))]
    (tmp_path / "run/metrics.csv").write_text("\n".join(lines), encoding="utf-8")
    ended = weightlapse("report", tmp_path / "run", "--out", tmp_path / "report", "--metrics", "motion,spectrum")
    assert ended.code == 0, ended.err
    page = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    held_out = next(name for name in names if scores.is_held_out(name)).replace("_", " ")
    assert f"<dt>{held_out}</dt>" in page
    assert f"Step distance and {held_out}" in page
    assert (tmp_path / "report/figures/accuracy_change.png").is_file()
    header = weightlapse("audit", tmp_path / "run").out.splitlines()[2]
    assert re.findall(r"\w+(?:acc|top1)\b", header) == [name for name in names if scores.is_accuracy(name)]


def renamed(run, **names):
    held = {names.get(name, name): values for name, values in run.tables.scalars.items()}
    return dataclasses.replace(run, tables=dataclasses.replace(run.tables, scalars=held))


def mattered(runs):
    (answer,) = (one for one in compare_runs(runs).answers if one.rule == "mattered_for_accuracy")
    return answer.sentence


def test_a_comparison_knows_accuracies_under_their_usual_names():
    runs = [renamed(run, test_accuracy="val_acc", test_loss="val_loss") for run in two_groups(accuracy=0.5)]
    assert mattered(runs).startswith("Yes: final val acc")
    page = render_page(compare_runs(runs), [], {}, {name: f"{name}.csv" for name in HEADERS}).decode()
    assert "Val acc" in page and "Val loss" in page


def test_a_comparison_says_where_no_accuracy_is_known_under_a_common_name():
    one, two = stored_run("one"), renamed(stored_run("two", seed=1), test_accuracy="val_acc")
    said = mattered([one, two])
    assert said.startswith("Unknown: ") and "one has test_accuracy, two has val_acc" in said
    assert "--scalars" in said
    three = renamed(one, test_accuracy="perplexity")
    assert "one has none" in mattered([three, two])
    both = [renamed(run, test_accuracy="perplexity") for run in (one, two)]
    assert "no run has a score whose name is known as an accuracy" in mattered(
        [both[0], renamed(both[1], val_acc="ppl")]
    )


@pytest.mark.parametrize(
    ("name", "values", "place"),
    [
        ("val_acc", [0.1, 0.9, 0.9, 0.2], 1),
        ("eval_f1", [0.1, float("nan"), 0.3], 2),
        ("val_loss", [2.0, 0.3, float("nan"), 0.5, 0.3], 1),
        ("loss", [float("nan"), float("inf")], None),
        ("generalization_gap", [0.1, 0.2], None),
        ("learning_rate", [0.1, 0.2], None),
    ],
)
def test_which_value_is_the_best_is_told_where_the_name_tells_it(name, values, place):
    assert scores.best_place(name, values) == place


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("train_loss", "train"), ("training/acc", "train"), ("test_acc", "test"), ("eval_acc", "eval"),
        ("val_acc", "eval"), ("valid.acc", "eval"), ("validation_acc", "eval"), ("acc", None), ("trainer_acc", None),
        ("val_of_train_acc", "train"), ("test_of_val_acc", "test"),
    ],
)  # fmt: skip
def test_the_data_of_a_score_are_in_its_name_training_before_all(name, data):
    assert scores.data_of(name) == data
    assert scores.is_training(name) is (data == "train")
    assert scores.is_held_out(name) is (data in ("test", "eval"))


@pytest.mark.parametrize("word", ["accuracy", "acc", "acc1", "top1"])
def test_every_word_for_accuracy_is_known(word):
    assert scores.is_accuracy(word) and scores.is_share(f"X_{word.upper()}") and not scores.is_loss(word)
    for other in ("acc5", "top5", "f1", "precision", "recall", "auc"):
        assert scores.is_share(other) and not scores.is_accuracy(other)
        assert not scores.is_accuracy(f"{word}_{other}") and scores.is_share(f"{word}_{other}")
    for loss in ("loss", "losses"):
        assert scores.is_loss(loss) and not scores.is_share(loss)
        assert not scores.is_accuracy(f"{word}_{loss}") and not scores.is_share(f"{word}_{loss}")


def test_a_test_is_preferred_to_a_validation_to_unknown_data_to_training():
    names = ["train_acc", "acc", "eval_acc", "test_acc_ema", "test_acc"]
    assert scores.accuracies(names) == ["test_acc", "test_acc_ema", "eval_acc", "acc", "train_acc"]
    assert scores.losses([name.replace("acc", "loss") for name in names])[0] == "test_loss"
    assert scores.leading(["test_loss", "train_loss"]) == ["train_loss", "test_loss"]
    assert scores.leading([]) == [] and scores.leading(iter(["lr", "acc"])) == ["acc"]
    assert scores.leading(["generalization_gap"]) == ["generalization_gap"] == [scores.GAP]


def test_the_best_of_equals_is_the_first_and_infinite_values_are_none():
    assert scores.best_place("loss", [3.0, 1.0, 1.0]) == 1
    assert scores.best_place("acc", [float("inf"), 0.5, 0.7, 0.7]) == 2
    assert scores.best_place("acc", [-1.0]) == 0 and scores.best_place("acc", []) is None
