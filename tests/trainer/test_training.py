import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_run import CONFIG, contents
from torch.nn import functional

from trainer import checkpoints
from trainer.config import INIT_SCHEMES, TrainingConfig
from trainer.datasets import Dataset
from trainer.errors import TrainerError
from trainer.models import build_model
from trainer.training import choose_device, shuffled, train, train_epoch


def test_epoch_0_is_the_untrained_network(tmp_path: Path, tiny: Dataset) -> None:
    (start,) = train(CONFIG, tiny, tmp_path, 0)
    model = build_model(CONFIG.hidden, CONFIG.init, CONFIG.seed)
    assert all(torch.equal(start.weights[name], tensor) for name, tensor in model.state_dict().items())
    assert start.epoch == start.step == 0
    assert set(start.scores) == {"test_accuracy", "test_loss"}


def test_scores_are_those_of_the_weights_saved(tmp_path: Path, tiny: Dataset) -> None:
    *_, last = train(CONFIG, tiny, tmp_path, 3)
    model = build_model(CONFIG.hidden, CONFIG.init, CONFIG.seed)
    model.load_state_dict(last.weights)
    logits = model(tiny.test_images).detach()
    loss = functional.cross_entropy(logits, tiny.test_labels).item()
    assert last.scores["test_accuracy"] == int((logits.argmax(1) == tiny.test_labels).sum()) / 100
    assert last.scores["test_loss"] == pytest.approx(loss, rel=1e-5)
    assert last.step == 3 * math.ceil(200 / 32)


def test_one_epoch_equals_the_usual_loop_bit_for_bit(tiny: Dataset) -> None:
    ours = build_model((8,), "pytorch", 0)
    usual = build_model((8,), "pytorch", 0)
    order = shuffled(200, 0, 1)
    accuracy, loss = train_epoch(ours, tiny, order.split(32), 0.1)

    optimizer = torch.optim.SGD(usual.parameters(), lr=0.1)
    correct, total = 0, 0.0
    for batch in order.split(32):
        logits = usual(tiny.train_images[batch])
        batch_loss = functional.cross_entropy(logits, tiny.train_labels[batch])
        optimizer.zero_grad()
        batch_loss.backward()
        optimizer.step()
        correct += int((logits.argmax(1) == tiny.train_labels[batch]).sum())
        total += batch_loss.item() * len(batch)

    for name, tensor in usual.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor)
    assert accuracy == correct / 200
    assert loss == pytest.approx(total / 200, rel=1e-5)


def test_every_shuffle_is_a_permutation_of_its_own() -> None:
    shuffles = [shuffled(500, seed, epoch) for seed, epoch in itertools.product((0, 1, 2**32 - 1), (1, 2, 3))]
    for shuffle in shuffles:
        assert torch.equal(shuffle.sort().values, torch.arange(500))
    for one, other in itertools.combinations(shuffles, 2):
        assert not torch.equal(one, other)
    assert torch.equal(shuffled(500, 1, 2), shuffled(500, 1, 2))


@pytest.mark.parametrize("init", INIT_SCHEMES)
def test_the_network_learns(init: str, tmp_path: Path, tiny: Dataset) -> None:
    first, *_, last = train(replace(CONFIG, init=init, hidden=(32,)), tiny, tmp_path, 10)
    assert last.scores["train_accuracy"] > 0.8 > 0.4 > first.scores["test_accuracy"]
    assert last.scores["test_accuracy"] > 0.6


def test_resumed_run_equals_undisturbed_run_wherever_it_stopped(tmp_path: Path, tiny: Dataset) -> None:
    list(train(CONFIG, tiny, tmp_path / "undisturbed", 5))
    for stop in range(6):
        out = tmp_path / f"stopped-after-{stop}"
        list(train(CONFIG, tiny, out, stop))
        last = checkpoints.open_run(out, CONFIG, resume=True)
        assert last is not None and last.epoch == stop
        list(train(CONFIG, tiny, out, 5, last))
        assert contents(out) == contents(tmp_path / "undisturbed")


def test_fault_14_diverged_training_is_saved_as_nan(tmp_path: Path, tiny: Dataset) -> None:
    *_, last = train(replace(CONFIG, lr=1e30), tiny, tmp_path, 2)
    assert len(contents(tmp_path)) == 3
    assert b'"test_loss":"nan"' in contents(tmp_path)["epoch_0002.safetensors"]
    assert math.isnan(checkpoints.read(tmp_path / "epoch_0002.safetensors").scores["test_loss"])
    assert math.isnan(last.scores["train_loss"])


def test_weights_that_do_not_fit_their_config_are_refused(tmp_path: Path, tiny: Dataset) -> None:
    (start,) = train(CONFIG, tiny, tmp_path, 0)
    wrong = replace(start, weights={"fc1.weight": torch.zeros(2, 2)})
    with pytest.raises(TrainerError, match=r"epoch_0000.safetensors: its tensors do not fit"):
        next(train(CONFIG, tiny, tmp_path, 1, wrong))


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(TrainerError, match="--device cuda"):
        choose_device("cuda")


@pytest.mark.parametrize(
    "setting",
    [
        {"dataset": "imagenet"},
        {"hidden": ()},
        {"hidden": (64, 0)},
        {"init": "zeros"},
        {"lr": 0.0},
        {"lr": -1.0},
        {"lr": math.inf},
        {"lr": math.nan},
        {"lr": 1e39},
        {"batch_size": 0},
        {"seed": -1},
        {"seed": 2**32},
        {"device": "auto"},
    ],
)
def test_senseless_setting_is_refused_by_name(setting: dict[str, object]) -> None:
    (name,) = setting
    with pytest.raises(ValueError, match=name.replace("_", "-")):
        TrainingConfig(**setting)  # type: ignore[arg-type]
