"""Kinds of checkpoints that are rejected by name, each with the tool that converts or merges it."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from builders import random_walk, save_weights
from stored import found, names

import analyzer
from analyzer.errors import CheckpointError, NoCheckpointsError
from analyzer.layouts.foreign import model_parallel_reason
from analyzer.layouts.weights.checkpoint import weights_of

# Files of one checkpoint, what the message calls it, and the tool that it names.
FOREIGN: dict[str, tuple[Sequence[str], str, str]] = {
    "Megatron": (
        ["latest_checkpointed_iteration.txt", "iter_0000100/mp_rank_00/model_optim_rng.pt"],
        "Megatron",
        "tools/checkpoint/convert.py",
    ),
    "Megatron, one folder": (["mp_rank_00_001/model_optim_rng.pt"], "Megatron", "tools/checkpoint/convert.py"),
    "Megatron, the innermost folder": (["model_optim_rng.pt"], "Megatron", "tools/checkpoint/convert.py"),
    "ZeRO-3": (
        ["latest", "zero_to_fp32.py", "global_step10/zero_pp_rank_0_mp_rank_00_model_states.pt"],
        "DeepSpeed",
        "zero_to_fp32.py",
    ),
    "ZeRO-3 under another tag": (
        ["latest", "last/zero_pp_rank_0_mp_rank_00_model_states.pt", "last/zero_pp_rank_1_mp_rank_00_model_states.pt"],
        "DeepSpeed",
        "zero_to_fp32.py",
    ),
    "DeepSpeed, only the optimizer": (
        ["bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"],
        "DeepSpeed",
        "zero_to_fp32.py",
    ),
    "DeepSpeed in a Trainer": (
        ["checkpoint-10/trainer_state.json", "checkpoint-10/global_step10/mp_rank_00_model_states.pt"],
        "DeepSpeed",
        "zero_to_fp32.py",
    ),
    "DeepSpeed, tensor parallel": (
        ["global_step10/mp_rank_00_model_states.pt", "global_step10/mp_rank_01_model_states.pt"],
        "DeepSpeed checkpoint of tensor parallelism",
        "deepspeed_to_transformers.py",
    ),
    "DeepSpeed, experts": (
        ["global_step10/mp_rank_00_model_states.pt", "global_step10/expert_0_mp_rank_00_model_states.pt"],
        "DeepSpeed checkpoint of a mixture of experts",
        "model.state_dict()",
    ),
    "GPT-NeoX": (
        ["latest", "global_step10/layer_00-model_00-model_states.pt", "global_step10/mp_rank_00_model_states.pt"],
        "checkpoint of pipeline parallelism, as GPT-NeoX",
        "convert_neox_to_hf.py",
    ),
    "verl": (
        ["latest_checkpointed_iteration.txt", *(f"global_step_5/actor/model_world_size_2_rank_{r}.pt" for r in (0, 1))],
        "the shards of FSDP that verl saves",
        "verl.model_merger",
    ),
    "Orbax": (["100/_CHECKPOINT_METADATA", "100/default/manifest.ocdbt"], "Orbax", "safetensors.flax"),
    "Flax": (["flax_model.msgpack"], "Flax", "safetensors.flax"),
    "Flax without a suffix": (["checkpoint_100", "checkpoint_200"], "Flax", "msgpack_restore"),
    "Keras": (["epoch_1.keras"], "Keras", "numpy.savez"),
    "Keras weights": (["epoch_1.weights.h5"], "Keras", "numpy.savez"),
    "NeMo": (["model-step=100.nemo"], "NeMo", "tar -xf"),
    "GGUF": (["model-q4.gguf"], "GGUF", "gguf.quants.dequantize"),
    "ONNX": (["model.onnx"], "ONNX", "onnx.load"),
    "TensorFlow Lite": (["model.tflite"], "TensorFlow Lite", "checkpoints that it was made from"),
    "StyleGAN": (["network-snapshot-000200.pkl"], "StyleGAN", "load_network_pkl"),
    "RLlib": (["checkpoint_000001/algorithm_state.pkl"], "RLlib", "Algorithm.from_checkpoint"),
    "Paddle": (["epoch_1.pdparams"], "Paddle", "paddle.load"),
    "TensorFlow": (
        ["checkpoint", "model.ckpt-10.index", "model.ckpt-10.data-00000-of-00001"],
        "TensorFlow",
        "tf.train.load_checkpoint",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_kinds_that_are_not_read_are_named_with_their_converter(tmp_path: Path, kind: str) -> None:
    files, name, remedy = FOREIGN[kind]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("{}")
    with pytest.raises(NoCheckpointsError) as caught:
        analyzer.open_run(tmp_path)
    assert name in str(caught.value)
    assert remedy in str(caught.value)
    assert ("zero_to_fp32" in str(caught.value)) == (remedy == "zero_to_fp32.py")


def test_a_model_of_stable_baselines3(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("images/1.png", b"x")
    with pytest.raises(NoCheckpointsError, match="no checkpoints found"):
        analyzer.open_run(tmp_path)
    with zipfile.ZipFile(tmp_path / "ppo_1000_steps.zip", "w") as archive:
        for name in ("data", "policy.pth", "policy.optimizer.pth"):
            archive.writestr(name, b"x")
    with pytest.raises(NoCheckpointsError, match=r"Stable-Baselines3 \(ppo_1000_steps\.zip\).*policy\.state_dict\(\)"):
        analyzer.open_run(tmp_path)


def test_a_torch_file_without_a_suffix_is_no_checkpoint_of_flax(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "checkpoint_1")
    with pytest.raises(NoCheckpointsError) as caught:
        analyzer.open_run(tmp_path)
    assert "Flax" not in str(caught.value)


# ------------------------------------------------------------------------------------------- parts of one model

PARTS: dict[str, tuple[Sequence[str], str]] = {
    "Meta": (["consolidated.00.pth", "consolidated.01.pth"], "convert_llama_weights_to_hf.py"),
    "Meta, the second half": (["consolidated.01.pth"], "convert_llama_weights_to_hf.py"),
    "DINOv2": (["model_0001249.rank_0.pth", "model_0001249.rank_1.pth"], "FULL_STATE_DICT"),
    "DINOv2, one process": (["model_0001249.rank_0.pth"], "FULL_STATE_DICT"),
    "verl": (["model_world_size_2_rank_0.pt", "model_world_size_2_rank_1.pt"], "verl.model_merger"),
    "ranks": (["epoch_1_rank_0.pt", "epoch_1_rank_1.pt", "epoch_2_rank_0.pt", "epoch_2_rank_1.pt"], "--files"),
    "ranks first": (["rank0_step5.safetensors", "rank1_step5.safetensors"], "--files"),
    "accelerate": (["pytorch_model_fsdp_rank0.bin", "pytorch_model_fsdp_rank1.bin"], "rank 0"),
    "two axes": (["w_pp-rank-0-of-1_tp-rank-0-of-2.pt", "w_pp-rank-0-of-1_tp-rank-1-of-2.pt"], "--files"),
    "metaseq": (["checkpoint_5-model_part-0-shard0.pt", "checkpoint_5-model_part-1-shard0.pt"], "metaseq"),
    "fairseq": (["checkpoint5-shard0.pt", "checkpoint5-shard1.pt"], "metaseq"),
}
SERIES = {
    "epochs of one process": ["epoch_1_rank_0.pt", "epoch_2_rank_0.pt"],
    "ranks of LoRA": ["lora_rank_4.pt", "lora_rank_8.pt", "lora_rank_16.pt"],
    "another word": ["frank_0.pt", "frank_1.pt"],
    "one file of Meta": ["consolidated.00.pth"],
    "steps": ["model_0.pt", "model_1.pt"],
    "numbers within": ["shard0_1.pt", "shard1_1.pt"],
}


@pytest.mark.parametrize("kind", PARTS)
def test_parts_of_one_model_are_no_series(kind: str) -> None:
    names, remedy = PARTS[kind]
    reason = model_parallel_reason("/runs/a", names)
    assert reason
    assert reason.startswith(f"/runs/a: {names[0]}")
    assert remedy in reason


@pytest.mark.parametrize("kind", SERIES)
def test_other_series_are_no_parts_of_one_model(kind: str) -> None:
    assert model_parallel_reason("/runs/a", SERIES[kind]) is None


@pytest.mark.parametrize("kind", ["Meta", "verl", "ranks"])
def test_parts_are_rejected_where_they_lie_and_below(tmp_path: Path, kind: str) -> None:
    files, remedy = PARTS[kind]
    for number, name in enumerate(files):
        (tmp_path / "step_5").mkdir(exist_ok=True)
        torch.save({"w": torch.full((4, 4), float(number))}, tmp_path / "step_5" / name)
    torch.save({"w": torch.ones(3)}, tmp_path / "step_5" / "tokens.pt")
    for folder in (tmp_path, tmp_path / "step_5"):
        with pytest.raises(NoCheckpointsError if folder == tmp_path else CheckpointError) as caught:
            analyzer.open_run(folder)
        assert remedy in str(caught.value)


def test_parts_of_safetensors_files(tmp_path: Path) -> None:
    for rank, weights in enumerate(random_walk(2)):
        save_weights(tmp_path / f"model_rank_{rank}.safetensors", weights)
    with pytest.raises(CheckpointError, match="ranks"):
        analyzer.open_run(tmp_path)


def test_one_file_of_meta_is_a_whole_model(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3, 2)}, tmp_path / "consolidated.00.pth")
    assert list(weights_of(str(tmp_path)).tensors) == ["w"]
    assert names(analyzer.open_run(tmp_path)) == ["consolidated.00.pth"]
    torch.save({"w": torch.ones(3, 2)}, tmp_path / "consolidated.01.pth")
    with pytest.raises(CheckpointError, match="convert_llama_weights_to_hf"):
        weights_of(str(tmp_path))


# ------------------------------------------------------------------------------------------- no checkpoints at all


def optimizer_state() -> dict[str, object]:
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    return dict(optimizer.state_dict())


def test_states_of_the_training_are_a_notice(tmp_path: Path) -> None:
    """improved-diffusion's opt*.pt by name; by content what has a name like any other, and a counter of SpeechBrain."""
    for step in (1, 2):
        torch.save({"w": torch.full((4, 4), float(step))}, tmp_path / f"model00000{step}.pt")
        torch.save(optimizer_state(), tmp_path / f"opt00000{step}.pt")
    torch.save(optimizer_state(), tmp_path / "adam_2.pt")
    torch.save({"optimizer": optimizer_state(), "epoch": 2, "best": None}, tmp_path / "state_2.pt")
    (tmp_path / "count_2.ckpt").write_bytes(b"2")
    run = analyzer.open_run(tmp_path)
    assert names(run) == ["model000001.pt", "model000002.pt"]
    notices = found(run, "not_checkpoints")
    assert {notice.severity for notice in notices} == {"notice"}
    files = {name for notice in notices for name in notice.evidence["files"]}  # type: ignore[attr-defined]
    assert files == {"opt000001.pt", "opt000002.pt", "adam_2.pt", "state_2.pt", "count_2.ckpt"}
    assert not found(run, "refused_file")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02"])
def test_a_truncated_checkpoint_is_serious(tmp_path: Path, content: bytes) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "epoch_1.pt")
    (tmp_path / "epoch_2.pt").write_bytes(content)
    assert [one.severity for one in found(analyzer.open_run(tmp_path), "refused_file")] == ["serious"]


def test_the_optimizer_of_marian_is_left_out(tmp_path: Path) -> None:
    import numpy as np

    for step in (100, 200):
        np.savez(tmp_path / f"model.iter{step}.npz", w=np.ones((2, 3), np.float32))
    np.savez(tmp_path / "model.npz.optimizer.npz", adam_mt=np.ones(3))
    assert names(analyzer.open_run(tmp_path)) == ["model.iter100.npz", "model.iter200.npz"]


def test_a_torch_file_without_a_suffix_is_named_with_the_remedy(tmp_path: Path) -> None:
    """HiFi-GAN's g_00005000; Tacotron 2's files are of torch before 1.6."""
    for number, name in enumerate(("g_00005000", "checkpoint_1000")):
        (tmp_path / name).mkdir()
        is_zip = number == 0
        torch.save({"w": torch.ones(2)}, tmp_path / name / name, _use_new_zipfile_serialization=is_zip)
        with pytest.raises(NoCheckpointsError, match=r"Add \.pt to the names|flax"):
            analyzer.open_runs(tmp_path / name)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes_2024").write_text("Dear diary")
    with pytest.raises(NoCheckpointsError, match="no checkpoints found"):
        analyzer.open_runs(tmp_path / "notes")
