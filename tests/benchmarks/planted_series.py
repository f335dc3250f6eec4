"""Train small networks with something planted, ten variants of each kind, and print in how many it is found."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from healthy_recipes import Data, Rate, Scores, constant, cosine, digits, trained
from planted_judging import Expectation, Kind, main, write_training
from small_networks import Convolutions

EPOCHS = 20
BESIDE = ("overfitting",)  # true of some networks on 1000 images
Optimizing = Callable[[nn.Module], torch.optim.Optimizer]


@dataclass(frozen=True)
class Series:
    """The states (n) of a training and their scores."""

    states: Sequence[Mapping[str, Tensor]]
    scores: Sequence[Scores]

    def reordered(self, order: Sequence[int]) -> Series:
        """Return the series with other states, and the scores where they were."""
        return replace(self, states=[self.states[at] for at in order])


Planted = tuple[Series, Expectation]


def network(seed: int) -> nn.Module:
    """Return an MLP of one to three hidden layers, or a CNN with BatchNorm, after seeding the generator."""
    torch.manual_seed(seed)
    if seed % 5 == 4:
        return Convolutions()
    sizes = (196, *[(64,), (96, 48), (48, 48, 32), (128, 64)][seed % 5], 10)
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers[:-1])


def sgd(model: nn.Module, lr: float = 0.02) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr, momentum=0.9)


def adam(model: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr)


def usual(model: nn.Module, seed: int) -> torch.optim.Optimizer:
    return (adam if seed % 2 else sgd)(model)


def series(model: nn.Module, data: Data, optimizer: torch.optim.Optimizer, rate: Rate, epochs: int) -> Series:
    """Train a network and keep copies of its states, the first before training."""
    states, scores = [], []
    for state, score in trained(model, data, optimizer, rate, epochs):
        states.append({name: values.detach().clone() for name, values in state.items()})
        scores.append(score)
    return Series(states, scores)


def joined(first: Series, second: Series) -> Series:
    """Return a series that goes on with another one, whose first state is the last of the first."""
    return Series([*first.states, *second.states[1:]], [*first.scores, *second.scores[1:]])


@cache
def healthy(seed: int) -> Series:
    model = network(seed)
    return series(model, digits(1000), usual(model, seed), cosine if seed % 3 == 0 else constant, EPOCHS)


def place(seed: int, first: int = 6, last: int = EPOCHS - 5) -> int:
    """Return the first checkpoint of what is planted."""
    return int(np.random.default_rng(seed).integers(first, last + 1))


def from_epoch(since: int, factor: float) -> Rate:
    """Return a rate that has a factor from the step into a checkpoint on."""
    return lambda share: factor if share * EPOCHS > since - 1 else 1.0


def learning_rate_zero(seed: int) -> Planted:
    model, since = network(seed), place(seed)
    made = series(model, digits(1000), usual(model, seed), from_epoch(since, 0.0), EPOCHS)
    return made, Expectation(["weights_stand_still", "frozen_tensors"], epochs=(since - 1, since), beside=BESIDE)


def resumed(seed: int) -> Planted:
    """Go on from the weights of an older checkpoint, with a new optimizer and other batches."""
    model, since = network(seed), place(seed, 9, EPOCHS - 4)
    to = since - [3, 4, 5, 6, 8][seed % 5] - 1
    before = series(model, digits(1000), usual(model, seed), constant, since - 1)
    model.load_state_dict(dict(before.states[to]))
    after = series(model, digits(1000), usual(model, seed), constant, EPOCHS - since + 1)
    return joined(before, after), Expectation(["goes_back"], at=(since,), beside=BESIDE)


def other_seed(seed: int) -> Planted:
    at = place(seed, 1, EPOCHS - 1)
    made, other = healthy(seed), healthy(seed + 10)  # has the same network
    states = [*made.states]
    states[at] = other.states[at]
    return replace(made, states=states), Expectation(["foreign_checkpoint"], at=(at,), beside=BESIDE)


def exchanged(seed: int) -> Planted:
    generator = np.random.default_rng(seed)
    first = int(generator.integers(1, EPOCHS - 6))
    second = int(generator.integers(first + 2, min(first + 9, EPOCHS)))
    return _exchanged(seed, first, second)


def exchanged_neighbors(seed: int) -> Planted:
    first = place(seed, 1, EPOCHS // 2)
    return _exchanged(seed, first, first + 1)


def exchanged_first(seed: int) -> Planted:
    return _exchanged(seed, 0, place(seed, 2, EPOCHS - 1))


def exchanged_last(seed: int) -> Planted:
    return _exchanged(seed, place(seed, 1, EPOCHS - 3), EPOCHS)


def _exchanged(seed: int, first: int, second: int) -> Planted:
    order = np.arange(EPOCHS + 1)
    order[[first, second]] = order[[second, first]]
    return healthy(seed).reordered(order.tolist()), Expectation(
        ["exchanged_checkpoints"], at=(first, second), beside=BESIDE
    )


def copies(seed: int) -> Planted:
    """Write one checkpoint again as the next one or two, or over a distant one."""
    at = place(seed, 1, EPOCHS - 4)
    order = np.arange(EPOCHS + 1)
    places = (at, at + 3) if seed % 3 == 0 else tuple(range(at, at + 1 + seed % 3))
    order[list(places)] = at
    return healthy(seed).reordered(order.tolist()), Expectation(["same_weights"], at=places, beside=BESIDE)


def adam_to_sgd(seed: int) -> Planted:
    return _switched(seed, adam, sgd)


def sgd_to_adam(seed: int) -> Planted:
    return _switched(seed, sgd, adam)


def _switched(seed: int, first: Optimizing, second: Optimizing) -> Planted:
    model, since = network(seed), place(seed)
    before = series(model, digits(1000), first(model), constant, since - 1)
    after = series(model, digits(1000), second(model), constant, EPOCHS - since + 1)
    return joined(before, after), Expectation(["step_length_changes"], at=(since,), beside=BESIDE)


def restart(seed: int) -> Planted:
    """Train with a learning rate that becomes 50 times as high."""
    model, since = network(seed), place(seed, 8)
    optimizer = adam(model, 1e-4) if seed % 2 else sgd(model, 1e-3)
    made = series(model, digits(1000), optimizer, from_epoch(since, 50.0), EPOCHS)
    return made, Expectation(["step_length_changes"], at=(since,), beside=BESIDE)


def decayed(seed: int) -> Planted:
    model, since = network(seed), place(seed)
    made = series(model, digits(1000), usual(model, seed), from_epoch(since, 0.1), EPOCHS)
    return made, Expectation([], beside=BESIDE)


def other_digits(seed: int) -> Planted:
    """Train on five digits, then on the others, and test on the first five throughout."""
    images, labels, tested, answers = digits()
    old = labels < 5
    before = (images[old][:1000], labels[old][:1000], tested[answers < 5], answers[answers < 5])
    return _other_task(seed, before, (images[~old][:1000], labels[~old][:1000]))


def permuted_pixels(seed: int) -> Planted:
    """Train on digits, then on digits with permuted pixels, and test on the former throughout."""
    images, labels, tested, answers = digits()
    permutation = torch.randperm(196, generator=torch.Generator().manual_seed(seed))
    permuted = images[:1000].flatten(1)[:, permutation].reshape(-1, 14, 14)
    return _other_task(seed, (images[:1000], labels[:1000], tested, answers), (permuted, labels[:1000]))


def _other_task(seed: int, data: Data, other: tuple[Tensor, Tensor]) -> Planted:
    model, since = network(seed), place(seed)
    optimizer = usual(model, seed)
    before = series(model, data, optimizer, constant, since - 1)
    after = series(model, (*other, *data[2:]), optimizer, constant, EPOCHS - since + 1)
    return joined(before, after), Expectation(["task_changes"], at=(since,))


def overfitting(seed: int) -> Planted:
    model = network(seed)
    made = series(model, _few(80 + 40 * (seed % 5)), usual(model, seed), constant, 30)
    return made, Expectation(["overfitting"])


def memorized(seed: int) -> Planted:
    """Learn random labels by heart."""
    model = network(seed)
    images, labels, tested, answers = _few(200)
    labels = torch.randint(0, 10, labels.shape, generator=torch.Generator().manual_seed(seed))
    made = series(model, (images, labels, tested, answers), adam(model, 3e-3), constant, 40)
    return made, Expectation(["overfitting"])


def label_noise(seed: int) -> Planted:
    """Learn data of which 30 to 50 % have random labels, to the end."""
    model = network(seed)
    images, labels, tested, answers = digits(1000)
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(labels), generator=generator) < 0.3 + 0.05 * (seed % 5)
    labels = torch.where(wrong, torch.randint(0, 10, labels.shape, generator=generator), labels)
    made = series(model, (images, labels, tested, answers), adam(model, 2e-3), constant, 40)
    return made, Expectation(["overfitting"])


def _few(count: int) -> Data:
    """Return some images, as many as a batch or more, and all test images."""
    images, labels, tested, answers = digits()
    return images[:count], labels[:count], tested, answers


def learning_rate_too_low(seed: int) -> Planted:
    model, low = network(seed), 10.0 ** -(6 + seed % 3)
    made = series(model, digits(1000), adam(model, low / 10) if seed % 2 else sgd(model, low), constant, EPOCHS)
    return made, Expectation(["nothing_learned"])


def pure_bfloat16(seed: int) -> Planted:
    model = network(seed).to(torch.bfloat16)
    images, labels, tested, answers = digits(1000)
    data = (images.bfloat16(), labels, tested.bfloat16(), answers)
    optimizer = adam(model, 3e-4) if seed % 2 else sgd(model, 0.01)
    return series(model, data, optimizer, cosine, EPOCHS), Expectation(
        ["updates_lost_in_rounding"], beside=(*BESIDE, "frozen_tensors")
    )


def rounded_bfloat16(seed: int) -> Planted:
    model = network(seed)
    optimizer = adam(model, 3e-4) if seed % 2 else sgd(model, 0.01)
    made = series(model, digits(1000), optimizer, cosine, EPOCHS)
    states = [
        {name: values.bfloat16() if values.is_floating_point() else values for name, values in state.items()}
        for state in made.states
    ]
    return replace(made, states=states), Expectation([], beside=BESIDE)


def scores_out_of_range(seed: int) -> Planted:
    """Write an accuracy that is negative or too large at one checkpoint or two."""
    made, at = healthy(seed), place(seed, 0, EPOCHS - 1)
    places = (at, at + 1) if seed % 2 else (at,)
    score = "test_accuracy" if seed % 3 else "train_accuracy"
    value = (-1.0, 97.0, 1.5, -0.2)[seed % 4]
    scores = [{**row, score: value} if t in places else row for t, row in enumerate(made.scores)]
    return replace(made, scores=scores), Expectation(["impossible_accuracy"], at=places, beside=BESIDE)


def writing(plant: Callable[[int], Planted]) -> Kind:
    """Return the kind that writes what was planted, where that has not been done yet."""

    def write(seed: int, folder: Path) -> Expectation:
        made, expected = plant(seed)
        if not folder.exists():
            write_training(folder, zip(made.states, made.scores, strict=True))
        return expected

    return write


KINDS: Mapping[str, Kind] = {
    plant.__name__: writing(plant)
    for plant in (
        *(learning_rate_zero, resumed, other_seed, exchanged, exchanged_neighbors, exchanged_first, exchanged_last),
        *(copies, adam_to_sgd, sgd_to_adam, restart, decayed, other_digits, permuted_pixels, overfitting, memorized),
        *(label_noise, learning_rate_too_low, pure_bfloat16, rounded_bfloat16, scores_out_of_range),
    )
}


if __name__ == "__main__":
    main(KINDS, __doc__)
