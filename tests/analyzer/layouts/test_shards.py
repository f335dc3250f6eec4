"""Weights in several files: whole and hostile indices, and what transformers itself writes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import random_walk, save_weights
from stored import assert_same_weights

from analyzer.errors import CheckpointError
from analyzer.layouts.weights.checkpoint import weight_files_in, weights_of
from analyzer.model.run import Checkpoint

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"


def sharded(folder: Path, **weight_map: str) -> dict[str, np.ndarray]:
    """Two shards with an index; ``weight_map`` replaces entries of it."""
    (weights,) = random_walk(1)
    halves = (dict(list(weights.items())[:2]), dict(list(weights.items())[2:]))
    for shard, half in zip(SHARDS, halves, strict=True):
        save_weights(folder / shard, half)
    whole = {name: shard for shard, half in zip(SHARDS, halves, strict=True) for name in half}
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": {**whole, **weight_map}}))
    return weights


def as_checkpoint(folder: Path) -> Checkpoint:
    index = weights_of(str(folder))
    return Checkpoint("it", str(folder), None, None, {}, index.tensors, index.files)


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    weights = sharded(tmp_path)
    checkpoint = as_checkpoint(tmp_path)
    assert_same_weights(checkpoint, weights)
    assert {Path(stamp.path).name for stamp in checkpoint.files} == {INDEX, *SHARDS}
    assert sum(stamp.size for stamp in checkpoint.files) == sum(path.stat().st_size for path in tmp_path.iterdir())


@pytest.fixture(scope="module")
def language_model() -> Any:
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=64, n_positions=8, n_embd=16, n_layer=12, n_head=2)
    return transformers.GPT2LMHeadModel(config)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sharded_equals_unsharded_as_transformers_writes_them(tmp_path: Path, language_model: Any, dtype: Any) -> None:
    network = language_model.to(dtype)
    network.save_pretrained(tmp_path / "whole")
    network.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 3
    assert weight_files_in(str(tmp_path / "shards")) == [INDEX]
    state = {name: value for name, value in network.state_dict().items() if name != "lm_head.weight"}  # tied
    whole, shards = as_checkpoint(tmp_path / "whole"), as_checkpoint(tmp_path / "shards")
    assert_same_weights(whole, state)
    assert_same_weights(shards, state)
    assert list(whole.tensors) == list(shards.tensors)


def test_torch_shards(tmp_path: Path) -> None:
    state = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)).state_dict()
    names = list(state)
    for number, part in enumerate((names[:2], names[2:]), 1):
        torch.save({name: state[name] for name in part}, tmp_path / f"pytorch_model-{number:05}-of-00002.bin")
    weight_map = {name: f"pytorch_model-{1 + position // 2:05}-of-00002.bin" for position, name in enumerate(names)}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert_same_weights(as_checkpoint(tmp_path), state)


# ------------------------------------------------------------------------------------------------ refused


OUTSIDE = [
    "../secret.safetensors",
    "../../etc/passwd",
    "/etc/passwd",
    "..\\secret.safetensors",
    "sub/secret.safetensors",
    "C:secret.safetensors",
    "s3://bucket/secret.safetensors",
    "..",
    ".",
    "",
    "a\0b",
    "a\udc80b",
    "a\ud800b",
]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every path that is opened from now on."""
    paths: list[str] = []
    open_file = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *rest, **more: paths.append(str(path)) or open_file(path, *rest, **more)
    )
    return paths


@pytest.mark.parametrize("name", OUTSIDE)
def test_fault_18_names_that_lead_out_of_the_folder(tmp_path: Path, opened: list[str], name: str) -> None:
    save_weights(tmp_path / "secret.safetensors", random_walk(1)[0])
    sharded(tmp_path / "run", **{"fc1.weight": name})
    opened.clear()
    with pytest.raises(CheckpointError, match="which is not a file of this folder; it is not opened"):
        weights_of(str(tmp_path / "run"))
    assert opened == [str(tmp_path / "run" / INDEX)]


@pytest.mark.skipif(os.name != "posix", reason="needs links")
@pytest.mark.parametrize("target", ["../secret.safetensors", "/etc/passwd", "loop"])
def test_fault_18_a_link_that_leaves_the_folder(tmp_path: Path, opened: list[str], target: str) -> None:
    save_weights(tmp_path / "secret.safetensors", random_walk(1)[0])
    sharded(tmp_path / "run")
    shard = tmp_path / "run" / SHARDS[0]
    shard.unlink()
    shard.symlink_to(SHARDS[0] if target == "loop" else target)
    opened.clear()
    with pytest.raises(CheckpointError, match=f"{SHARDS[0]}"):
        weights_of(str(tmp_path / "run"))
    assert opened == [str(tmp_path / "run" / INDEX)]


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_a_link_within_the_folder_is_no_danger(tmp_path: Path) -> None:
    weights = sharded(tmp_path)
    (tmp_path / SHARDS[0]).rename(tmp_path / "moved.safetensors")
    (tmp_path / SHARDS[0]).symlink_to("moved.safetensors")
    assert_same_weights(as_checkpoint(tmp_path), weights)


def test_fault_20_a_missing_shard(tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / SHARDS[1]).unlink()
    with pytest.raises(CheckpointError, match=f"names the shard {SHARDS[1]}, which is missing"):
        weights_of(str(tmp_path))


def test_fault_20_a_missing_tensor(tmp_path: Path) -> None:
    sharded(tmp_path, **{"no.weight": SHARDS[0]})
    with pytest.raises(CheckpointError, match=rf"no\.weight is not in {SHARDS[0]}"):
        weights_of(str(tmp_path))


def test_fault_20_a_tensor_in_another_shard_than_the_index_says(tmp_path: Path) -> None:
    sharded(tmp_path, **{"fc1.weight": SHARDS[1]})
    with pytest.raises(CheckpointError, match=rf"fc1\.weight is not in {SHARDS[1]}"):
        weights_of(str(tmp_path))


def test_fault_20_a_tensor_in_two_shards(tmp_path: Path) -> None:
    weights = sharded(tmp_path)
    save_weights(tmp_path / SHARDS[1], weights)
    with pytest.raises(CheckpointError, match="is in two shards"):
        weights_of(str(tmp_path))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": []}', '{"weight_map": {"a": 1}}']
)
def test_an_index_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(CheckpointError, match="index"):
        weights_of(str(tmp_path))


def test_a_damaged_shard(tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / SHARDS[0]).write_bytes(b"\0" * 7)
    with pytest.raises(CheckpointError, match=f"{SHARDS[0]}: 7 bytes are too few"):
        weights_of(str(tmp_path))


def test_a_shard_that_is_an_index_goes_round_no_circle(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": INDEX}}))
    with pytest.raises(CheckpointError, match="is not a file of weights"):
        weights_of(str(tmp_path))


def test_the_whole_file_is_preferred_to_shards(tmp_path: Path) -> None:
    weights = sharded(tmp_path)
    save_weights(tmp_path / "model.safetensors", {name: 2 * array for name, array in weights.items()})
    shutil.copy(tmp_path / "model.safetensors", tmp_path / "pytorch_model.bin")
    assert weight_files_in(str(tmp_path)) == ["model.safetensors", INDEX, "pytorch_model.bin"]
    assert_same_weights(as_checkpoint(tmp_path), {name: 2 * array for name, array in weights.items()})
