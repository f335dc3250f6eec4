"""Flat folders of earlier versions of torchtune: the files are shards, and the last number is the epoch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from stored import assert_same_weights, found, names, places

import analyzer
from analyzer.errors import NoCheckpointsError


def state(epoch: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(epoch)
    return {name: torch.randn(4, 6, generator=generator) for name in ("layers.0.q", "layers.1.q", "output")}


def save(folder: Path, epoch: int, shards: int = 2, safe: bool = False) -> None:
    """Shards as FullModelHFCheckpointer.save_checkpoint of torchtune names them."""
    folder.mkdir(exist_ok=True)
    weights = list(state(epoch).items())
    for number in range(1, shards + 1):
        shard = dict(weights[number - 1 :: shards])
        if safe:
            save_file(shard, folder / f"model-0{number:04}-of-0{shards:04}_{epoch}.safetensors", {"format": "pt"})
        else:
            torch.save(shard, folder / f"hf_model_{number:04}_{epoch}.pt")


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_shards_of_an_epoch_are_one_checkpoint(tmp_path: Path, shards: int, safe: bool) -> None:
    for epoch in (0, 1, 10):
        save(tmp_path, epoch, shards, safe)
        torch.save({"layers.0.q.lora_a.weight": torch.ones(2, 6)}, tmp_path / f"adapter_{epoch}.pt")
    torch.save({"epochs_run": 2, "optimizer": {}}, tmp_path / "recipe_state.pt")
    (tmp_path / "pytorch_model.bin.index.json").write_text('{"weight_map": {}}')
    run = analyzer.open_run(tmp_path)
    assert (run.layout, places(run)) == ("torchtune", [(0, None), (1, None), (10, None)])
    assert run.findings == ()
    for checkpoint in run.checkpoints:
        assert_same_weights(checkpoint, state(int(checkpoint.epoch or 0)))


def test_an_epoch_with_a_missing_shard_is_left_out(tmp_path: Path) -> None:
    for epoch in (0, 1, 2):
        save(tmp_path, epoch)
    (tmp_path / "hf_model_0002_2.pt").unlink()
    run = analyzer.open_run(tmp_path)
    assert names(run) == ["epoch_0", "epoch_1"]
    (finding,) = found(run, "refused_file")
    assert "of the 2 shards of this epoch there are only hf_model_0001_2.pt" in finding.sentence


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    save(tmp_path, 0)
    torch.save(state(0), tmp_path / "hf_model_0002_0.pt")
    with pytest.raises(NoCheckpointsError, match="is in two shards"):
        analyzer.open_run(tmp_path)
