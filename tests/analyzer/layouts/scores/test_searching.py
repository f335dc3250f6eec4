"""Files with scores beside checkpoints, as trainers leave them: which are read, in what order, and what is reported."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from builders import random_walk, save_weights

import analyzer
from analyzer.errors import CheckpointError
from analyzer.layouts.scores.merging import with_scores
from analyzer.layouts.scores.sidecars import read_scores
from analyzer.model.run import Run

MakeRun = Callable[..., Path]


def rules(run: Run) -> list[str]:
    return [finding.rule for finding in run.findings]


def scores(run: Run, name: str) -> list[float | None]:
    return [one.scores.get(name) for one in run.checkpoints]


def lines(*rows: Mapping[str, Any]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def saved(folder: Path, *names: str) -> Path:
    for name, weights in zip(names, random_walk(len(names)), strict=True):
        save_weights(folder / name, weights)
    return folder


# name of the file, its text, and the losses of checkpoints 1 and 2 by epoch
BY_EPOCH = {
    "log.txt": lines({"train_loss": 0.5, "epoch": 1}, {"train_loss": 0.25, "epoch": 2, "test_coco_eval_bbox": [1, 2]}),
    "results.jsonl": lines({"train_loss": 0.5, "epoch": 1}, {"train_loss": 0.25, "epoch": 2}),
    "history.json": json.dumps({"train_loss": [0.5, 0.25], "val_loss": [1.0, 2.0], "odd": [1]}),
    "log_history.json": json.dumps([{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.25}]),
    "training_log.csv": "epoch;train_loss\n1;0.5\n2;0.25\n",
    "progress.txt": "Epoch\ttrain_loss\n1\t0.5\n2\t0.25\n",
    "summary.csv": "epoch,train_loss\n1,0.5\n2,0.25\n",
    "results.csv": "   epoch,   train_loss\n   1,   0.5\n   2,   0.25\n",
    "metrics.json": json.dumps({"epoch": [1, 2], "train_loss": [0.5, 0.25]}, indent=1),
}


@pytest.mark.parametrize("name", BY_EPOCH)
def test_scores_by_epoch(tmp_path: Path, name: str) -> None:
    folder = saved(tmp_path / "run", "epoch_1.safetensors", "epoch_2.safetensors")
    (folder / name).write_text(BY_EPOCH[name])
    run = analyzer.open_run(folder)
    assert scores(run, "train_loss") == [0.5, 0.25]
    assert rules(run) == []


BY_STEP = {
    "metrics.json": lines({"iteration": 10, "total_loss": 0.5}, {"iteration": 20, "total_loss": 0.25}),
    "progress.csv": "time/total_timesteps,total_loss\n10,0.5\n20,0.25\n",
    "result.json": lines(
        {"training_iteration": 10, "learner": {"total_loss": 1}, "total_loss": 0.5, "config": {"lr": 1}, "date": "x"},
        {"training_iteration": 20, "total_loss": 0.25, "timesteps_total": 7},
    ),
    "trainer_state.json": json.dumps(
        {
            "log_history": [
                {"step": 10, "eval_f1": 1, "loss": 9},
                {"step": 20, "eval_f1": 0, "eval_runtime": 5, "epoch": 0.5},
            ]
        }
    ),
}


@pytest.mark.parametrize("name", BY_STEP)
@pytest.mark.parametrize("place", ["run", "run/logs", "run/logs/a"])
def test_scores_by_step(tmp_path: Path, name: str, place: str) -> None:
    folder = saved(tmp_path / "run", "step_10.safetensors", "step_20.safetensors")
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / name).write_text(BY_STEP[name])
    run = analyzer.open_run(folder)
    assert scores(run, "eval_f1" if "state" in name else "total_loss") == ([1, 0] if "state" in name else [0.5, 0.25])
    assert not {score for one in run.checkpoints for score in one.scores} & {"config/lr", "eval_runtime", "date"}
    assert rules(run) == ([] if place == "run" else ["scores_read"])


@pytest.mark.parametrize("below", ["checkpoints", "ckpt", "models", "weights"])
def test_scores_above_a_folder_of_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    folder = saved(tmp_path / "run" / below, "epoch_1.safetensors", "epoch_2.safetensors")
    (tmp_path / "run" / "metrics.csv").write_text("epoch,acc\n1,0.5\n2,0.75\n")
    (tmp_path / "metrics.csv").write_text("epoch,f1\n1,0.5\n2,0.75\n")
    run = analyzer.open_run(folder)
    assert [one.scores for one in run.checkpoints] == [{"acc": 0.5}, {"acc": 0.75}]
    assert str(tmp_path / "run" / "metrics.csv") in run.findings[0].sentence
    monkeypatch.chdir(folder)
    assert scores(analyzer.open_run("."), "acc") == [0.5, 0.75]
    folder.rename(tmp_path / "run" / "seed0")
    assert scores(analyzer.open_run(tmp_path / "run" / "seed0"), "acc") == [None, None]


def test_a_log_that_is_a_text_is_no_table_and_nothing_to_report(make_plain_run: MakeRun) -> None:
    folder = make_plain_run()
    (folder / "log.txt").write_text("Epoch 1: loss 0.5\n")
    assert analyzer.open_run(folder).findings == ()
    (folder / "log.txt").write_bytes(b"\xff\xfe\x00")
    assert analyzer.open_run(folder).findings == ()
    (folder / "log.txt").write_text("{'epoch': 1}\n")
    assert rules(analyzer.open_run(folder)) == ["scores_unreadable"]


def test_the_last_line_of_a_running_training_may_be_incomplete(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text('{"epoch": 0, "loss": 0.5}\n{"epoch": 1, "lo')
    assert read_scores(str(path)) == {("epoch", 0): {"loss": 0.5}}
    path.write_text('{"epoch": 0, "loss": 0.5}\n{"epoch": 1, "lo\n')
    with pytest.raises(CheckpointError, match=r"log\.txt: is not valid JSON"):
        read_scores(str(path))


def test_mmengine_by_epoch(tmp_path: Path) -> None:
    """A resumed training: its second start takes epoch 2 again; rows of validation have the epoch as their step."""
    work = saved(tmp_path / "work", *(f"epoch_{epoch}.safetensors" for epoch in (1, 2, 3)))
    for start, epochs, loss in (("20240101_000000", (1, 2), 8.0), ("20240102_000000", (2, 3), 4.0)):
        (work / start / "vis_data").mkdir(parents=True)
        rows: list[dict[str, Any]] = []
        for epoch in epochs:
            for at in (50, 100):
                step = 100 * (epoch - 1) + at
                rows.append({"loss": loss / step, "epoch": epoch, "iter": step, "step": step})
            rows.append({"coco/bbox_mAP": epoch / loss, "step": epoch})
        (work / start / "vis_data" / "scalars.json").write_text(lines(*rows))
    run = analyzer.open_run(work)
    assert scores(run, "coco/bbox_mAP") == [1 / 8, 2 / 4, 3 / 4]
    assert scores(run, "loss") == [8 / 100, 4 / 200, 4 / 300]
    assert [one.step for one in run.checkpoints] == [100, 200, 300]


def test_mmengine_by_iteration(tmp_path: Path) -> None:
    rows = [{"loss": 0.5, "iter": 50, "step": 50}, {"mIoU": 0.5, "step": 100}, {"loss": 0.5, "iter": 150, "step": 150}]
    (tmp_path / "scalars.json").write_text(lines(*rows))
    assert read_scores(str(tmp_path / "scalars.json"))["step", 100] == {"mIoU": 0.5}
    rows = [{"loss": 0.5, "iter": 50, "step": 50, "epoch": 1}, {"mIoU": 0.5, "step": 100}]
    (tmp_path / "scalars.json").write_text(lines(*rows))
    assert read_scores(str(tmp_path / "scalars.json"))["step", 100] == {"mIoU": 0.5}


def test_mmcv_1_counts_iterations_within_the_epoch(tmp_path: Path) -> None:
    folder = saved(tmp_path / "work", *(f"epoch_{epoch}.safetensors" for epoch in (1, 2)))
    rows: list[dict[str, Any]] = [{"env_info": "…", "seed": 0}]
    for epoch in (1, 2):
        rows += [{"mode": "train", "epoch": epoch, "iter": at, "loss": at / epoch} for at in (50, 100)]
        rows.append({"mode": "val", "epoch": epoch, "iter": 7, "loss": 2.0, "bbox_mAP": epoch / 4})
    (folder / "20240101_000000.log.json").write_text(lines(*rows))
    run = analyzer.open_run(folder)
    assert [one.scores for one in run.checkpoints] == [
        {"loss": 100.0, "val/loss": 2.0, "val/bbox_mAP": 0.25},
        {"loss": 50.0, "val/loss": 2.0, "val/bbox_mAP": 0.5},
    ]
    assert [one.step for one in run.checkpoints] == [None, None]
    assert rules(run) == ["scores_by_epoch"]


def test_several_files_are_joined_and_the_first_in_the_order_counts(make_plain_run: MakeRun) -> None:
    folder = make_plain_run(random_walk(3))
    (folder / "log.txt").write_text(lines(*({"epoch": epoch, "loss": 0.5, "acc": 0.1} for epoch in range(3))))
    (folder / "metrics.csv").write_text("epoch,acc,f1\n0,0.1,1\n1,0.10000000149,1\n2,0.3,1\n")
    run = analyzer.open_run(folder)
    assert run.checkpoints[2].scores == {"acc": 0.3, "f1": 1, "loss": 0.5}
    contradiction, read = run.findings
    assert (contradiction.rule, contradiction.severity) == ("scores_contradict", "warning")
    assert f"1 value in {folder / 'log.txt'} and those" in contradiction.sentence
    assert (read.rule, read.sentence) == ("scores_read", "Scores come from metrics.csv and log.txt.")


def test_a_table_without_a_place_is_named_with_its_columns(make_plain_run: MakeRun) -> None:
    folder = make_plain_run()
    (folder / "results.csv").write_text("model,loss\nours,0.5\n")
    (folder / "log.txt").write_text(lines({"epoch": 0, "loss": 0.5}))
    run = analyzer.open_run(folder)
    assert scores(run, "loss")[0] == 0.5
    (finding,) = run.findings
    assert (finding.rule, finding.severity) == ("scores_unreadable", "warning")
    assert "Its columns are model and loss" in finding.sentence


# ------------------------------------------------------------------------------------------------ --scalars


def test_a_file_that_is_no_table_of_scores_is_an_error(make_plain_run: MakeRun, tmp_path: Path) -> None:
    run = analyzer.open_run(make_plain_run())
    for name, text in (("notes.txt", "Dear diary"), ("data.csv", "epoch,name\n1,x\n2,y\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(CheckpointError, match=f"{name}: is not a table of scores"):
            with_scores(run, str(tmp_path / name))
    (tmp_path / "any.name").write_text("step,loss\n1,2\n")
    assert read_scores(str(tmp_path / "any.name")) == {("step", 1): {"loss": 2}}


def test_what_a_file_adds_to_checkpoints_with_scores_is_counted(make_run: MakeRun, tmp_path: Path) -> None:
    run = analyzer.open_run(make_run())
    path = tmp_path / "scores.csv"
    path.write_text("epoch,f1\n1,0.5\n2,0.5\n")
    (finding,) = with_scores(run, str(path)).findings
    assert (finding.rule, finding.severity) == ("scores_added", "info")
    assert finding.sentence == f"{path}: adds 2 values to 2 checkpoints that already had scores."
    path.write_text("epoch,f1,test_accuracy\n1,0.5,0\n2,0.5,0\n")
    (finding,) = with_scores(run, str(path)).findings
    assert finding.severity == "warning"
    assert "2 values contradict the checkpoints' own, which are kept" in finding.sentence
