"""Folders of public reports, rebuilt small: files of one folder, which series they form, in which order.

Each test names the reports that it follows.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored import alarms, assert_same_weights, found, names, places, values_of
from trainer_folders import OTHER_SHAPES, State, opened, orders, save, series, states, unplaced

import analyzer

torch = pytest.importorskip("torch")


def test_two_networks_of_equal_shape(tmp_path: Path) -> None:
    """CycleGAN-and-pix2pix#1374, #493."""
    made = {
        which: series(tmp_path, [f"{epoch}_net_{which}.pth" for epoch in (5, 10, 15)], seed=seed)
        for seed, which in enumerate(("G_A", "G_B", "D_A", "D_B"))
    }
    for which, saved in made.items():
        save(tmp_path / f"latest_net_{which}.pth", saved[-1])
    assert orders(tmp_path) == {f"net_{which}": [f"{epoch}_net_{which}.pth" for epoch in (5, 10, 15)] for which in made}
    for which, run in opened(tmp_path).items():
        for checkpoint, state in zip(run.checkpoints, made[which.removeprefix("net_")], strict=True):
            assert_same_weights(checkpoint, state)


def test_averages_and_optimizers_beside_a_model(tmp_path: Path) -> None:
    """improved-diffusion#43, #59: three kinds of files with one count."""
    counts = ("010000", "020000", "100000")
    series(tmp_path, [f"model{count}.pt" for count in counts])
    series(tmp_path, [f"ema_0.9999_{count}.pt" for count in counts], seed=1)
    for count in counts:
        adam = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))])
        save(tmp_path / f"opt{count}.pt", adam.state_dict())
    assert orders(tmp_path) == {
        "ema_0.9999": [f"ema_0.9999_{count}.pt" for count in counts],
        "model": [f"model{count}.pt" for count in counts],
    }
    (finding,) = [one for run in opened(tmp_path).values() for one in found(run, "not_checkpoints")]
    assert finding.severity == "notice"
    assert "opt010000.pt" in finding.sentence


def test_the_average_of_the_best_epochs(tmp_path: Path) -> None:
    """espnet#3268, #3488."""
    files = [f"{epoch}epoch.pth" for epoch in (1, 2, 10)]
    series(tmp_path, files)
    save(tmp_path / "valid.acc.ave_10best.pth", states(1, seed=5)[0])
    save(tmp_path / "valid.acc.best.pth", states(2)[1])
    assert orders(tmp_path, warned=["unplaced_file"]) == {"": files}
    (run,) = opened(tmp_path).values()
    assert places(run) == [(1, None), (2, None), (10, None)]
    assert "valid.acc.ave_10best.pth" in unplaced(run)


def of_fairseq(updates_of: dict[str, tuple[int, int]], folder: Path) -> None:
    def wrap(state: State, number: int) -> dict[str, Any]:
        epoch, updates = list(updates_of.values())[number]
        iterator = {"epoch": epoch, "iterations_in_epoch": 7, "shuffle": True}
        history = [{"num_updates": updates // 2}, {"num_updates": updates}]
        extra = {"train_iterator": iterator, "val_loss": 4.0 - epoch}
        return {"args": None, "model": state, "optimizer_history": history, "extra_state": extra}

    series(folder, list(updates_of), wrap)


def test_fairseq_counts_epochs_in_one_name_and_updates_in_another(tmp_path: Path) -> None:
    """fairseq#1302."""
    of_fairseq(
        {"checkpoint1.pt": (1, 1000), "checkpoint2.pt": (2, 2000), "checkpoint10.pt": (10, 10000)}, tmp_path / "e"
    )
    of_fairseq({"checkpoint_1_500.pt": (1, 500), "checkpoint_1_1000.pt": (1, 1000), "checkpoint_2_1500.pt": (2, 1500)},
               tmp_path / "u")  # fmt: skip
    (epochs,), (updates,) = analyzer.open_runs(tmp_path / "e"), analyzer.open_runs(tmp_path / "u")
    assert places(epochs) == [(1, 1000), (2, 2000), (10, 10000)]
    assert places(updates) == [(1, 500), (1, 1000), (2, 1500)]
    assert [one.scores["val_loss"] for one in updates.checkpoints] == [3.0, 3.0, 2.0]
    assert not alarms(analyzer.audit(epochs)) and not alarms(analyzer.audit(updates))


def test_copies_of_fairseq_have_the_place_that_they_state(tmp_path: Path) -> None:
    of_fairseq(
        {"checkpoint1.pt": (1, 1000), "checkpoint_best.pt": (2, 2000), "checkpoint_last.pt": (3, 3000)}, tmp_path
    )
    assert orders(tmp_path) == {"": ["checkpoint1.pt", "checkpoint_best.pt", "checkpoint_last.pt"]}


def test_the_order_is_that_of_the_epochs_inside(tmp_path: Path) -> None:
    """nnUNet#2563, #2529: the best one was copied later."""

    def wrap(state: State, number: int) -> dict[str, Any]:
        return {"network_weights": state, "current_epoch": (150, 200)[number], "logging": {"mean_fg_dice": [0.1, 0.5]}}

    files = ["checkpoint_best.pth", "checkpoint_final.pth"]
    series(tmp_path, files, wrap)
    for name, time in zip(files, (1_700_001_000, 1_700_000_000), strict=True):
        os.utime(tmp_path / name, (time, time))
    assert orders(tmp_path) == {"": files}
    (run,) = opened(tmp_path).values()
    assert places(run) == [(150, None), (200, None)]
    assert run.checkpoints[1].scores == {"mean_fg_dice": 0.5}


def test_two_checkpoints_with_equal_weights(tmp_path: Path) -> None:
    """nnUNet#2350."""
    (state,) = states(1)
    for name, epoch in (("best", 150), ("final", 200)):
        save(tmp_path / f"checkpoint_{name}.pth", {"network_weights": state, "current_epoch": epoch})
    (run,) = opened(tmp_path).values()
    assert any("checkpoint_best.pth" in one.sentence for one in alarms(analyzer.audit(run)))


def test_a_dictionary_of_parameters_in_an_object(tmp_path: Path) -> None:
    """textual_inversion#27: a ParameterDict beside the ids of tokens."""
    saved = []
    for step, state in zip((500, 1000, 1500), states(3), strict=True):
        embeddings = torch.nn.ParameterDict({"*": torch.nn.Parameter(state["head.weight"])})
        content = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": embeddings}
        save(tmp_path / f"embeddings_gs-{step}.pt", content)
        saved.append(state["head.weight"])
    assert orders(tmp_path) == {"": [f"embeddings_gs-{step}.pt" for step in (500, 1000, 1500)]}
    (run,) = opened(tmp_path).values()
    assert places(run) == [(None, 500), (None, 1000), (None, 1500)]
    for checkpoint, expected in zip(run.checkpoints, saved, strict=True):
        read = [values_of(info) for info in checkpoint.tensors.values() if info.shape == (3, 6)]
        assert [array.tolist() for array in read] == [expected.tolist()]


def test_a_module_beside_a_stray_tensor(tmp_path: Path) -> None:
    """The model, not the weights of its classes."""
    for epoch in range(3):
        torch.manual_seed(epoch)
        save(tmp_path / f"epoch_{epoch}.pt", {"model": torch.nn.Linear(6, 4), "class_weights": torch.ones(10)})
    assert orders(tmp_path) == {"": ["epoch_0.pt", "epoch_1.pt", "epoch_2.pt"]}
    (run,) = opened(tmp_path).values()
    assert all(set(one.tensors) == {"weight", "bias"} for one in run.checkpoints)


def test_pickled_modules_and_their_average(tmp_path: Path) -> None:
    """ultralytics#2479, #22589, #21197: a whole module in half precision under ema; the best is a copy."""
    expected = []
    for epoch in range(3):
        torch.manual_seed(epoch)
        module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).half()
        content = {"epoch": epoch, "best_fitness": 0.1 * epoch, "model": None, "ema": module, "updates": 5 * epoch}
        save(tmp_path / "weights" / f"epoch{epoch}.pt", content)
        expected.append(module.state_dict())
    for name in ("best", "last"):
        save(tmp_path / "weights" / f"{name}.pt", {**content, "epoch": -1, "optimizer": None})
    (run,) = opened(tmp_path).values()
    assert names(run)[:2] == ["epoch0.pt", "epoch1.pt"] and len(run.checkpoints) == 3
    assert [epoch for epoch, _ in places(run)] == [0, 1, 2]
    for checkpoint, state in zip(run.checkpoints, expected, strict=True):
        measured = {name: value for name, value in state.items() if name != "1.num_batches_tracked"}
        assert {name: values_of(checkpoint.tensors[name]).tobytes() for name in measured} == {
            name: value.numpy().tobytes() for name, value in measured.items()
        }
    assert not alarms(analyzer.audit(run))


def test_kohya_saves_the_last_epoch_without_a_number(tmp_path: Path) -> None:
    """sd-scripts#84, #247: the epoch is in the metadata, and the product is the update."""
    saved = states(4, shapes={"lora_unet_q.lora_down.weight": (2, 6), "lora_unet_q.lora_up.weight": (5, 2)})
    files = ["style-000001.safetensors", "style-000002.safetensors", "style-000003.safetensors", "style.safetensors"]
    for number, (name, state) in enumerate(zip(files, saved, strict=True), start=1):
        places_of = {"ss_epoch": str(number), "ss_steps": str(100 * number), "ss_num_epochs": "4"}
        constants = {"ss_network_dim": "2", "ss_network_alpha": "1", "ss_seed": "42", "ss_learning_rate": "0.0001"}
        save(tmp_path / name, {**state, "lora_unet_q.alpha": torch.tensor(1.0)}, {**places_of, **constants})
    (run,) = opened(tmp_path).values()
    assert names(run) == files
    assert places(run) == [(1, 100), (2, 200), (3, 300), (4, 400)]
    assert all(one.scores == {} for one in run.checkpoints)
    for checkpoint, state in zip(run.checkpoints, saved, strict=True):
        (info,) = checkpoint.tensors.values()
        down, up = (value.double().numpy() for value in state.values())
        assert np.allclose(values_of(info), 0.5 * up @ down)
    assert not alarms(analyzer.audit(run))


def test_kohya_whose_count_restarted(tmp_path: Path) -> None:
    """kohya_ss#3380: resumed with another count of steps, which is reported."""
    for epoch, steps, state in zip((1, 2, 3, 4), (100, 200, 100, 200), states(4), strict=True):
        save(tmp_path / f"style-{epoch:06}.safetensors", state, {"ss_epoch": str(epoch), "ss_steps": str(steps)})
    (run,) = opened(tmp_path).values()
    (alarm,) = alarms(analyzer.audit(run))
    assert (alarm.rule, alarm.severity) == ("wrong_order", "serious")
    assert "Two runs may be mixed" in alarm.sentence


def test_adapters_of_mlx(tmp_path: Path) -> None:
    """mlx-examples#636: the number comes before the word, and the product is the update."""
    saved = states(3, shapes={"layers.0.q.lora_a": (6, 2), "layers.0.q.lora_b": (2, 5)})
    for step, state in zip((100, 200, 300), saved, strict=True):
        save(tmp_path / f"{step:07}_adapters.safetensors", state)
    save(tmp_path / "adapters.safetensors", saved[-1])
    (tmp_path / "adapter_config.json").write_text('{"lora_parameters": {"rank": 2, "scale": 20.0}}')
    (run,) = opened(tmp_path).values()
    assert places(run) == [(None, 100), (None, 200), (None, 300)]
    for checkpoint, state in zip(run.checkpoints, saved, strict=True):
        (info,) = checkpoint.tensors.values()
        left, right = (value.double().numpy() for value in state.values())
        assert np.allclose(values_of(info), 20 * (left @ right).T)
    assert not alarms(analyzer.audit(run))


def test_generators_and_discriminators(tmp_path: Path) -> None:
    """vits#32 (what it calls iteration is the epoch); Real-ESRGAN#242 (net_g has an average inside)."""

    def of_vits(state: State, number: int) -> dict[str, Any]:
        return {
            "model": state,
            "iteration": number,
            "optimizer": {"param_groups": [], "state": {}},
            "learning_rate": 2e-4,
        }

    for seed, (which, shapes) in enumerate((("G", {"dec.weight": (6, 8)}), ("D", OTHER_SHAPES))):
        series(tmp_path / "vits", [f"{which}_{step}.pth" for step in (0, 1000, 2000)], of_vits, seed, shapes)
        wrap = (lambda state, number: {"params": state, "params_ema": state}) if which == "G" else None
        series(
            tmp_path / "esrgan", [f"net_{which.lower()}_{step}.pth" for step in (5000, 10000)],
            wrap or (lambda state, number: {"params": state}), seed, shapes,
        )  # fmt: skip
        save(tmp_path / "esrgan" / f"net_{which.lower()}_latest.pth", {"params": states(2, seed, shapes)[1]})
    assert orders(tmp_path / "vits") == {
        "D": ["D_0.pth", "D_1000.pth", "D_2000.pth"], "G": ["G_0.pth", "G_1000.pth", "G_2000.pth"],
    }  # fmt: skip
    assert [places(run) for run in opened(tmp_path / "vits").values()] == [[(0, None), (1, None), (2, None)]] * 2
    assert orders(tmp_path / "esrgan") == {
        "net_d": ["net_d_5000.pth", "net_d_10000.pth"], "net_g": ["net_g_5000.pth", "net_g_10000.pth"],
    }  # fmt: skip


def test_a_script_of_lightning_that_ran_twice(tmp_path: Path) -> None:
    """Lightning#5000, #18749: the second time, files of the same name get a suffix."""

    def wrap(state: State, number: int) -> dict[str, Any]:
        version = {"pytorch-lightning_version": "2.5.0", "epoch": number, "global_step": 100 * (number + 1)}
        return {**version, "state_dict": state}

    files = {suffix: [f"epoch={e}-step={100 * (e + 1)}{suffix}.ckpt" for e in range(3)] for suffix in ("", "-v1")}
    for seed, (_, file_names) in enumerate(sorted(files.items())):
        series(tmp_path, file_names, wrap, seed)
    assert sorted(orders(tmp_path).values()) == sorted(files.values())


def test_a_part_of_one_network_is_nan(tmp_path: Path) -> None:
    """Cylinder3D#43."""
    made = states(3)
    made[2]["head.weight"][:] = torch.nan
    for epoch, state in enumerate(made):
        save(tmp_path / f"epoch_{epoch}.pt", state)
    (run,) = opened(tmp_path).values()
    serious = [one for one in analyzer.audit(run) if one.severity == "serious"]
    assert serious and all("head.weight" in one.sentence or "head.weight" in str(one.evidence) for one in serious)
