"""Folders of public reports, rebuilt small: what files contain, scores beside them, and what is rejected.

Each test names the reports that it follows.
"""

from __future__ import annotations

import json
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored import alarms, places
from trainer_folders import State, opened, orders, save, series, states

import analyzer
from analyzer.errors import CheckpointError, NoCheckpointsError

torch = pytest.importorskip("torch")


# --------------------------------------------------------------------------------- containers and other files


def test_a_generator_beside_a_model(tmp_path: Path) -> None:
    """OpenNMT: the last layer is saved apart."""

    def wrap(state: State, number: int) -> dict[str, Any]:
        body = {name: value for name, value in state.items() if name.startswith("body")}
        return {"model": body, "generator": {"0.weight": state["head.weight"]}, "vocab": {}, "opt": {}, "optim": {}}

    series(tmp_path, ["foo_step_1000.pt", "foo_step_2000.pt"], wrap)
    assert orders(tmp_path) == {"": ["foo_step_1000.pt", "foo_step_2000.pt"]}
    (run,) = opened(tmp_path).values()
    assert set(run.checkpoints[0].tensors) == {"body.weight", "body.bias", "generator.0.weight"}


def test_the_optimizer_of_marian(tmp_path: Path) -> None:
    for step, state in zip((1000, 2000), states(2), strict=True):
        np.savez(tmp_path / f"model.iter{step}.npz", **{name: value.numpy() for name, value in state.items()})
    np.savez(tmp_path / "model.npz.optimizer.npz", adam_mt=np.ones((1, 75)), adam_vt=np.ones((1, 75)))
    assert orders(tmp_path) == {"": ["model.iter1000.npz", "model.iter2000.npz"]}
    (run,) = opened(tmp_path).values()
    assert places(run) == [(None, 1000), (None, 2000)]


# ------------------------------------------------------------------------------------------------------ scores


def test_scores_of_detectron(tmp_path: Path) -> None:
    """detectron2#1381: the iteration in a name counts from 0."""
    series(
        tmp_path,
        ["model_0000499.pth", "model_0000999.pth"],
        lambda state, number: {"model": state, "iteration": 500 * number + 499},
    )
    rows = [{"iteration": i, "total_loss": 2.0 - i / 1000} for i in (19, 499, 999)]
    (tmp_path / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run,) = opened(tmp_path).values()
    assert [one.scores["total_loss"] for one in run.checkpoints] == [2.0 - 0.499, 2.0 - 0.999]


def test_scores_of_mmdetection(tmp_path: Path) -> None:
    """mmdetection#11843."""
    series(
        tmp_path,
        ["epoch_1.pth", "epoch_2.pth"],
        lambda state, number: {"meta": {"epoch": number + 1, "iter": 100 * (number + 1)}, "state_dict": state},
    )
    rows: list[dict[str, float]] = []
    for epoch in (1, 2):
        rows += [{"loss": 9.0 / epoch, "epoch": epoch, "iter": 100 * epoch, "step": 100 * epoch}]
        rows += [{"coco/bbox_mAP": 0.1 + 0.1 * epoch, "step": epoch}]
    table = tmp_path / "20240101_000000" / "vis_data" / "scalars.json"
    table.parent.mkdir(parents=True)
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run,) = opened(tmp_path).values()
    assert [one.scores["coco/bbox_mAP"] for one in run.checkpoints] == [0.1 + 0.1, 0.1 + 0.2]


def test_scores_of_dino_and_open_clip(tmp_path: Path) -> None:
    """DINO#217, open_clip#492."""
    series(
        tmp_path / "dino",
        ["checkpoint0000.pth", "checkpoint0020.pth"],
        lambda state, number: {"student": state, "teacher": state, "epoch": 20 * number + 1},
    )
    rows = [{"train_loss": 9.0 - epoch / 10, "epoch": epoch} for epoch in range(21)]
    (tmp_path / "dino" / "log.txt").write_text("".join(json.dumps(row) + "\n" for row in rows))
    series(
        tmp_path / "clip" / "checkpoints",
        ["epoch_1.pt", "epoch_2.pt"],
        lambda state, number: {"epoch": number + 1, "name": "x", "state_dict": state},
    )
    rows = [{"imagenet-zeroshot-val-top1": 0.1 * epoch, "epoch": epoch} for epoch in (1, 2)]
    (tmp_path / "clip" / "checkpoints" / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (dino,), (clip,) = opened(tmp_path / "dino").values(), opened(tmp_path / "clip").values()
    assert [one.scores["train_loss"] for one in dino.checkpoints] == [9.0, 7.0]
    assert not alarms(analyzer.audit(dino))
    assert [one.scores["imagenet-zeroshot-val-top1"] for one in clip.checkpoints] == [0.1, 0.2]


# ---------------------------------------------------------------------------------------------------- rejected


def files(folder: Path, *paths: str) -> None:
    for path in paths:
        save(folder / path, {"w": torch.ones(2)})


def archive(folder: Path, *_: str) -> None:
    for step in (1000, 2000):
        with zipfile.ZipFile(folder / f"rl_model_{step}_steps.zip", "w") as made:
            made.writestr("policy.pth", "x")
            made.writestr("data", "{}")


def nemo(folder: Path, *_: str) -> None:
    with tarfile.open(folder / "model--val_wer=0.1-epoch=3.nemo", "w") as made:
        made.addfile(tarfile.TarInfo("model_config.yaml"))


def script(folder: Path, *_: str) -> None:
    for epoch in (1, 2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scripting is deprecated
            torch.jit.script(torch.nn.Linear(3, 2)).save(str(folder / f"epoch_{epoch}.pt"))


REJECTED = {
    "llama#208, #528": (files, ["consolidated.00.pth", "consolidated.01.pth"], "convert_llama_weights_to_hf"),
    "verl#1438, #903": (files, [f"model_world_size_2_rank_{rank}.pt" for rank in (0, 1)], r"verl\.model_merger"),
    "dinov2#487": (files, [f"model_0000999.rank_{rank}.pth" for rank in (0, 1)], "FULL_STATE_DICT"),
    "GPT-NeoX": (files, [f"global_step10/{part}_states.pt" for part in ("mp_rank_00_model", "layer_00-model_00-model")],
                 "neox_to_hf"),
    "stable-baselines3#652": (archive, [], r"policy\.state_dict"),
    "NeMo": (nemo, [], "tar -xf"),
    "flax": (files, ["flax_model.msgpack"], "flax"),
    "Keras": (files, ["epoch_1.keras", "epoch_2.keras"], "keras"),
    "orbax": (files, ["100/default/_METADATA", "100/_CHECKPOINT_METADATA"], "orbax"),
    "TorchScript": (script, [], r"torch\.jit\.load"),
}  # fmt: skip


@pytest.mark.parametrize("report", REJECTED)
def test_what_is_rejected_by_name(tmp_path: Path, report: str) -> None:
    write, paths, remedy = REJECTED[report]
    write(tmp_path, *paths)
    with pytest.raises((CheckpointError, NoCheckpointsError), match=remedy):
        analyzer.open_runs(tmp_path)
