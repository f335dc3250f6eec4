"""Folders of DeepSpeed: whole weights under ``module`` are read (ZeRO stages 1 and 2), fragments are rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stored import assert_same_weights, found, names, places

import analyzer
from analyzer.errors import CheckpointError
from analyzer.layouts.weights.checkpoint import weights_of


def state(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"fc.weight": (6, 4), "fc.bias": (6,)}
    return {name: torch.randn(shape, generator=generator).bfloat16() for name, shape in shapes.items()}


def save(folder: Path, steps: int, module: Any, **more: Any) -> Path:
    """One tag's folder with the keys of DeepSpeedEngine._save_checkpoint, and the partitions of the optimizer."""
    folder.mkdir(parents=True)
    shapes = [{name: tensor.shape for name, tensor in module.items()}]
    content = {"module": module, "buffer_names": [], "optimizer": None, "param_shapes": shapes, "skipped_steps": 0}
    content |= {"global_steps": steps, "global_samples": 8 * steps, "dp_world_size": 2, "mp_world_size": 1, **more}
    torch.save(content, folder / "mp_rank_00_model_states.pt")
    for rank in (0, 1):
        partition = {"optimizer_state_dict": {"single_partition_of_fp32_groups": [torch.ones(15)]}}
        torch.save(partition, folder / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    return folder


def test_steps_are_in_the_names_and_in_the_files(tmp_path: Path) -> None:
    for step in (5, 100, 20):
        save(tmp_path / "run" / f"global_step{step}", step, state(step), ds_config={"zero_optimization": {"stage": 2}})
    (tmp_path / "run" / "latest").write_text("global_step100")
    (tmp_path / "run" / "zero_to_fp32.py").write_text("# saved by DeepSpeed")
    run = analyzer.open_run(tmp_path / "run")
    assert (run.layout, names(run)) == ("deepspeed", ["global_step5", "global_step20", "global_step100"])
    assert places(run) == [(None, 5), (None, 20), (None, 100)]
    assert run.findings == ()
    for checkpoint in run.checkpoints:
        assert_same_weights(checkpoint, state(checkpoint.step or 0))
        assert checkpoint.scores == {}


def test_tags_of_other_names_are_ordered_by_the_steps_in_the_files(tmp_path: Path) -> None:
    for step, tag in ((30, "best"), (10, "a"), (20, "b")):
        save(tmp_path / tag, step, state(step), epoch=step // 10)
    (tmp_path / "latest").write_text("b")
    run = analyzer.open_run(tmp_path)
    assert names(run) == ["a", "b", "best"]
    assert places(run) == [(1, 10), (2, 20), (3, 30)]


def test_one_tag_named_itself_and_accelerates_folder(tmp_path: Path) -> None:
    folder = save(tmp_path / "global_step7", 7, state(7))
    assert places(analyzer.open_run(folder)) == [(None, 7)]
    for number in (0, 1):
        save(tmp_path / "accelerate" / f"checkpoint_{number}" / "pytorch_model", number, state(number))
    run = analyzer.open_run(tmp_path / "accelerate")
    assert (run.layout, names(run)) == ("accelerate", ["checkpoint_0", "checkpoint_1"])
    assert_same_weights(run.checkpoints[1], state(1))


def test_a_trainers_own_files_are_read_before_those_of_deepspeed(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint-10"
    save(checkpoint / "global_step10", 10, state(1))
    torch.save(state(2), checkpoint / "pytorch_model.bin")
    (checkpoint / "trainer_state.json").write_text('{"epoch": 1.0, "global_step": 10}')
    (checkpoint / "latest").write_text("global_step10")
    for folder in (tmp_path, checkpoint):
        run = analyzer.open_run(folder)
        assert run.layout == "huggingface"
        assert_same_weights(run.checkpoints[0], state(2))


def test_placeholders_of_stage_3_are_rejected(tmp_path: Path) -> None:
    folder = save(tmp_path / "global_step7", 7, {name: torch.empty(0) for name in state(0)})
    with pytest.raises(CheckpointError, match=r"stage 3.*zero_to_fp32\.py"):
        weights_of(str(folder))


def test_a_damaged_one_among_others_is_serious(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path / f"global_step{step}", step, state(step))
    path = tmp_path / "global_step2" / "mp_rank_00_model_states.pt"
    path.write_bytes(path.read_bytes()[:-30])
    run = analyzer.open_run(tmp_path)
    assert places(run) == [(None, 1), (None, 3)]
    assert [one.severity for one in found(run, "refused_file")] == ["serious"]
