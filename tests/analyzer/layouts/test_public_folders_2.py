"""Folders of public reports, rebuilt small: checkpoints that are folders, and odd names.

Each test names the reports that it follows.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from stored import alarms, assert_same_weights, found, places
from trainer_folders import State, opened, orders, save, series, states

import analyzer
from analyzer.errors import NoCheckpointsError

torch = pytest.importorskip("torch")
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def of_hugging_face(folder: Path, state: State) -> Path:
    """Two shards with an index, as transformers saves them."""
    weight_map = {name: (FIRST, SECOND)[number % 2] for number, name in enumerate(state)}
    for shard in (FIRST, SECOND):
        save(folder / shard, {name: state[name] for name, file in weight_map.items() if file == shard})
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text("{}")
    return folder


def trainer_state(folder: Path, step: int, log: list[dict[str, Any]] | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": log or []}))


# ------------------------------------------------------------------------------------------ series of folders


def test_two_steps_with_equal_weights(tmp_path: Path) -> None:
    """pythia#83, #195: step0 is step1."""
    first, _, second = states(3)
    for step, state in ((0, first), (1, first), (512, second)):
        of_hugging_face(tmp_path / f"step{step}", state)
    (run,) = opened(tmp_path).values()
    assert places(run) == [(None, 0), (None, 1), (None, 512)]
    (alarm,) = alarms(analyzer.audit(run))
    assert "step0" in alarm.sentence and "step1" in alarm.sentence


def test_revisions_in_the_cache_are_one_run(tmp_path: Path) -> None:
    """Pythia from the Hub."""
    repository = tmp_path / "models--EleutherAI--pythia-14m"
    for number, (step, state) in enumerate(zip((0, 512, 1000), states(3), strict=True)):
        commit = f"{number:040x}"
        blob = save(repository / "blobs" / f"blob{number}.safetensors", state)
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").symlink_to(f"../../blobs/{blob.name}")
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / f"step{step}").write_text(commit)
    assert list(orders(tmp_path).values()) == [["step0", "step512", "step1000"]]


def test_identical_adapters(tmp_path: Path) -> None:
    """peft#353."""
    key = "base_model.model.h.0.attn.c_attn.lora_"
    (state,) = states(1, shapes={f"{key}A.weight": (2, 6), f"{key}B.weight": (9, 2)})
    for step in (100, 200):
        save(tmp_path / f"checkpoint-{step}" / "adapter_model.safetensors", state)
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["c_attn"]}
        (tmp_path / f"checkpoint-{step}" / "adapter_config.json").write_text(json.dumps(config))
        trainer_state(tmp_path / f"checkpoint-{step}", step)
    (run,) = opened(tmp_path).values()
    sentences = " ".join(one.sentence for one in alarms(analyzer.audit(run)))
    assert "checkpoint-100" in sentences and "checkpoint-200" in sentences


def test_shards_of_torchtune_are_one_checkpoint_for_each_epoch(tmp_path: Path) -> None:
    """torchtune#922, #877; and the folders of later versions."""
    for epoch, state in enumerate(states(3)):
        names_of = list(state)
        save(tmp_path / "flat" / f"hf_model_0001_{epoch}.pt", {name: state[name] for name in names_of[:2]})
        save(tmp_path / "flat" / f"hf_model_0002_{epoch}.pt", {name: state[name] for name in names_of[2:]})
        save(tmp_path / "flat" / f"adapter_{epoch}.pt", {"body.lora_a.weight": torch.ones(2, 6)})
        of_hugging_face(tmp_path / "folders" / f"epoch_{epoch}", state)
    save(tmp_path / "flat" / "recipe_state.pt", {"epochs_run": 2, "seed": 1, "optimizer": {}})
    for kind in ("flat", "folders"):
        assert orders(tmp_path / kind) == {"": ["epoch_0", "epoch_1", "epoch_2"]}
        (run,) = opened(tmp_path / kind).values()
        assert places(run) == [(0, None), (1, None), (2, None)]
        for checkpoint, state in zip(run.checkpoints, states(3), strict=True):
            assert_same_weights(checkpoint, state)


def test_components_of_diffusers(tmp_path: Path) -> None:
    """diffusers#5162, #3379: unet and its average; adapters beside the optimizer."""
    for step, state, average in zip((500, 1000, 1500), states(3), states(3, seed=1), strict=True):
        for component, weights in (("unet", state), ("unet_ema", average)):
            save(tmp_path / "full" / f"checkpoint-{step}" / component / "diffusion_pytorch_model.safetensors", weights)
        save(tmp_path / "full" / f"checkpoint-{step}" / "optimizer.bin", {"state": {}, "param_groups": []})
        factors = {
            "unet.q.lora_A.weight": state["head.weight"],
            "unet.q.lora_B.weight": average["head.weight"].T.contiguous(),
        }
        save(tmp_path / "lora" / f"checkpoint-{step}" / "pytorch_lora_weights.safetensors", factors)
    order = [f"checkpoint-{step}" for step in (500, 1000, 1500)]
    assert orders(tmp_path / "full") == {"unet": order, "unet_ema": order}
    assert orders(tmp_path / "lora") == {"": order}
    (run,) = opened(tmp_path / "lora").values()
    assert [[info.shape for info in one.tensors.values()] for one in run.checkpoints] == [[(6, 6)]] * 3
    assert places(run) == [(None, 500), (None, 1000), (None, 1500)]


def test_lerobot_and_speechbrain(tmp_path: Path) -> None:
    for number, state in enumerate(states(3), start=1):
        step = tmp_path / "lerobot" / "checkpoints" / f"{5000 * number:06}"
        save(step / "pretrained_model" / "model.safetensors", state)
        save(step / "training_state" / "optimizer_state.safetensors", {"state/0/exp_avg": torch.ones(4)})
        made = tmp_path / "speechbrain" / "save" / f"CKPT+2024-07-0{number}+10-00-00+00"
        save(made / "model.ckpt", state)
        save(made / "optimizer.ckpt", {"state": {}, "param_groups": []})
        (made / "counter.ckpt").write_text(str(number))
        (made / "CKPT.yaml").write_text(f"# yamllint disable\nepoch: {number}\nend-of-epoch: true\nunixtime: 1.7e9\n")
    assert list(orders(tmp_path / "lerobot").values()) == [["005000", "010000", "015000"]]
    (run,) = opened(tmp_path / "speechbrain").values()
    assert places(run) == [(1, None), (2, None), (3, None)]
    assert not alarms(analyzer.audit(run))


def test_shards_of_fsdp_are_read_with_their_metadata(tmp_path: Path) -> None:
    """LLM-Workshop#25, transformers#26186, accelerate#3010."""
    dcp = pytest.importorskip("torch.distributed.checkpoint")
    for step, state in zip((10, 20), states(2), strict=True):
        below = tmp_path / f"checkpoint-{step}" / "pytorch_model_fsdp_0"
        below.mkdir(parents=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # this is one process
            dcp.save({"model": state}, checkpoint_id=below)
        trainer_state(tmp_path / f"checkpoint-{step}", step)
    assert orders(tmp_path) == {"": ["checkpoint-10", "checkpoint-20"]}
    (run,) = opened(tmp_path).values()
    assert_same_weights(run.checkpoints[1], states(2)[1])
    for step in (10, 20):
        (tmp_path / f"checkpoint-{step}" / "pytorch_model_fsdp_0" / ".metadata").unlink()
    with pytest.raises(NoCheckpointsError, match=r"\.metadata"):
        analyzer.open_runs(tmp_path)


def test_deepspeed_with_and_without_the_files_of_transformers(tmp_path: Path) -> None:
    """transformers#12427."""
    for step, state in zip((10, 20), states(2), strict=True):
        for kind in ("with", "without"):
            below = tmp_path / kind / f"checkpoint-{step}"
            trainer_state(below, step)
            for rank in (0, 1):
                shard = f"global_step{step}/zero_pp_rank_{rank}_mp_rank_00_model_states.pt"
                save(below / shard, {"module": {name: torch.empty(0) for name in state}})
            (below / "zero_to_fp32.py").write_text("")
            (below / "latest").write_text(f"global_step{step}")
        of_hugging_face(tmp_path / "with" / f"checkpoint-{step}", state)
    assert orders(tmp_path / "with") == {"": ["checkpoint-10", "checkpoint-20"]}
    with pytest.raises(NoCheckpointsError, match="zero_to_fp32"):
        analyzer.open_runs(tmp_path / "without")


def test_wrapped_names_in_some_checkpoints(tmp_path: Path) -> None:
    """pytorch#94575, torchtitan#2622, timm PR 2003: torch.compile inside, mixed, after a resume."""
    prefixes = ("", "_orig_mod.", "module._orig_mod.")
    for step, (prefix, state) in enumerate(zip(prefixes, states(3), strict=True), start=1):
        inner = {
            name.replace("body.", "body._orig_mod.") if step == 2 else name: value for name, value in state.items()
        }
        save(tmp_path / f"step_{step}.pt", {"model": {f"{prefix}{name}": value for name, value in inner.items()}})
    assert orders(tmp_path) == {"": ["step_1.pt", "step_2.pt", "step_3.pt"]}
    (run,) = opened(tmp_path).values()
    for checkpoint, state in zip(run.checkpoints, states(3), strict=True):
        assert_same_weights(checkpoint, state)


ODD = {
    "t-few#11": (["global_step100.pt", "global_step200.pt", "finish.pt"], ["global_step100.pt", "global_step200.pt"]),
    "mattergen#57": (["epoch=99-loss_val=0.41.pt", "epoch=199-loss_val=0.40.pt", "last.pt"],
                     ["epoch=99-loss_val=0.41.pt", "epoch=199-loss_val=0.40.pt"]),
    "Swin": (["ckpt_epoch_0.pth", "ckpt_epoch_10.pth", "ckpt_epoch_9.pth"],
             ["ckpt_epoch_0.pth", "ckpt_epoch_9.pth", "ckpt_epoch_10.pth"]),
    "MoCo": (["checkpoint_0000.pth.tar", "checkpoint_0001.pth.tar"],
             ["checkpoint_0000.pth.tar", "checkpoint_0001.pth.tar"]),
    "coqui": (["checkpoint_10000.pth", "checkpoint_20000.pth", "best_model_15000.pth", "best_model.pth"],
              ["checkpoint_10000.pth", "checkpoint_20000.pth"]),
    "lucidrains": (["model-1.pt", "model-2.pt", "model-10.pt"], ["model-1.pt", "model-2.pt", "model-10.pt"]),
}  # fmt: skip


@pytest.mark.parametrize("report", ODD)
def test_odd_names_of_files(tmp_path: Path, report: str) -> None:
    files, order = ODD[report]
    series(tmp_path, files)
    assert orders(tmp_path, warned=["unplaced_file", "missing_epoch", "irregular"]) == {"": order}


FOLDERS = {
    "distil-whisper PR 155": ["checkpoint-1000-epoch-0", "checkpoint-2000-epoch-1"],
    "sentence-transformers": ["500", "1000"],
    "LlamaFactory#6614": ["checkpoint-9", "checkpoint-10"],
}


@pytest.mark.parametrize("report", FOLDERS)
def test_odd_names_of_folders(tmp_path: Path, report: str) -> None:
    for name, state in zip(FOLDERS[report], states(2), strict=True):
        save(tmp_path / name / "model.safetensors", state)
    assert orders(tmp_path) == {"": FOLDERS[report]}


def test_a_checkpoint_that_is_being_written(tmp_path: Path) -> None:
    """transformers PR 27820: tmp-checkpoint-N."""
    for step, state in zip((10, 20), states(2), strict=True):
        save(tmp_path / f"checkpoint-{step}" / "model.safetensors", state)
        trainer_state(tmp_path / f"checkpoint-{step}", step)
    save(tmp_path / "tmp-checkpoint-30" / "model.safetensors", states(3)[2])
    assert orders(tmp_path) == {"": ["checkpoint-10", "checkpoint-20"]}
    (run,) = opened(tmp_path).values()
    assert "tmp-checkpoint-30" in found(run, "unfinished_run")[0].sentence
