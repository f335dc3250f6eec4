"""Names of tensors from checkpoint to checkpoint: wrappers, collisions, tied weights; matched by name alone."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import random_walk, save_weights
from hypothesis import given
from hypothesis import strategies as st
from stored import alarms, assert_same_weights, found

import analyzer
from analyzer.layouts.renaming import without_wrappers
from analyzer.model.run import Checkpoint, Finding, TensorInfo

WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
PARTS = ("fc1", "layers", "0", "module_list", "my_orig_mod", "weight")


def with_names(*names: str) -> Checkpoint:
    tensors = {name: TensorInfo(name, "float32", (2, 2), ()) for name in names}
    return Checkpoint("one", "one", None, 1, {}, tensors, ())


@pytest.mark.parametrize(
    "stored, plain",
    [
        ("module.fc1.weight", "fc1.weight"),
        ("_orig_mod.module.fc1.weight", "fc1.weight"),
        ("module.module._orig_mod.fc1.weight", "fc1.weight"),
        ("_fsdp_wrapped_module.layers.0._fsdp_wrapped_module._checkpoint_wrapped_module.w", "layers.0.w"),
        ("encoder.module.layer.weight", "encoder.layer.weight"),
        ("module_list.0.weight", "module_list.0.weight"),
        ("submodule.weight", "submodule.weight"),
        ("my_orig_mod.weight", "my_orig_mod.weight"),
        ("fc1.module", "fc1.module"),
        ("module", "module"),
    ],
)
def test_wrappers_are_taken_out_wherever_they_stand(stored: str, plain: str) -> None:
    findings: list[Finding] = []
    (checkpoint,) = without_wrappers([with_names(stored)], findings)
    assert {name: info.name for name, info in checkpoint.tensors.items()} == {plain: plain}
    assert len(findings) == (stored != plain)


@given(st.lists(st.sampled_from([*WRAPPERS, *PARTS]), max_size=8))
def test_any_mixture_of_wrappers(parts: list[str]) -> None:
    name = ".".join([*parts, "bias"])
    (checkpoint,) = without_wrappers([with_names(name)], [])
    assert list(checkpoint.tensors) == [".".join([*(part for part in parts if part not in WRAPPERS), "bias"])]


def test_it_is_said_once_for_the_run(tmp_path: Path) -> None:
    for number, weights in enumerate(random_walk(3)):
        save_weights(tmp_path / f"step_{number}.safetensors", {f"module.{name}": one for name, one in weights.items()})
    run = analyzer.open_run(tmp_path)
    assert list(run.checkpoints[0].tensors) == ["fc1.bias", "fc1.weight", "out.bias", "out.weight"]
    (said,) = run.findings
    assert (said.rule, said.severity) == ("names_unwrapped", "info")
    assert said.sentence.startswith("Wrapper prefixes were stripped from 4 tensor names: module.")
    measured = analyzer.measure(run, tmp_path / "store.sqlite", ["motion"])
    assert np.isfinite(measured.series("fc1.weight", "step_distance").values[1:]).all()


def test_where_two_names_would_become_one_all_stay_as_they_are(tmp_path: Path) -> None:
    for number, weights in enumerate(random_walk(2)):
        stored = {f"module.{name}": one for name, one in weights.items()}
        if number == 1:
            stored["fc1.bias"] = weights["fc1.bias"]
        save_weights(tmp_path / f"step_{number}.safetensors", stored)
    run = analyzer.open_run(tmp_path)
    assert set(run.checkpoints[0].tensors) == {f"module.{name}" for name in random_walk(1)[0]}
    (said,) = found(run, "names_kept")
    assert "two tensors of step_1.safetensors would be fc1.bias" in said.sentence
    assert not found(run, "names_unwrapped")


def test_activation_checkpointing_as_torch_names_it(tmp_path: Path) -> None:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    plain = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = torch.nn.ModuleDict({"0": checkpoint_wrapper(plain[0]), "1": plain[1]})
    state = {name: value.detach() for name, value in torch.nn.Module.named_parameters(wrapped)}
    torch.save(state, tmp_path / "step_1.pt")
    assert_same_weights(analyzer.open_run(tmp_path).checkpoints[0], plain.state_dict())


# ------------------------------------------------------------------------------------------------ tied weights


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(7, 4)
        self.body = torch.nn.Linear(4, 4)
        self.lm_head = torch.nn.Linear(4, 7, bias=False)
        self.lm_head.weight = self.embedding.weight


def test_tied_weights_are_said_and_measured_under_both_names(tmp_path: Path) -> None:
    models: list[Any] = [Tied() for _ in range(3)]
    for step, model in enumerate(models):
        torch.save({"model": model.state_dict()}, tmp_path / f"step_{step}.pt")
    run = analyzer.open_run(tmp_path)
    (said,) = found(run, "tied_weights")
    assert said.severity == "info"
    assert said.evidence["tensors"] == [["embedding.weight", "lm_head.weight"]]
    assert said.checkpoints == ("step_0.pt", "step_1.pt", "step_2.pt")
    assert said.sentence.endswith("in totals: embedding.weight = lm_head.weight.")
    assert not alarms(analyzer.audit(run))
    for checkpoint, model in zip(run.checkpoints, models, strict=True):
        assert_same_weights(checkpoint, model.state_dict())


def test_a_tied_head_that_another_saver_left_out_is_explained(tmp_path: Path) -> None:
    for step in range(3):
        state = Tied().state_dict()
        if step == 1:
            del state["lm_head.weight"]
        torch.save(state, tmp_path / f"step_{step}.pt")
    run = analyzer.open_run(tmp_path)
    (said,) = found(run, "tied_weights")
    assert said.sentence.endswith(" lm_head.weight: not stored in every checkpoint, as a duplicate of another name.")
    assert set(run.checkpoints[1].tensors) == {"embedding.weight", "body.weight", "body.bias"}


def test_equal_values_in_bytes_of_their_own_are_not_tied(tmp_path: Path) -> None:
    weight = torch.ones(3, 3)
    torch.save({"a": weight, "b": weight.clone(), "c": weight.t(), "d": weight[:2]}, tmp_path / "step_1.pt")
    assert analyzer.open_run(tmp_path).findings == ()


def test_tensors_are_matched_by_name_and_never_by_position(tmp_path: Path) -> None:
    first, second = torch.ones(3, 3), 2 * torch.ones(3, 3)
    torch.save({"a": first, "b": second}, tmp_path / "step_1.pt")
    torch.save({"b": second, "a": first}, tmp_path / "step_2.pt")
    measured = analyzer.measure(analyzer.open_run(tmp_path), tmp_path / "store.sqlite", ["motion"])
    assert measured.series("a", "step_distance").values[1] == 0
    assert measured.series("b", "step_distance").values[1] == 0
