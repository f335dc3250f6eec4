"""The training loop: train, evaluate and save once per epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer import checkpoints
from trainer.checkpoints import Checkpoint
from trainer.config import TrainingConfig
from trainer.datasets import Dataset
from trainer.errors import TrainerError
from trainer.models import build_model


def train(
    config: TrainingConfig, dataset: Dataset, out: Path, epochs: int, last: Checkpoint | None = None
) -> Iterator[Checkpoint]:
    """Train up to and including epoch ``epochs``; yield each epoch's checkpoint once it is saved in ``out``.

    Starts with the untrained network as epoch 0, or continues after ``last``. The bytes written depend on
    ``config`` alone (and on the machine and the version of torch), not on how often the run was interrupted.

    Sets torch to one thread in this process.

    Raises:
        TrainerError: a checkpoint cannot be written, or ``last`` does not fit the network.
    """
    # These matrices are too small for several threads, and a sum's order must not depend on the number of cores.
    torch.set_num_threads(1)
    device = torch.device(config.device)
    dataset = dataset.to(device)
    model = build_model(config.hidden, config.init, config.seed)
    if last is not None:
        _restore(model, last, out)
    model.to(device)
    steps_per_epoch = math.ceil(len(dataset.train_labels) / config.batch_size)

    for epoch in range(0 if last is None else last.epoch + 1, epochs + 1):
        scores = {}
        if epoch > 0:
            order = shuffled(len(dataset.train_labels), config.seed, epoch).to(device)
            batches = torch.split(order, config.batch_size)
            scores["train_accuracy"], scores["train_loss"] = train_epoch(model, dataset, batches, config.lr)
        scores["test_accuracy"], scores["test_loss"] = evaluate(model, dataset)
        checkpoint = Checkpoint(
            epoch=epoch,
            step=epoch * steps_per_epoch,
            scores=scores,
            config=checkpoints.config_as_stored(config),
            weights={name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()},
        )
        checkpoints.save(out, checkpoint)
        yield checkpoint


def train_epoch(model: nn.Module, dataset: Dataset, batches: Sequence[Tensor], lr: float) -> tuple[float, float]:
    """Update the model once per batch of indices; return accuracy and loss over the epoch's batches.

    Each batch is scored before its update. Plain SGD is three lines. ``torch.optim.SGD`` gives the same bits, but its
    constructor imports torch's compiler, which takes as long as forty epochs of the sample.
    """
    weights = list(model.parameters())
    logits = []
    for batch in batches:
        output = model(dataset.train_images[batch])
        loss = functional.cross_entropy(output, dataset.train_labels[batch])
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.sub_(gradient, alpha=lr)
        logits.append(output.detach())  # scored once at the end, because synchronizing after each batch is slow
    return score(torch.cat(logits), dataset.train_labels[torch.cat(list(batches))])


@torch.no_grad()
def evaluate(model: nn.Module, dataset: Dataset) -> tuple[float, float]:
    """Return accuracy (a fraction) and mean cross-entropy (nats) on the test images, without training."""
    return score(model(dataset.test_images), dataset.test_labels)


def score(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return accuracy (a fraction) and mean cross-entropy (nats) for logits of shape (n, 10) and n labels."""
    logits, labels = logits.cpu().double(), labels.cpu()  # in this order, because not every device supports float64
    correct = int((logits.argmax(dim=1) == labels).sum())
    return correct / len(labels), float(functional.cross_entropy(logits, labels))


def shuffled(count: int, seed: int, epoch: int) -> Tensor:
    """Return a permutation of 0 .. count - 1 that depends only on ``seed`` and ``epoch``, not on earlier calls.

    Uses numpy, which seeds a generator with both numbers; torch accepts one, and on the CPU uses its lower 32 bits.
    """
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(count))


def choose_device(name: str) -> str:
    """Return ``cpu``, ``cuda`` or ``mps``; ``auto`` is cuda if it is available, else the CPU.

    Raises:
        TrainerError: the named device is not available.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return "cuda" if available["cuda"] else "cpu"
    if not available[name]:
        raise TrainerError(f"--device {name}: torch finds no such device on this machine. Use --device cpu or auto.")
    return name


def _restore(model: nn.Module, last: Checkpoint, out: Path) -> None:
    try:
        model.load_state_dict(last.weights)
    except RuntimeError as error:
        raise TrainerError(
            f"{out / checkpoints.file_name(last.epoch)}: its tensors do not fit its own config: "
            f"{' '.join(str(error).split())}. Remove it to train that epoch again."
        ) from error
