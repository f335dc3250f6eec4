"""Train small networks in which something is done to the layers, and judge what the report says of each.

Ten variants of each kind differ in the network, the layer, the place and the size of what is done. A variant is right
if the right rule names the right layer at the right checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from healthy_recipes import States, constant, cosine, digits, trained
from planted_judging import Expectation, Kind, main, write_training
from small_networks import Convolutions

EPOCHS = 20
FEW = 1000  # training images
SCORES = frozenset({"score_collapses", "scores_not_finite", "nothing_learned", "overfitting", "test_loss_rises"})


class Plan:
    """The choices of one variant, all of them from its seed: the network, what is done to it, where and when."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        self.at = 5 + self.pick(9)  # the first checkpoint with the change

    def pick(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.generator))

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def network(self) -> nn.Module:
        width = 32 + 16 * self.pick(5)
        if self.seed % 3 == 1:
            return Convolutions()
        return dense([196, width, width // 2, 10] if self.seed % 3 else [196, width, width, width // 2, 10])

    def train(self, model: nn.Module, epochs: int = EPOCHS) -> States:
        adam = self.seed % 2 == 1
        optimizer = (
            torch.optim.AdamW(model.parameters(), 1e-3)
            if adam
            else torch.optim.SGD(model.parameters(), 0.03, momentum=0.9)
        )
        return trained(model, digits(FEW, 500), optimizer, cosine if self.seed % 4 < 2 else constant, epochs)

    def matrix(self, model: nn.Module) -> str:
        """Choose a matrix of the network."""
        names = matrices_of(model)
        return names[self.pick(len(names))]


def dense(widths: list[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        parts += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*parts[:-1])


def matrices_of(model: nn.Module) -> list[str]:
    return [name for name, values in model.named_parameters() if values.ndim > 1]


def parameter(model: nn.Module, name: str) -> Tensor:
    return dict(model.named_parameters())[name]


def edited(states: States, at: int, edit: Callable[[], None], *, again: bool = False) -> States:
    """Change the network between the states before ``at`` and at it, and, if ``again``, at every one from there on.

    The states refer to the network's own tensors, so the next one begins from the changed ones.
    """
    for epoch, state in enumerate(states):
        if again and epoch >= at:
            with torch.no_grad():
                edit()
        yield state
        if epoch == at - 1:
            with torch.no_grad():
                edit()


def spoiled_files(states: States, at: int, tensor: str, value: float) -> States:
    """Put one value into an element of a tensor in the files from ``at`` on, not in the network."""
    for epoch, (state, scores) in enumerate(states):
        copies = {name: values.clone() for name, values in state.items()}
        if epoch >= at:
            copies[tensor].view(-1)[7] = value
        yield copies, scores


def nan(seed: int, folder: Path) -> Expectation:
    """A step that makes a layer NaN, and all of the network soon after; or one bad element in the files of a layer."""
    plan = Plan(seed)
    model = plan.network()
    tensor = plan.matrix(model)
    if seed % 2:
        value = float("nan") if seed % 4 == 1 else float("inf")
        write(folder, lambda: spoiled_files(plan.train(model), plan.at, tensor, value))
    else:
        write(folder, lambda: edited(plan.train(model), plan.at, lambda: parameter(model, tensor).fill_(torch.nan)))
    reached = [tensor] if seed % 2 else [name for name, _ in model.named_parameters()]
    return Expectation({"nonfinite_weights"}, reached, (plan.at, plan.at), beside=SCORES)


def blow_up(seed: int, folder: Path) -> Expectation:
    """A step so long that one layer grows manifold."""
    plan = Plan(seed)
    model = plan.network()
    tensor, times = plan.matrix(model), plan.between(6, 40)

    def edit() -> None:
        values = parameter(model, tensor)
        values.add_(times * values.std() * torch.randn_like(values))

    write(folder, lambda: edited(plan.train(model), plan.at, edit))
    rules = {"norm_explodes", "norm_jumps_for_good", "motion_spike"}
    return Expectation(rules, [tensor], (plan.at, plan.at), beside=SCORES)


def moved_bias(seed: int, folder: Path) -> Expectation:
    """A part of the biases of a layer moved far down, so that its units die."""
    plan = Plan(seed)
    model = plan.network()
    biases = [name for name, values in model.named_parameters() if name.endswith("bias") and "bn" not in name]
    tensor, share, far = biases[plan.pick(len(biases))], plan.between(0.3, 0.8), plan.between(10, 40)

    def edit() -> None:
        values = parameter(model, tensor)
        values[: max(1, round(share * len(values)))] -= far

    write(folder, lambda: edited(plan.train(model), plan.at, edit))
    return Expectation({"norm_jumps_for_good"}, [tensor], (plan.at, plan.at), beside=SCORES)


def vanishing(seed: int, folder: Path) -> Expectation:
    """A deep stack of saturating layers without residuals or normalization, trained by SGD."""
    plan = Plan(seed)
    sigmoid = seed % 2 == 0
    depth, width = (4 if sigmoid else 9) + plan.pick(3), 32 + 16 * plan.pick(4)
    model = dense([196, *[width] * depth, 10], nn.Sigmoid if sigmoid else nn.Tanh)
    if not sigmoid:
        for values in model.parameters():
            values.data *= 0.8
    optimizer = torch.optim.SGD(model.parameters(), plan.between(0.02, 0.2), momentum=0.9 if seed % 4 < 2 else 0)
    write(folder, lambda: trained(model, digits(FEW, 500), optimizer, constant, EPOCHS))
    first, *_, last = matrices_of(model)
    return Expectation({"first_layers_hardly_move"}, [first], None, spared=[last], beside=SCORES)


def dead_relu(seed: int, folder: Path) -> Expectation:
    """One epoch with a learning rate so high that all units of a layer, and those before it, die."""
    plan = Plan(seed)
    depth, width = 2 + plan.pick(3), 32 + 16 * plan.pick(4)
    model = dense([196, *[width] * depth, 10])
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9 if seed % 2 else 0)

    def states() -> States:
        rates = iter([1.0, plan.between(60, 200), 1.0])
        for epoch, state in enumerate(trained(model, digits(FEW, 500), optimizer, lambda _: factor[0], EPOCHS)):
            factor[0] = next(rates) if epoch == plan.at - 1 else 1.0
            if epoch == plan.at - 1:
                factor[0] = high
            yield state

    factor, high = [1.0], plan.between(60, 200)
    write(folder, states)
    return Expectation({"units_died"}, matrices_of(model)[:-1], (plan.at, plan.at), beside=SCORES)


KINDS: Mapping[str, Kind] = {one.__name__: one for one in (nan, blow_up, moved_bias, vanishing, dead_relu)}


def write(folder: Path, states: Callable[[], Iterator]) -> None:
    if not folder.exists():
        write_training(folder, states())


if __name__ == "__main__":
    main(KINDS, __doc__)
