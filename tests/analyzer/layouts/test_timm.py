"""Runs of timm, saved by its own CheckpointSaver and logged by its own summary."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from stored import alarms, assert_same_weights, found, names, places
from timm.utils import ModelEmaV3, update_summary
from timm.utils.checkpoint_saver import CheckpointSaver

import analyzer
from analyzer.errors import NoCheckpointsError

METRICS = [10.0, 30.0, 20.0, 25.0]
States = list[dict[str, Any]]


def saved(folder: Path, averaged: bool = False, kept: int = 10) -> tuple[States, States]:
    """Four epochs with the metrics above; the weights and the averaged weights at each."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    ema = ModelEmaV3(network, decay=0.5) if averaged else None
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    folder.mkdir()
    saver = CheckpointSaver(
        network, optimiser, args=Namespace(model="tiny"), model_ema=ema, checkpoint_dir=str(folder), max_history=kept
    )
    states: tuple[States, States] = ([], [])
    for epoch, metric in enumerate(METRICS):
        network(torch.randn(2, 1, 6, 6)).sum().backward()
        optimiser.step()
        if ema:
            ema.update(network)
        for module, among in zip((network, ema.module if ema else network), states, strict=True):
            among.append({name: value.clone() for name, value in module.state_dict().items()})
        saver.save_checkpoint(epoch, metric)
        update_summary(epoch, {"loss": 1 / (epoch + 1)}, {"top1": metric}, folder / "summary.csv", lr=0.1)
    return states


def test_a_run_of_timm(tmp_path: Path) -> None:
    states, _ = saved(tmp_path / "run")
    run = analyzer.open_run(tmp_path / "run")
    assert (run.layout, names(run)) == ("timm", [f"checkpoint-{epoch}.pth.tar" for epoch in range(4)])
    assert places(run) == [(epoch, None) for epoch in range(4)]
    for checkpoint, state, metric in zip(run.checkpoints, states, METRICS, strict=True):
        assert_same_weights(checkpoint, state)
        assert checkpoint.scores["metric"] == checkpoint.scores["eval_top1"] == metric
    assert [one.scores["train_loss"] for one in run.checkpoints] == [1, 1 / 2, 1 / 3, 1 / 4]
    assert [one.checkpoints for one in found(run, "duplicate_files")] == [
        ("checkpoint-1.pth.tar", "model_best.pth.tar"),
        ("checkpoint-3.pth.tar", "last.pth.tar"),
    ]
    assert not alarms(analyzer.audit(run))


def test_last_counts_where_its_number_was_not_kept(tmp_path: Path) -> None:
    saved(tmp_path / "run", kept=2)
    run = analyzer.open_run(tmp_path / "run")
    assert places(run) == [(1, None), (3, None)]
    (tmp_path / "run" / "checkpoint-3.pth.tar").unlink()
    assert names(analyzer.open_run(tmp_path / "run")) == ["checkpoint-1.pth.tar", "last.pth.tar"]


def test_averaged_weights_are_said_and_chosen_by_the_layout(tmp_path: Path) -> None:
    states, averages = saved(tmp_path / "run", averaged=True)
    run = analyzer.open_run(tmp_path / "run")
    assert_same_weights(run.checkpoints[2], states[2])
    (said,) = found(run, "averaged_weights")
    assert said.severity == "info"
    assert "--layout timm-ema" in said.sentence
    assert not alarms(analyzer.audit(run))
    averaged = analyzer.open_run(tmp_path / "run", layout="timm-ema")
    assert places(averaged) == places(run)
    assert_same_weights(averaged.checkpoints[2], averages[2])
    assert not found(averaged, "averaged_weights")
    assert not torch.equal(states[2]["0.weight"], averages[2]["0.weight"])


def test_there_is_nothing_to_choose_without_averages(tmp_path: Path) -> None:
    saved(tmp_path / "run")
    assert not found(analyzer.open_run(tmp_path / "run"), "averaged_weights")
    with pytest.raises(NoCheckpointsError):
        analyzer.open_run(tmp_path / "run", layout="timm-ema")


def test_states_in_the_middle_of_an_epoch_are_left_aside(tmp_path: Path) -> None:
    saved(tmp_path / "run")
    last = (tmp_path / "run" / "last.pth.tar").read_bytes()
    state = torch.load(tmp_path / "run" / "last.pth.tar", weights_only=False)
    state["state_dict"]["0.weight"] += 1
    torch.save(state, tmp_path / "run" / "recovery-3-40.pth.tar")
    (tmp_path / "run" / "tmp.pth.tar").write_bytes(last[:100])
    run = analyzer.open_run(tmp_path / "run")
    assert places(run) == [(epoch, None) for epoch in range(4)]
    assert not alarms(analyzer.audit(run))
