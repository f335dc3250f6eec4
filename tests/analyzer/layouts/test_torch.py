"""Folders of files from ``torch.save``, in the habits of many training loops."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import CHECKOUT, random_walk, save_weights
from stored import alarms, assert_same_weights, found, names, places

import analyzer
from analyzer.errors import CheckpointError, LayoutError, NoCheckpointsError
from analyzer.layouts import find_runs
from analyzer.layouts.weights import torch_state
from analyzer.layouts.weights.checkpoint import weights_of

torch = pytest.importorskip("torch")
State = dict[str, Any]


def model(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(4, 3)
    )


def optimiser(network: Any) -> Any:
    made = torch.optim.AdamW(network.parameters())
    network(torch.randn(2, 1, 3, 3)).sum().backward()
    made.step()
    return made


# Each: what is saved at an epoch, by which name, and the place that is expected of it.
HABITS: dict[str, tuple[Callable[[int, Any], State], str, Callable[[int], tuple[float | None, int | None]]]] = {
    "the state itself": (lambda epoch, net: net.state_dict(), "epoch_{}.pt", lambda epoch: (epoch, None)),
    "state_dict": (
        lambda epoch, net: {"epoch": epoch, "state_dict": net.state_dict(), "optimizer": optimiser(net).state_dict()},
        "checkpoint_{}.pth",
        lambda epoch: (epoch, None),
    ),
    "model_state_dict": (
        lambda epoch, net: {"global_step": 10 * epoch, "epoch": epoch, "model_state_dict": net.state_dict()},
        "{}.ckpt",
        lambda epoch: (epoch, 10 * epoch),
    ),
    "model": (
        lambda epoch, net: {"model": net.state_dict(), "step": 100 * epoch, "config": {"lr": 0.1}},
        "model_{}.bin",
        lambda epoch: (None, 100 * epoch),
    ),
    "net": (
        lambda epoch, net: {"net": net.state_dict(), "acc": 0.5 + epoch / 100, "epoch": epoch},
        "ckpt-{}.pth.tar",
        lambda epoch: (epoch, None),
    ),
}


def written(folder: Path, habit: str, epochs: int = 3) -> list[Any]:
    make, name, _ = HABITS[habit]
    folder.mkdir()
    networks = [model(seed) for seed in range(epochs)]
    for epoch, network in enumerate(networks):
        torch.save(make(epoch, network), folder / name.format(epoch))
    return networks


@pytest.mark.parametrize("habit", HABITS)
def test_every_habit_gives_the_weights_and_their_place(tmp_path: Path, habit: str) -> None:
    networks = written(tmp_path / "run", habit)
    run = analyzer.open_run(tmp_path / "run")
    assert run.layout == "torch"
    assert places(run) == [HABITS[habit][2](epoch) for epoch in range(3)]
    for checkpoint, network in zip(run.checkpoints, networks, strict=True):
        assert_same_weights(checkpoint, network.state_dict())
        assert list(checkpoint.tensors) == list(network.state_dict())  # in the model's order
    assert run.findings == ()
    assert not alarms(analyzer.audit(run))


def test_numbers_beside_the_weights_are_scores(tmp_path: Path) -> None:
    saved = {"model": model().state_dict(), "epoch": 1, "lr": 0.1, "seed": 3, "is_best": True, "note": "0.5x"}
    scores = {"val_acc": 0.75, "loss": torch.tensor(0.5), "best_val_loss": torch.tensor(0.25, dtype=torch.bfloat16)}
    torch.save({**saved, **scores, "history": [1.0, 2.0], "broken": float("nan")}, tmp_path / "epoch_1.pt")
    run = analyzer.open_run(tmp_path)
    assert run.checkpoints[0].scores == {"val_acc": 0.75, "loss": 0.5, "best_val_loss": 0.25}


def test_the_file_wins_over_its_name_and_epoch_10_comes_after_epoch_2(tmp_path: Path) -> None:
    for epoch in (1, 2, 10):
        torch.save({"model": model(epoch).state_dict(), "epoch": 20 - epoch}, tmp_path / f"epoch_{epoch}.pt")
    run = analyzer.open_run(tmp_path)
    assert names(run) == ["epoch_10.pt", "epoch_2.pt", "epoch_1.pt"]
    for path in tmp_path.iterdir():
        torch.save(model().state_dict(), path)
    assert names(analyzer.open_run(tmp_path)) == ["epoch_1.pt", "epoch_2.pt", "epoch_10.pt"]


def test_dictionaries_of_tensors_alone_are_parts_of_the_model(tmp_path: Path) -> None:
    generator, critic = model(0), model(1)
    saved = {
        "generator": generator.state_dict(),
        "critic": critic.state_dict(),
        "optim": optimiser(critic).state_dict(),
    }
    torch.save({**saved, "optim": optimiser(model()).state_dict(), "epoch": 3}, tmp_path / "gan_3.pt")
    (checkpoint,) = analyzer.open_run(tmp_path).checkpoints
    expected = {f"{part}.{name}": value for part in ("generator", "critic") for name, value in saved[part].items()}
    assert_same_weights(checkpoint, expected)
    assert checkpoint.epoch == 3


def test_a_dictionary_that_holds_other_things_too_is_no_part_of_the_model(tmp_path: Path) -> None:
    network = model()
    statistics = {"mean": torch.zeros(3), "count": 7}
    numbered = {0: torch.ones(3)}
    torch.save({"net": {**network.state_dict(), "statistics": statistics, "numbered": numbered}}, tmp_path / "1.pt")
    assert_same_weights(analyzer.open_run(tmp_path).checkpoints[0], network.state_dict())


def test_shared_transposed_and_sliced_tensors(tmp_path: Path) -> None:
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {"a": base, "b": base.t(), "c": base[1:3, ::2], "d": torch.tensor(3.0), "e": base[0:0], "f": base}
    torch.save(state, tmp_path / "step_1.pt")
    run = analyzer.open_run(tmp_path)
    assert_same_weights(run.checkpoints[0], state)
    (tied,) = found(run, "tied_weights")
    assert tied.evidence["tensors"] == [["a", "f"]]


def test_averages_beside_the_weights_are_not_mixed_in(tmp_path: Path) -> None:
    torch.save({"model": model(0).state_dict(), "ema": model(1).state_dict()}, tmp_path / "epoch_1.pt")
    assert_same_weights(analyzer.open_run(tmp_path).checkpoints[0], model(0).state_dict())


def test_a_compiled_and_parallel_model_has_plain_names(tmp_path: Path) -> None:
    networks = [model(seed) for seed in range(3)]
    torch.save(networks[0].state_dict(), tmp_path / "step_0.pt")
    torch.save(torch.nn.DataParallel(networks[1]).state_dict(), tmp_path / "step_1.pt")
    torch.save(torch.compile(networks[2]).state_dict(), tmp_path / "step_2.pt")
    assert "module.0.weight" in torch.load(tmp_path / "step_1.pt")
    assert "_orig_mod.0.weight" in torch.load(tmp_path / "step_2.pt")
    run = analyzer.open_run(tmp_path)
    for checkpoint, network in zip(run.checkpoints, networks, strict=True):
        assert_same_weights(checkpoint, network.state_dict())
    (said,) = found(run, "names_unwrapped")
    assert "18 tensor names" in said.sentence
    assert not alarms(analyzer.audit(run))


# ------------------------------------------------------------------------------------------------ refused, said


NO_WEIGHTS: dict[str, tuple[Callable[[], Any], str]] = {
    "optimiser": (lambda: optimiser(model()).state_dict(), "the state of an optimizer and no weights"),
    "optimiser by names": (
        lambda: {"state": {"w": {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
        "the state of an optimizer and no weights",
    ),
    "optimiser inside": (lambda: {"optimizer": optimiser(model()).state_dict(), "epoch": 3}, "contains no weights"),
    "nothing": (dict, "contains no weights"),
    "a number": (lambda: 3, "does not contain a dictionary of weights"),
    "a tensor": (lambda: torch.ones(3), "does not contain a dictionary of weights"),
    "a module without tensors": (torch.nn.ReLU, "contains no weights"),
    "an empty state": (lambda: {"state_dict": {}, "epoch": 1}, "contains no weights"),
}


@pytest.mark.parametrize("what", NO_WEIGHTS)
def test_a_file_without_weights_is_refused_with_a_sentence(tmp_path: Path, what: str) -> None:
    make, reason = NO_WEIGHTS[what]
    torch.save(make(), tmp_path / "epoch_1.pt")
    with pytest.raises(CheckpointError, match=reason):
        weights_of(str(tmp_path / "epoch_1.pt"))
    torch.save(model().state_dict(), tmp_path / "epoch_2.pt")
    run = analyzer.open_run(tmp_path)
    assert names(run) == ["epoch_2.pt"]
    (finding,) = found(run, "not_checkpoints" if what.startswith("optimiser") else "refused_file")
    assert finding.severity == ("notice" if what.startswith("optimiser") else "serious")


@pytest.mark.filterwarnings("ignore")
def test_a_run_of_files_before_torch_1_6(tmp_path: Path) -> None:
    networks = [model(seed) for seed in range(2)]
    for epoch, network in enumerate(networks):
        saved = {"state_dict": network.state_dict(), "epoch": epoch, "best_acc": torch.tensor(0.5)}
        torch.save(saved, tmp_path / f"checkpoint_{epoch}.pth.tar", _use_new_zipfile_serialization=False)
    run = analyzer.open_run(tmp_path)
    for checkpoint, network in zip(run.checkpoints, networks, strict=True):
        assert_same_weights(checkpoint, network.state_dict())
        assert checkpoint.scores == {"best_acc": 0.5}
    assert places(run) == [(0, None), (1, None)]
    assert not alarms(analyzer.audit(run))


def test_what_trainers_put_beside_the_weights_is_not_taken_for_weights(tmp_path: Path) -> None:
    torch.save(model().state_dict(), tmp_path / "model_step_1.pt")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin", "scaler.pt", "train.bin"):
        (tmp_path / name).write_bytes(b"not read")
    run = analyzer.open_run(tmp_path)
    assert names(run) == ["model_step_1.pt"]
    assert run.findings == ()


def test_a_folder_of_data_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(b"\0" * 1000)
    with pytest.raises(NoCheckpointsError, match="no checkpoints found"):
        analyzer.open_run(tmp_path)


def test_two_plain_layouts_tie_and_layout_settles_it(tmp_path: Path) -> None:
    torch.save(model().state_dict(), tmp_path / "epoch_1.pt")
    save_weights(tmp_path / "epoch_1.safetensors", random_walk(1)[0])
    with pytest.raises(LayoutError, match="matches safetensors and torch equally well; choose one with --layout"):
        analyzer.open_run(tmp_path)
    assert names(analyzer.open_run(tmp_path, layout="torch")) == ["epoch_1.pt"]
    assert names(analyzer.open_run(tmp_path, layout="safetensors")) == ["epoch_1.safetensors"]


def test_a_tie_below_spoils_no_other_run(tmp_path: Path) -> None:
    written(tmp_path / "good", "net")
    shutil.copytree(tmp_path / "good", tmp_path / "tie")
    save_weights(tmp_path / "tie" / "epoch_1.safetensors", random_walk(1)[0])
    there = find_runs(str(tmp_path))
    assert [run.name for run in there.runs] == ["good"]
    assert "choose one with --layout" in there.refused[0].sentence


def test_fault_36_last_is_a_duplicate_only_where_its_place_is_taken(tmp_path: Path) -> None:
    written(tmp_path / "run", "state_dict")
    torch.save({"epoch": 3, "state_dict": model(3).state_dict()}, tmp_path / "run" / "last.pth")
    run = analyzer.open_run(tmp_path / "run")
    assert names(run)[-1] == "last.pth"
    # The same weights in another file, whose other content differs.
    torch.save({"epoch": 3, "state_dict": model(3).state_dict(), "note": "x"}, tmp_path / "run" / "checkpoint_3.pth")
    run = analyzer.open_run(tmp_path / "run")
    assert names(run)[-1] == "checkpoint_3.pth"
    assert found(run, "duplicate_files")[0].checkpoints == ("checkpoint_3.pth", "last.pth")
    torch.save({"epoch": 3, "state_dict": model(4).state_dict()}, tmp_path / "run" / "last.pth")
    run = analyzer.open_run(tmp_path / "run")
    assert names(run)[-1] == "checkpoint_3.pth"
    (finding,) = found(run, "contradicting_copy")
    assert finding.severity == "warning"
    assert finding.sentence.startswith("checkpoint_3.pth is used for epoch 3, which is also claimed by last.pth")
    torch.save({"epoch": 3, "state_dict": model(4).state_dict()}, tmp_path / "run" / "again_3.pth")
    (tmp_path / "run" / "last.pth").unlink()
    run = analyzer.open_run(tmp_path / "run")
    assert names(run)[-1] == "checkpoint_2.pth"
    assert found(run, "contradicting_files")


def test_scores_beside_torch_files(tmp_path: Path) -> None:
    written(tmp_path / "run", "net")
    (tmp_path / "run" / "metrics.csv").write_text("epoch,val_loss\n0,3\n2,1\n")
    run = analyzer.open_run(tmp_path / "run")
    assert [one.scores.get("val_loss") for one in run.checkpoints] == [3, None, 1]
    assert [one.scores["acc"] for one in run.checkpoints] == [0.5, 0.51, 0.52]


def test_nanogpt(tmp_path: Path) -> None:
    """As its train.py saves: a compiled model, the loss as a tensor with one number."""
    network = torch.compile(model())
    for step in (2000, 250):
        saved = {
            "model": network.state_dict(),
            "optimizer": optimiser(network._orig_mod).state_dict(),
            "model_args": {"n_layer": 1, "bias": False},
            "iter_num": step,
            "best_val_loss": torch.tensor(2.5),
            "config": {"out_dir": "out", "learning_rate": 0.1},
        }
        torch.save(saved, tmp_path / f"ckpt_{step}.pt")
    run = analyzer.open_run(tmp_path)
    assert (run.layout, names(run)) == ("nanogpt", ["ckpt_250.pt", "ckpt_2000.pt"])
    assert places(run) == [(None, 250), (None, 2000)]
    assert run.checkpoints[0].scores == {"best_val_loss": 2.5}
    assert_same_weights(run.checkpoints[0], network._orig_mod.state_dict())  # saved last
    assert not alarms(analyzer.audit(run))


def test_it_is_read_where_torch_is_not_installed(tmp_path: Path) -> None:
    networks = written(tmp_path / "run", "state_dict")
    script = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "try: import torch\n"
        "except ImportError: pass\n"
        "else: raise SystemExit('torch is there')\n"
        "import analyzer\n"
        "run = analyzer.open_run(sys.argv[1])\n"
        "measured = analyzer.measure(run, sys.argv[2], ['size'])\n"
        "print(*measured.series('3.weight', 'frobenius_norm').values)\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "run"), str(tmp_path / "store.sqlite")],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    norms = [float(network[3].weight.detach().to(torch.float64).norm()) for network in networks]
    assert [float(number) for number in printed.stdout.split()] == pytest.approx(norms, rel=1e-12)


def test_fault_22_a_small_file_that_refers_to_a_tensor_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each level refers to the one below a hundred times; the limit is lowered, so that the test is quick."""
    assert torch_state.MOST_TENSORS >= 300_000  # so many tensors a file may well have
    monkeypatch.setattr(torch_state, "MOST_TENSORS", 10_000)
    level: State = {"w" * 100: torch.ones(1)}
    for _ in range(3):
        level = {f"{number}": level for number in range(101)}
    torch.save(level, tmp_path / "epoch_1.pt")
    assert (tmp_path / "epoch_1.pt").stat().st_size < 20_000
    with pytest.raises(CheckpointError, match="refers to tensors more than 10000 times"):
        weights_of(str(tmp_path / "epoch_1.pt"))


@pytest.mark.parametrize("how", ["expanded", "shared", "with gaps"])
def test_fault_22_a_small_file_whose_tensors_would_take_days_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    assert torch_state.MOST_BYTES >= 64 << 30
    monkeypatch.setattr(torch_state, "MOST_BYTES", 16 << 20)
    storage = torch.randn(100, 100)
    tensor = {"expanded": torch.ones(1).expand(250_000), "shared": storage, "with gaps": storage[:, 0]}[how]
    torch.save({str(number): tensor for number in range(10)}, tmp_path / "epoch_1.pt")
    assert len(weights_of(str(tmp_path / "epoch_1.pt")).tensors) == 10
    torch.save({str(number): tensor for number in range(3000)}, tmp_path / "epoch_1.pt")
    with pytest.raises(CheckpointError, match="refers to its bytes so often that reading all tensors takes"):
        weights_of(str(tmp_path / "epoch_1.pt"))


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    torch.save({"a.b": torch.ones(2), "a": {"b": torch.zeros(2)}}, tmp_path / "epoch_1.pt")
    with pytest.raises(CheckpointError, match=r"two of its tensors are named a\.b"):
        weights_of(str(tmp_path / "epoch_1.pt"))


def test_many_numbers_beside_the_weights_cost_little(tmp_path: Path) -> None:
    saved = {"model": model().state_dict(), **{f"loss_{number}": torch.tensor(1.0) for number in range(3000)}}
    torch.save(saved, tmp_path / "epoch_1.pt")
    (checkpoint,) = analyzer.open_run(tmp_path).checkpoints
    assert 900 < len(checkpoint.scores) <= 1000
