"""What torch files of many trainers hold: which weights are read under which names, what is named, and its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored import assert_same_weights, found, places

import analyzer
from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.layouts.weights.checkpoint import weights_of

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")


def network(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))


def state(seed: int = 0) -> dict[str, Any]:
    return dict(network(seed).state_dict())


def optimizer_state() -> dict[str, Any]:
    made = network()
    adam = torch.optim.Adam(made.parameters())
    made(torch.ones(2, 1, 5, 5)).sum().backward()
    adam.step()
    return dict(adam.state_dict())


def by_names() -> dict[str, Any]:
    """The state of an optimizer by parameters' names, as FSDP and others keep it."""
    return {"state": {"0.weight": {"exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)}}}


def prefixed(**parts: dict[str, Any]) -> dict[str, Any]:
    return {f"{part}.{name}": value for part, inner in parts.items() for name, value in inner.items()}


def index(tmp_path: Path, value: Any, is_zip: bool = True) -> FileIndex:
    torch.save(value, tmp_path / "epoch_1.pt", _use_new_zipfile_serialization=is_zip)
    return weights_of(str(tmp_path / "epoch_1.pt"))


S, T, U = state(0), state(1), state(2)
# Each: what is saved, the weights that are expected, and what is named beside them.
CONTAINERS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "OpenNMT": ({"model": S, "generator": T, "vocab": {}, "optim": by_names()}, {**S, **prefixed(generator=T)}, ()),
    "G and D": ({"G": S, "D": T, "G_optim": optimizer_state()}, prefixed(G=S, D=T), ()),
    "StyleGAN": ({"G": S, "D": T, "G_ema": U}, prefixed(G=S, D=T), ("G_ema",)),
    "StyleGAN in lower case": ({"g": S, "d": T, "g_ema": U, "ada_aug_p": 0.1}, prefixed(g=S, d=T), ("g_ema",)),
    "only an averaged generator": ({"D": T, "G_ema": U}, prefixed(D=T, G_ema=U), ()),
    "netG and netD": ({"netG": S, "netD": T, "epoch": 3}, prefixed(netG=S, netD=T), ()),
    "actor and critic": ({"actor": S, "critic": T, "opt": by_names()}, prefixed(actor=S, critic=T), ()),
    "encoder and decoder": ({"encoder": S, "decoder": T}, prefixed(encoder=S, decoder=T), ()),
    "DINO": ({"student": S, "teacher": T, "optimizer": optimizer_state()}, prefixed(student=S, teacher=T), ()),
    "MoCo": ({"arch": "r", "epoch": 2, "state_dict": S, "optimizer": optimizer_state()}, S, ()),
    "mmengine": (
        {"meta": {"epoch": 2}, "state_dict": S, "message_hub": {"x": 1}, "ema_state_dict": T, "optimizer": by_names()},
        S, ("ema_state_dict",),
    ),
    "detectron2": ({"model": S, "optimizer": optimizer_state(), "iteration": 99}, S, ()),
    "rsl_rl": (
        {"model_state_dict": S, "optimizer_state_dict": optimizer_state(), "iter": 5, "obs_norm_state_dict": T},
        {**S, **prefixed(obs_norm_state_dict=T)}, (),
    ),
    "nnU-Net": ({"network_weights": S, "optimizer_state": optimizer_state(), "current_epoch": 7}, S, ()),
    "BasicSR": ({"params": S, "params_ema": T}, S, ("params_ema",)),
    "Resemblyzer": ({"step": 3, "model_state": S, "optimizer_state": optimizer_state()}, S, ()),
    "timm": ({"state_dict": S, "state_dict_ema": T}, S, ("state_dict_ema",)),
    "DETR": ({"model": S, "model_ema": T, "args": object}, S, ("model_ema",)),
    "ema": ({"model": S, "ema": T}, S, ("ema",)),
    "several averages": ({"model": S, "ema_0.999": T, "ema_0.9999": U}, S, ("ema_0.999", "ema_0.9999")),
    "only an average": ({"ema": S, "step": 4}, S, ()),
    "Composer": (
        {"state": {"model": S, "optimizers": {"Adam": optimizer_state()}, "timestamp": {"Timestamp": {}}}, "rng": []},
        S, (),
    ),
    "two usual names": ({"state_dict": S, "model": T}, S, ("model",)),
    "a tensor and metrics beside": (
        {"model": S, "class_weights": torch.ones(3), "s": {"acc": torch.tensor(0.5)}, "rng": torch.get_rng_state()},
        S, ("class_weights", "s"),
    ),
    "an extra state": ({"netG": {**S, "_extra_state": None}, "netD": T}, prefixed(netG=S, netD=T), ()),
    "mostly something else": ({"netG": S, "data": {"x": torch.ones(2), "a": 1, "b": "c"}}, prefixed(netG=S), ("data",)),
    "random states": ({"w": torch.ones(2), "cuda_rng_state": torch.get_rng_state()}, {"w": torch.ones(2)}, ()),
    "a part that the weights have": (
        {"model": {"generator.0.weight": torch.ones(2)}, "generator": {"0.weight": torch.zeros(2)}},
        {"generator.0.weight": torch.ones(2)}, ("generator",),
    ),
    "an optimizer of another name": ({"model": S, "momenta": {"0.weight.exp_avg": torch.ones(2)}}, S, ()),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_network_is_read_or_named(tmp_path: Path, name: str) -> None:
    saved, expected, others = CONTAINERS[name]
    index(tmp_path, saved)
    run = analyzer.open_run(tmp_path)
    assert_same_weights(run.checkpoints[0], expected)
    assert tuple(weights_of(str(tmp_path / "epoch_1.pt")).tensors) == tuple(expected)
    findings = found(run, "unread_weights")
    assert [finding.evidence["not_read"] for finding in findings] == ([list(others)] if others else [])
    assert all(finding.severity == "notice" for finding in findings)


def test_what_is_not_read_is_named_once_for_all_files(tmp_path: Path) -> None:
    for epoch in range(3):
        torch.save({"model": state(epoch), "ema": state(9), "epoch": epoch}, tmp_path / f"epoch_{epoch}.pt")
    (finding,) = found(analyzer.open_run(tmp_path), "unread_weights")
    assert finding.sentence == (
        "3 files, such as epoch_0.pt, also contain tensors that are not read: ema; model is read."
    )


# ------------------------------------------------------------------------------------------------ pickled modules


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_model_saved_whole(tmp_path: Path, is_zip: bool) -> None:
    whole = torch.nn.ModuleDict({"model": network(0), "net": network(1)})  # children named like containers
    tensors = index(tmp_path, whole, is_zip).tensors
    assert list(tensors) == list(whole.state_dict())
    assert_same_weights(analyzer.open_run(tmp_path).checkpoints[0], whole.state_dict())


def test_ultralytics(tmp_path: Path) -> None:
    """The trained weights of a checkpoint are None, or the module beside the average; the last file has epoch -1."""
    for epoch, (model, average) in enumerate([(None, network(0)), (network(1), network(2)), (network(3), None)]):
        saved = {
            "epoch": epoch if epoch < 2 else -1, "best_fitness": None, "model": model,
            "ema": average.half() if average else None, "updates": 10 * epoch, "optimizer": None,
            "train_args": {"lr0": 0.01, "epochs": 3},
            "train_metrics": {"metrics/mAP50(B)": 0.25, "fitness": np.float64(0.5)},
        }  # fmt: skip
        torch.save(saved, tmp_path / f"epoch{epoch}.pt")
    run = analyzer.open_run(tmp_path)
    for checkpoint, expected in zip(run.checkpoints, [network(0).half(), network(2).half(), network(3)], strict=True):
        assert_same_weights(checkpoint, expected.state_dict())
    assert places(run) == [(0, None), (1, None), (2, None)]  # the last from its name
    assert run.checkpoints[0].scores == {"metrics/mAP50(B)": 0.25, "fitness": 0.5}
    (finding,) = found(run, "unread_weights")
    assert finding.sentence == "epoch1.pt also contains tensors that are not read: model; ema is read."


def test_a_module_beside_a_tensor_and_a_list_of_parameters(tmp_path: Path) -> None:
    read = index(tmp_path, {"model": network(), "class_weights": torch.ones(10), "epoch": 1})
    assert list(read.tensors) == list(S)
    assert read.others == ("class_weights",)
    prompt = torch.nn.ParameterList([torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))])
    assert list(index(tmp_path, {"prompt": prompt}).tensors) == ["prompt.0", "prompt.1"]


def test_textual_inversion(tmp_path: Path) -> None:
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.randn(1, 8))})
    tensors = index(tmp_path, {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": parameters}).tensors
    assert tensors["string_to_param.*"].shape == (1, 8)


class Agent:
    """An object that is no module but has one."""

    def __init__(self) -> None:
        self.policy = network()


class Packed(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A module with a parameter of a class that cannot be read."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)
        self._parameters["packed"] = Agent()


def test_weights_in_an_object_are_refused_and_unreadable_parameters_named(tmp_path: Path) -> None:
    for saved in ({"model": Agent(), "class_weights": torch.ones(10)}, Agent()):
        with pytest.raises(CheckpointError, match=r"instead of the object itself"):
            index(tmp_path, saved)
    read = index(tmp_path, {"model": Packed()})
    assert list(read.tensors) == ["linear.weight", "linear.bias"]
    assert read.others == ("packed",)


def test_numpy_arrays_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"numpy arrays instead of tensors.*numpy\.savez"):
        index(tmp_path, {"model": {"w": np.ones(3)}, "matching_heuristics": True})


# ------------------------------------------------------------------------------------------------ places and scores


def fairseq(epoch: int, updates: int, within: int) -> dict[str, Any]:
    iterator = {"version": 2, "epoch": epoch, "iterations_in_epoch": within, "shuffle": True}
    extra = {"train_iterator": iterator, "val_loss": 3.5, "best": 3.25, "previous_training_time": 12.0}
    return {
        "args": None,
        "model": S,
        "optimizer_history": [{"num_updates": 1}, {"num_updates": updates}],
        "extra_state": extra,
    }


def nnunet(**logged: list[Any]) -> dict[str, Any]:
    lists = {"lrs": [0.1, 0.2], "epoch_end_timestamps": [1.0, 2.0], "dice_per_class_or_region": [[0.1], [0.2]]}
    return {"network_weights": S, "current_epoch": 2, "_best_ema": None, "logging": {**lists, **logged}}


PLACES: dict[str, tuple[dict[str, Any], tuple[float | None, int | None], dict[str, float]]] = {
    "fairseq": (fairseq(2, 1500, 500), (2, 1500), {"val_loss": 3.5, "best": 3.25}),
    "fairseq at the end of an epoch": (fairseq(3, 2000, 0), (2, 2000), {"val_loss": 3.5, "best": 3.25}),
    "fairseq without a history": (
        {"model": S, "optimizer_history": [], "extra_state": {"train_iterator": [1], "val_loss": None}},
        (None, None), {},
    ),
    "nnU-Net": (
        nnunet(mean_fg_dice=[np.float64(0.5), np.float64(0.75)], val_losses=[0.1, float("nan")], train_losses=[9.0]),
        (2, None), {"mean_fg_dice": 0.75},
    ),
    "mmengine": ({"meta": {"epoch": 4, "iter": 400, "seed": 1, "time": "x"}, "state_dict": S}, (4, 400), {}),
    "the top level first": ({"meta": {"epoch": 4, "iter": 400}, "state_dict": S, "epoch": 7, "step": 9}, (7, 9), {}),
    "no numbers": ({"meta": {"epoch": True, "iter": "4"}, "model": S, "train_metrics": {"a": "b"}}, (None, None), {}),
    "not whole": ({"meta": {"epoch": 1e300, "iter": -1}, "state_dict": S}, (None, None), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_places_and_scores_below_the_top_level(tmp_path: Path, name: str) -> None:
    saved, place, scores = PLACES[name]
    torch.save(saved, tmp_path / "best.pt")
    run = analyzer.open_run(tmp_path)
    assert places(run) == [place]
    assert run.checkpoints[0].scores == scores


def test_only_so_many_scores_are_taken(tmp_path: Path) -> None:
    torch.save({"model": S, "train_metrics": {f"score {n}": 0.5 for n in range(5000)}}, tmp_path / "best.pt")
    assert len(analyzer.open_run(tmp_path).checkpoints[0].scores) == 1000
