"""Small networks that are trained as usual, with nothing wrong: ten recipes, each for any seed.

A recipe yields (state_dict, scores) at the start and after every epoch. The data are the bundled sample of MNIST at
14 × 14 pixels, or text of an invented language.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import torch
from small_networks import CharacterGPT, Convolutions, Recurrent, VisionTransformer, mlp
from torch import Tensor, nn
from torch.nn import functional

from trainer import datasets

Scores = dict[str, float]
States = Iterator[tuple[Mapping[str, Tensor], Scores]]
Rate = Callable[[float], float]  # share of the run -> factor of the learning rate
Data = tuple[Tensor, Tensor, Tensor, Tensor]  # inputs and targets, for training and for testing

BATCH = 64


def cosine(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2


def warm_cosine(share: float) -> float:
    return min(1.0, share / 0.1) * cosine(share)


def one_cycle(share: float) -> float:
    return 0.04 + 0.96 * share / 0.3 if share < 0.3 else cosine((share - 0.3) / 0.7)


def steps(share: float) -> float:
    return 0.1 ** (math.floor(3 * share) if share < 1 else 2)


def constant(share: float) -> float:
    return 1.0


@cache
def digits(train: int = 4000, test: int = 1000) -> Data:
    """Return images (n, 14, 14) of mean 0 and their labels."""
    sample = datasets.load("mnist-sample", Path())

    def images(raw: np.ndarray) -> Tensor:
        small = torch.tensor(np.asarray(raw, dtype=np.float32)).reshape(-1, 14, 2, 14, 2).mean((2, 4))
        return (small - small.mean()) / small.std()

    return (
        images(sample.train_images[:train]),
        torch.tensor(np.asarray(sample.train_labels[:train], dtype=np.int64)),
        images(sample.test_images[:test]),
        torch.tensor(np.asarray(sample.test_labels[:test], dtype=np.int64)),
    )


@cache
def text(length: int = 40_000, words: int = 150, context: int = 32) -> Data:
    """Return windows (n, context) of an invented language and the character after each place.

    Words of 2 to 7 letters follow each other by a sparse table of transitions.
    """
    generator = np.random.default_rng(0)
    vocabulary = ["".join(generator.choice(list("abcdefghijklmnop"), generator.integers(2, 8))) for _ in range(words)]
    following = generator.integers(0, words, (words, 6))
    at, written = 0, []
    while sum(map(len, written)) + len(written) < length:
        written.append(vocabulary[at])
        at = int(following[at, generator.integers(6)])
    codes = torch.tensor([ord(letter) - ord("a") if letter != " " else 16 for letter in " ".join(written)])
    windows = codes.unfold(0, context + 1, context)
    held_out = len(windows) // 6
    return windows[:-held_out, :-1], windows[:-held_out, 1:], windows[-held_out:, :-1], windows[-held_out:, 1:]


@torch.no_grad()
def scores_of(model: nn.Module, data: Data, *, accuracy: bool) -> Scores:
    """Return loss and accuracy on the training data (as many as test data) and the test data."""
    model.eval()
    found = {}
    count = len(data[2])
    for name, inputs, targets in (("train", data[0][:count], data[1][:count]), ("test", *data[2:])):
        outputs = model(inputs)
        found[f"{name}_loss"] = loss_of(outputs, targets).item()
        if accuracy:
            found[f"{name}_accuracy"] = (outputs.argmax(-1) == targets).float().mean().item()
    model.train()
    return found


def loss_of(outputs: Tensor, targets: Tensor) -> Tensor:
    if targets.is_floating_point():
        return functional.mse_loss(outputs, targets)
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def trained(
    model: nn.Module,
    data: Data,
    optimizer: torch.optim.Optimizer,
    rate: Rate,
    epochs: int,
    *,
    accuracy: bool = True,
    clip: float | None = None,
    after_step: Callable[[], None] = lambda: None,
    saved: nn.Module | None = None,
) -> States:
    """Train, and yield the state and the scores of the model (or of the ``saved`` one) at the start and every epoch."""
    saved = saved or model
    base = [group["lr"] for group in optimizer.param_groups]
    batches = len(data[0]) // BATCH
    yield saved.state_dict(), scores_of(saved, data, accuracy=accuracy)
    for epoch in range(epochs):
        for number, rows in enumerate(torch.randperm(len(data[0]))[: batches * BATCH].split(BATCH)):
            share = (epoch * batches + number + 0.5) / (epochs * batches)
            for group, lr in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = lr * rate(share)
            optimizer.zero_grad()
            loss_of(model(data[0][rows]), data[1][rows]).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            after_step()
        yield saved.state_dict(), scores_of(saved, data, accuracy=accuracy)


def mlp_sgd() -> States:
    model = mlp()
    return trained(model, digits(), torch.optim.SGD(model.parameters(), 0.05, momentum=0.9), constant, 30)


def mlp_adamw() -> States:
    model = mlp()
    return trained(model, digits(), torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.1), cosine, 30)


def cnn_steps() -> States:
    model = Convolutions()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    return trained(model, digits(2000), optimizer, steps, 24)


def cnn_one_cycle() -> States:
    model = Convolutions()
    optimizer = torch.optim.SGD(model.parameters(), 0.2, momentum=0.9, weight_decay=5e-4)
    return trained(model, digits(2000), optimizer, one_cycle, 24)


def vit() -> States:
    model = VisionTransformer()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
    return trained(model, digits(1500, 500), optimizer, warm_cosine, 20, clip=1.0)


def lstm() -> States:
    model = Recurrent()
    return trained(model, digits(2000), torch.optim.Adam(model.parameters(), 2e-3), constant, 24, clip=1.0)


def gpt() -> States:
    model = CharacterGPT()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, betas=(0.9, 0.95), weight_decay=0.1)
    return trained(model, text(), optimizer, warm_cosine, 24, accuracy=False, clip=1.0)


def autoencoder() -> States:
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(196, 96), nn.ReLU(), nn.Linear(96, 16), nn.Linear(16, 96), nn.ReLU(), nn.Linear(96, 196)
    )
    images, _, held_out, _ = digits()
    data = (images, images.flatten(1), held_out, held_out.flatten(1))
    return trained(model, data, torch.optim.Adam(model.parameters(), 1e-3), constant, 30, accuracy=False)


def mlp_averaged() -> States:
    """Save the exponential average of the weights of a network with dropout, under a rate that falls in steps."""
    model = mlp(dropout=0.2)
    average = deepcopy(model)

    def follow() -> None:
        with torch.no_grad():
            for mean, value in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(value, 0.01)

    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    return trained(model, digits(), optimizer, steps, 30, after_step=follow, saved=average)


def lora() -> States:
    """Adapt a transformer that reads digits to inverted ones, with PEFT; the state is that of the adapter."""
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    model = VisionTransformer()
    before = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in trained(model, digits(1500, 500), before, cosine, 4):
        pass
    images, labels, held_out, held_out_labels = digits(1500, 500)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["c_attn", "c_fc"]))
    optimizer = torch.optim.AdamW([one for one in adapted.parameters() if one.requires_grad], 2e-3, weight_decay=0.0)
    data = (-images.flip(2), labels, -held_out.flip(2), held_out_labels)
    for _, scores in trained(adapted, data, optimizer, warm_cosine, 20):
        yield get_peft_model_state_dict(adapted), scores


RECIPES: Mapping[str, Callable[[], States]] = {
    recipe.__name__: recipe
    for recipe in (mlp_sgd, mlp_adamw, cnn_steps, cnn_one_cycle, vit, lstm, gpt, lora, autoencoder, mlp_averaged)
}
