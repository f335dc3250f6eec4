"""Steps beside epochs, and epochs that two writers count differently."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from builders import random_walk, save_weights

import analyzer
from analyzer.layouts.scores.merging import with_scores
from analyzer.model.run import Run

MakeRun = Callable[..., Path]


def places(run: Run) -> list[tuple[float | None, int | None]]:
    return [(one.epoch, one.step) for one in run.checkpoints]


def opened(folder: Path, text: str, name: str = "metrics.csv") -> Run:
    (folder / name).write_text(text)
    return analyzer.open_run(folder)


def test_steps_beside_epochs_become_those_of_the_checkpoints(make_plain_run: MakeRun, tmp_path: Path) -> None:
    folder = make_plain_run(random_walk(3))
    text = "epoch,step,loss\n0,50,4\n0,100,3\n1,150,2\n1,200,1\n2,300,0.5\n"
    run = opened(folder, text)
    assert places(run) == [(0, 100), (1, 200), (2, 300)]
    assert run.findings == () and run.ordered_by.endswith("; steps from the scores")
    rates = analyzer.measure(run, tmp_path / "store.sqlite", metrics=["distance_rate"])
    assert not any(value != value for value in rates.series("fc1.weight", "distance_rate").values[1:])
    (folder / "metrics.csv").rename(tmp_path / "scores.csv")
    assert places(with_scores(analyzer.open_run(folder), str(tmp_path / "scores.csv"))) == places(run)


@pytest.mark.parametrize(
    "text",
    [
        "epoch,step,loss\n0,0,4\n1,1,3\n2,2,2\n",  # the number of the row
        "epoch,step,loss\n0,0,4\n0,1,4\n1,2,3\n1,3,3\n2,4,2\n2,5,2\n",  # two rows in each epoch
        "epoch,_step,loss\n0,10,4\n1,20,3\n2,30,2\n",  # calls of Weights & Biases
        "epoch,step,loss\n0,50,4\n1,150,3\n2,200,2\n",  # logged every 50 steps, not at the ends of epochs
        "epoch,step,loss\n0,100,4\n1,200,3\n2,,2\n",  # not for all
        "epoch,step,loss\n0,100,4\n1,100,3\n2,100,2\n",  # within the epoch
    ],
)
def test_steps_are_never_invented(make_plain_run: MakeRun, text: str) -> None:
    run = opened(make_plain_run(random_walk(3)), text)
    assert places(run) == [(0, None), (1, None), (2, None)]
    assert [one.scores["loss"] for one in run.checkpoints] == [4, 3, 2]


def test_epochs_beside_steps_become_those_of_the_checkpoints(tmp_path: Path) -> None:
    for step, weights in zip((100, 200), random_walk(2), strict=True):
        save_weights(tmp_path / f"step_{step}.safetensors", weights)
    assert places(opened(tmp_path, "epoch,step,loss\n0.5,100,4\n1,200,3\n")) == [(0.5, 100), (1, 200)]
    assert places(opened(tmp_path, "epoch,step,loss\n2,100,4\n1,200,3\n")) == [(None, 100), (None, 200)]


HEADER = "epoch,time,train/box_loss,metrics/mAP50(B)\n"


def test_ultralytics_counts_from_one_in_its_table_only(make_plain_run: MakeRun) -> None:
    folder = make_plain_run(random_walk(3))  # epochs 0, 1 and 2
    run = opened(folder, HEADER + "1,9,0.5,0.25\n2,9,0.25,0.5\n3,9,0.125,0.75\n", "results.csv")
    assert [one.scores["metrics/mAP50(B)"] for one in run.checkpoints] == [0.25, 0.5, 0.75]
    assert [finding.rule for finding in run.findings] == ["scores_by_epoch"]
    run = opened(folder, HEADER + "0,9,0.5,0.25\n1,9,0.25,0.5\n2,9,0.125,0.75\n", "results.csv")  # as YOLOv5 counts
    assert [one.scores["metrics/mAP50(B)"] for one in run.checkpoints] == [0.25, 0.5, 0.75]
    assert run.findings == ()


def test_epochs_that_are_off_by_one_at_both_ends_are_reported_and_not_moved(
    make_plain_run: MakeRun, tmp_path: Path
) -> None:
    run = opened(make_plain_run(random_walk(3)), "epoch,acc\n1,0.25\n2,0.5\n3,0.75\n")
    assert [one.scores.get("acc") for one in run.checkpoints] == [None, 0.25, 0.5]
    (finding,) = run.findings
    assert (finding.rule, finding.severity) == ("scores_shifted", "warning")
    assert "1 to 3, those of the checkpoints 0 to 2" in finding.sentence
    for epoch, weights in enumerate(random_walk(3), start=1):
        save_weights(tmp_path / "from_one" / f"epoch_{epoch}.safetensors", weights)
    run = opened(tmp_path / "from_one", "epoch,acc\n0,0.25\n1,0.5\n2,0.75\n")
    assert [finding.rule for finding in run.findings] == ["scores_shifted"]


def test_a_training_that_has_logged_more_than_it_saved_is_not_off_by_one(make_plain_run: MakeRun) -> None:
    assert opened(make_plain_run(random_walk(3)), "epoch,acc\n0,0.25\n1,0.5\n2,0.75\n3,0.75\n").findings == ()
    assert opened(make_plain_run(random_walk(3)), "epoch,acc\n1,0.5\n2,0.75\n").findings == ()
