"""Which of several equal files stands for a place."""

from __future__ import annotations

import shutil

import pytest
import torch
from stored import found

import analyzer


@pytest.mark.parametrize("copy", ["best", "last", "model_final", "a_latest_best", "best_epoch_2", "checkpoint"])
def test_the_numbered_name_stands_for_equal_files(tmp_path, copy):
    for epoch in (1, 2):
        torch.manual_seed(epoch)
        torch.save({"epoch": epoch, "model": {"w": torch.randn(4, 4)}}, tmp_path / f"epoch_{epoch}.pt")
    shutil.copy(tmp_path / "epoch_2.pt", tmp_path / f"{copy}.pt")
    run = analyzer.open_run(tmp_path)
    assert [one.name for one in run.checkpoints] == ["epoch_1.pt", "epoch_2.pt"]
    (one,) = found(run, "duplicate_files")
    assert one.sentence.endswith("contain the same bytes for epoch 2; only epoch_2.pt is used.")
