"""Series of folders: Pythia, OLMo, torchtitan, accelerate, and what is said about odd ones."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import random_walk, save_weights
from stored import alarms, assert_same_weights, found, names, places

import analyzer
from analyzer.errors import NoCheckpointsError
from analyzer.layouts import find_runs


def folders(parent: Path, *folder_names: str) -> Path:
    """Checkpoint folders with Hugging Face names, of random weights."""
    for name, weights in zip(folder_names, random_walk(len(folder_names)), strict=True):
        save_weights(parent / name / "model.safetensors", weights)
    return parent


def test_pythia(tmp_path: Path) -> None:
    run = analyzer.open_run(folders(tmp_path / "pythia-70m", "step0", "step1", "step512", "step1000", "step143000"))
    assert (run.name, run.layout) == ("pythia-70m", "folders")
    assert places(run) == [(None, step) for step in (0, 1, 512, 1000, 143000)]
    assert run.findings == ()


def lines(parent: Path, *folder_names: str) -> dict[str, list[str]]:
    return {run.name: names(run) for run in analyzer.open_runs(folders(parent / "olmo", *folder_names))}


def test_ingredients_are_branches_and_never_one_line(tmp_path: Path) -> None:
    trunk = ["stage1-step1000-tokens3B", "stage1-step20000-tokens42B"]
    first = ["stage2-ingredient1-step1000-tokens3B", "stage2-ingredient1-step2000-tokens5B"]
    second = ["stage2-ingredient2-step1000-tokens3B", "stage2-ingredient2-step2000-tokens5B"]
    assert lines(tmp_path, *second, *first[::-1], *trunk[::-1]) == {
        "olmo/stage1": trunk,
        "olmo/stage2-ingredient1": first,
        "olmo/stage2-ingredient2": second,
    }
    for run in analyzer.open_runs(tmp_path):
        assert run.path == str(tmp_path / "olmo")
        assert not alarms(analyzer.audit(run))
    (said,) = found(analyzer.open_runs(tmp_path)[0], "several_series")
    assert "stage2-ingredient1" in said.sentence


def test_ingredients_without_stages(tmp_path: Path) -> None:
    assert lines(tmp_path, "step10-tokens1B", "ingredient1-step20-tokens2B", "ingredient2-step20-tokens2B") == {
        "olmo/trunk": ["step10-tokens1B"],
        "olmo/ingredient1": ["ingredient1-step20-tokens2B"],
        "olmo/ingredient2": ["ingredient2-step20-tokens2B"],
    }


def test_stages_are_one_line_as_long_as_their_steps_go_on(tmp_path: Path) -> None:
    going_on = ["stage1-step10-tokens1B", "stage1-step20-tokens2B", "stage2-step30-tokens3B", "stage3-step110-tokens9B"]
    assert lines(tmp_path / "a", *going_on) == {"olmo": going_on}
    anew = ["stage1-step10-tokens1B", "stage1-step20-tokens2B", "stage2-step10-tokens3B"]
    assert lines(tmp_path / "b", *anew) == {"olmo/stage1": anew[:2], "olmo/stage2": anew[2:]}


def test_a_branch_that_cannot_be_used_spoils_no_other(tmp_path: Path) -> None:
    folder = folders(tmp_path, "stage1-step1-tokens1B", "stage2-ingredient1-step1-tokens1B")
    twice = folder / "stage2-ingredient1-step01-tokens1B"
    save_weights(twice / "model.safetensors", random_walk(1, seed=5)[0])
    there = find_runs(str(folder))
    assert [run.name for run in there.runs] == [f"{tmp_path.name}/stage1"]
    assert "all claim step 1 but differ" in there.refused[0].sentence


def test_lines_of_two_models_of_one_name_stay_apart(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        folders(tmp_path / parent / "olmo", "ingredient1-step1", "ingredient2-step1")
    assert [run.name for run in analyzer.open_runs(tmp_path)] == [
        f"{parent}/olmo/ingredient{number}" for parent in ("a", "b") for number in (1, 2)
    ]


@pytest.mark.parametrize("name", ["epoch_{}", "step_{}", "iter-{}", "checkpoint-{}"])
def test_other_names_that_tell_the_place(tmp_path: Path, name: str) -> None:
    run = analyzer.open_run(folders(tmp_path, *(name.format(number) for number in (1, 2, 10))))
    assert names(run) == [name.format(number) for number in (1, 2, 10)]
    (tmp_path / "metrics.csv").write_text("step,loss\n1,3\n10,1\n")
    run = analyzer.open_run(tmp_path)
    assert [one.scores for one in run.checkpoints] == ([{}] * 3 if "epoch" in name else [{"loss": 3}, {}, {"loss": 1}])


def test_runs_in_folders_without_a_place_stay_runs(tmp_path: Path) -> None:
    folders(tmp_path, "seed1", "seed2")
    assert [run.name for run in analyzer.open_runs(tmp_path)] == ["seed1", "seed2"]


def test_fault_25_a_checkpoint_that_is_being_written(tmp_path: Path) -> None:
    folder = folders(tmp_path, "step1", "step2")
    (folder / "step3").mkdir()
    (folder / "tmp-checkpoint-4").mkdir()
    run = analyzer.open_run(folder)
    assert names(run) == ["step1", "step2"]
    assert "step3: contains no weights" in found(run, "refused_file")[0].sentence
    assert "It is read up to the last complete checkpoint" in found(run, "unfinished_run")[0].sentence


def test_several_kinds_of_weights_in_one_folder_are_said(tmp_path: Path) -> None:
    folder = folders(tmp_path, "step1", "step2")
    torch.save({"w": torch.ones(2, 2)}, folder / "step2" / "pytorch_model.bin")
    run = analyzer.open_run(folder)
    (said,) = found(run, "several_weights")
    assert (said.severity, said.checkpoints) == ("notice", ("step2",))
    assert said.sentence == "step2: contain model.safetensors and pytorch_model.bin; model.safetensors is read."


# ------------------------------------------------------------------------------------------------ real writers


def network(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 3))


def test_accelerate(tmp_path: Path) -> None:
    """Its counter counts saves, not steps, so the checkpoints carry no step."""
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    states = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        project = ProjectConfiguration(project_dir=str(tmp_path), automatic_checkpoint_naming=True)
        accelerator = Accelerator(cpu=True, project_config=project)
        model = network()
        model, optimiser = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
        for number in range(11):
            model(torch.randn(4, 5)).sum().backward()
            optimiser.step()
            accelerator.save_state(safe_serialization=number != 3)
            states.append({name: value.clone() for name, value in model.state_dict().items()})
    assert (tmp_path / "checkpoints" / "checkpoint_3" / "pytorch_model.bin").is_file()
    run = analyzer.open_run(tmp_path)
    assert (run.layout, run.ordered_by) == ("accelerate", "the numbers in the names")
    assert names(run) == [f"checkpoint_{number}" for number in range(11)]
    assert places(run) == [(None, None)] * 11
    for checkpoint, state in zip(run.checkpoints, states, strict=True):
        assert_same_weights(checkpoint, state)
    assert not alarms(analyzer.audit(run))


def test_a_second_model_of_accelerate_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    from accelerate import Accelerator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        accelerator = Accelerator(cpu=True)
        models = [accelerator.prepare(network()), accelerator.prepare(torch.nn.Linear(2, 3))]
        for number in range(2):
            accelerator.save_state(str(tmp_path / f"checkpoint_{number}"))
    assert (tmp_path / "checkpoint_1" / "model_1.safetensors").is_file()
    run = analyzer.open_run(tmp_path)
    assert run.layout == "accelerate"
    assert_same_weights(run.checkpoints[0], models[0].state_dict())
    (said,) = found(run, "further_models")
    assert said.sentence.startswith("model_1.safetensors: several models were saved together")


def distributed(folder: Path, state: dict[str, Any]) -> None:
    import torch.distributed.checkpoint as dcp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it works with one process
        dcp.save(state, checkpoint_id=folder, no_dist=True)


@pytest.mark.parametrize("arrangement", ["torchtitan", "under model"])
def test_distributed_checkpoints(tmp_path: Path, arrangement: str) -> None:
    """torchtitan puts the model's tensors at the top, beside the optimiser's; others put them under ``model``."""
    models = [network(seed) for seed in range(3)]
    for number, model in enumerate(models):
        optimiser = torch.optim.AdamW(model.parameters())
        model(torch.randn(4, 5)).sum().backward()
        optimiser.step()
        weights = model.state_dict() if arrangement == "torchtitan" else {"model": model.state_dict()}
        others = {"optimizer": optimiser.state_dict(), "train_state": {"step": torch.tensor(10 * number)}}
        distributed(tmp_path / f"step-{10 * number}", {**weights, **others})
    run = analyzer.open_run(tmp_path)
    assert (run.layout, places(run)) == ("folders", [(None, 0), (None, 10), (None, 20)])
    for checkpoint, model in zip(run.checkpoints, models, strict=True):
        assert_same_weights(checkpoint, model.state_dict())
    assert run.findings == ()
    assert not alarms(analyzer.audit(run))


def test_a_distributed_checkpoint_without_its_metadata_is_unfinished(tmp_path: Path) -> None:
    for step in (1, 2):
        distributed(tmp_path / f"step-{step}", network().state_dict())
    (tmp_path / "step-2" / ".metadata").unlink()
    run = analyzer.open_run(tmp_path)
    assert names(run) == ["step-1"]
    assert "has no .metadata, which is written last" in found(run, "refused_file")[0].sentence


def test_a_distributed_checkpoint_of_an_optimiser_alone(tmp_path: Path) -> None:
    distributed(tmp_path / "step-1", {"optimizer": {"state": {"w": torch.ones(3)}}})
    with pytest.raises(NoCheckpointsError, match="only the state of an optimizer"):
        analyzer.open_run(tmp_path)


# ------------------------------------------------------------------------------------------------ kinds not read


def test_a_foreign_checkpoint_spoils_no_other_run(tmp_path: Path) -> None:
    folders(tmp_path / "good", "step1", "step2")
    (tmp_path / "other" / "global_step10").mkdir(parents=True)
    there = find_runs(str(tmp_path))
    assert [names(run) for run in there.runs] == [["step1", "step2"]]
    assert "DeepSpeed" in there.refused[0].sentence


def test_data_beside_runs_is_no_foreign_checkpoint(tmp_path: Path) -> None:
    folders(tmp_path / "runs" / "good", "step1", "step2")
    (tmp_path / "runs" / "data").mkdir()
    (tmp_path / "runs" / "data" / "train.h5").write_bytes(b"")
    (run,) = analyzer.open_runs(tmp_path)
    assert run.findings == ()
