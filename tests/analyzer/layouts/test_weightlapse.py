"""Further files beside the epochs that weightlapse-train writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from builders import random_walk, save_weights, weightlapse_metadata
from stored import found

import analyzer


def audited(folder: Path, rule: str):
    return [one for one in analyzer.audit(analyzer.open_run(folder)) if one.rule == rule]


@pytest.mark.parametrize("metadata", [weightlapse_metadata(3), None])
def test_best_beside_the_epochs_is_compared_with_them(make_run, metadata):
    folder, states = make_run(), random_walk(5)
    save_weights(folder / "best.safetensors", states[3], metadata)
    run = analyzer.open_run(folder)
    assert [one.name for one in run.unplaced] == ["best.safetensors"] and len(run.checkpoints) == 5
    (copy,) = audited(folder, "unplaced_copy")
    assert copy.severity == "notice" and "exactly the weights of epoch_0003.safetensors" in copy.sentence
    save_weights(folder / "best.safetensors", random_walk(5, seed=1)[3], metadata)
    (other,) = audited(folder, "unplaced_file")
    assert other.checkpoints == ("best.safetensors",)


def test_other_weight_files_are_named_and_left_out(make_run):
    folder = make_run()
    save_weights(folder / "final_12.safetensors", random_walk(1)[0])
    save_weights(folder / "head.safetensors", {"head": random_walk(1)[0]["out.bias"]})
    (folder / "broken.safetensors").write_bytes(b"x")
    torch.save({"w": torch.ones(2, 2)}, folder / "optimizer.pt")
    (folder / "notes.txt").write_text("no weights")
    run = analyzer.open_run(folder)
    (notice,) = found(run, "left_out_files")
    assert notice.severity == "notice" and not run.unplaced
    assert notice.evidence["files"] == sorted(
        ["broken.safetensors", "final_12.safetensors", "head.safetensors", "optimizer.pt"]
    )
