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

EPOCHS = 16
FEW = 600  # training images
SCORES = frozenset(  # what a planted defect may do to the scores
    {"score_collapses", "scores_not_finite", "nothing_learned", "overfitting", "test_loss_rises"}
)
EXPLOSION = frozenset(  # what steps that are far too long may do to the weights
    {"norm_explodes", "norm_jumps_for_good", "motion_spike", "units_died", "layer_departs_from_peers"}
)


class Plan:
    """The choices of one variant, all of them from its seed: the network, what is done to it, where and when."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        self.at = 4 + self.pick(7)  # the first checkpoint with the change

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
        sgd = self.seed % 2 == 0
        parameters = model.parameters()
        optimizer = torch.optim.SGD(parameters, 0.03, momentum=0.9) if sgd else torch.optim.AdamW(parameters, 1e-3)
        return trained(model, digits(FEW, 300), optimizer, cosine if self.seed % 4 < 2 else constant, epochs)

    def matrix(self, model: nn.Module, *, hidden: bool = False) -> str:
        """Choose a matrix of the network; a hidden one is not the last, and no convolution."""
        names = [name for name, values in model.named_parameters() if values.ndim > 1]
        if hidden:
            names = [name for name in names[:-1] if "conv" not in name]
        return names[self.pick(len(names))]


def dense(widths: list[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        parts += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*parts[:-1])


def parameter(model: nn.Module, name: str) -> Tensor:
    return dict(model.named_parameters())[name]


def edited(states: States, at: int, edit: Callable[[], None], *, again: bool = False) -> States:
    """Change the network before the epoch that ends at the checkpoint ``at``; if ``again``, after every later one, too.

    The states refer to the network's own tensors, so training goes on from the changed ones.
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


def write(folder: Path, states: Callable[[], Iterator]) -> None:
    if not folder.exists():
        write_training(folder, states())


def nan(seed: int, folder: Path) -> Expectation:
    """A layer that becomes NaN, and all of the network soon after; or one bad element in the files of a layer."""
    plan = Plan(seed)
    model = plan.network()
    tensor = plan.matrix(model)
    if seed % 2:
        value = float("nan") if seed % 4 == 1 else float("inf")
        write(folder, lambda: spoiled_files(plan.train(model), plan.at, tensor, value))
        return Expectation({"nonfinite_weights"}, [tensor], (plan.at, plan.at), beside=SCORES)
    write(folder, lambda: edited(plan.train(model), plan.at, lambda: parameter(model, tensor).fill_(torch.nan)))
    every = [name for name, _ in model.named_parameters()]
    named = [*every, *(name for name in model.state_dict() if "running" in name)]
    return Expectation({"nonfinite_weights"}, named, (plan.at, plan.at), beside=SCORES)


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
    return Expectation(rules, [tensor], (plan.at, plan.at), beside=SCORES | {"units_died"})


def moved_bias(seed: int, folder: Path) -> Expectation:
    """A part of the biases of a layer moved far down, so that its units die."""
    plan = Plan(seed)
    model = plan.network()
    biases = [name for name, _ in model.named_parameters() if name.endswith("bias") and "bn" not in name]
    tensor, share, far = biases[plan.pick(len(biases))], plan.between(0.3, 0.8), plan.between(10, 40)

    def edit() -> None:
        values = parameter(model, tensor)
        values[: round(share * len(values))] -= far

    write(folder, lambda: edited(plan.train(model), plan.at, edit))
    return Expectation({"norm_jumps_for_good"}, [tensor], (plan.at, plan.at), beside=SCORES | {"units_died"})


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
    write(folder, lambda: trained(model, digits(FEW, 300), optimizer, constant, EPOCHS))
    first, *_, last = (name for name, values in model.named_parameters() if values.ndim > 1)
    return Expectation({"first_layers_hardly_move"}, [first], spared=[last], beside=SCORES)


def dead_relu(seed: int, folder: Path) -> Expectation:
    """A step so long that all units of a hidden layer die: each gives zero for all data."""
    plan = Plan(seed)
    depth, width = 2 + plan.pick(3), 32 + 16 * plan.pick(4)
    model = dense([196, *[width] * depth, 10])
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.5 if seed % 2 else 0)
    layer, times = 1 + 2 * plan.pick(depth), plan.between(2, 20)

    def edit() -> None:
        weights, biases = model[layer].weight, model[layer].bias
        weights.add_(times * weights.std() * torch.randn_like(weights))
        active = model[: layer + 1](torch.cat([digits(FEW, 300)[0], digits(FEW, 300)[2]]))
        biases.sub_(1.5 * active.max(0).values.clamp_min(0))

    states = trained(model, digits(FEW, 300), optimizer, constant, EPOCHS)
    write(folder, lambda: edited(states, plan.at, edit))
    still = [f"{n}.{part}" for n in range(1, layer + 1, 2) for part in ("weight", "bias")] + [f"{layer + 2}.weight"]
    return Expectation({"frozen_tensors"}, still, (plan.at, plan.at + 4), beside=SCORES | EXPLOSION)


class ReluRecurrent(nn.Module):
    """Reads a digit row by row, with rectified states that can grow without limit."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(14, width, layers, nonlinearity="relu", batch_first=True)
        self.fc = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.rnn(images)[0][:, -1])


def rnn_explodes(seed: int, folder: Path) -> Expectation:
    """A network with rectified recurrence that learns, until a higher learning rate makes its states explode."""
    plan = Plan(seed)
    model = ReluRecurrent(24 + 8 * plan.pick(5), 1 + plan.pick(2))
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    high = plan.between(20, 60)

    def states() -> States:
        factor = [1.0]
        for epoch, state in enumerate(trained(model, digits(FEW, 300), optimizer, lambda _: factor[0], EPOCHS)):
            yield state
            factor[0] = high if epoch >= plan.at - 1 else 1.0

    write(folder, states)
    true = {"step_length_changes", "nonfinite_weights"}  # of the learning rate, which was raised indeed
    return Expectation({"score_collapses"}, [], (plan.at, plan.at + 2), beside=SCORES | EXPLOSION | true)


def pruned(seed: int, folder: Path) -> Expectation:
    """The smaller part of one matrix, or of all, set to zero and kept there."""
    plan = Plan(seed)
    model = plan.network()
    one, share = plan.matrix(model), plan.between(0.3, 0.8)
    names = [one] if seed % 2 else [name for name, values in model.named_parameters() if values.ndim > 1]
    masks: dict[str, Tensor] = {}

    def edit() -> None:
        for name in names:
            values = parameter(model, name)
            if name not in masks:
                masks[name] = values.abs() >= values.abs().flatten().kthvalue(round(share * values.numel())).values
            values.mul_(masks[name])

    write(folder, lambda: edited(plan.train(model), plan.at, edit, again=True))
    return Expectation({"weights_become_zero"}, names, (plan.at, plan.at), beside=SCORES)


def beyond_peers(seed: int, folder: Path) -> Expectation:
    """One of several equal layers made far larger than the others, at once or by a higher learning rate of its own."""
    plan = Plan(seed)
    width, depth = 32 + 16 * plan.pick(3), 4 + plan.pick(3)
    model = dense([196, *[width] * (depth + 1), 10])
    tensor = f"{3 + 2 * plan.pick(depth)}.weight"
    times = plan.between(4, 8)

    def edit() -> None:
        parameter(model, tensor).mul_(times)

    def grow() -> None:
        values = parameter(model, tensor)
        if values.norm() < times * first:
            values.mul_(times ** (1 / 6))

    first = parameter(model, tensor).norm().item()
    write(folder, lambda: edited(plan.train(model), plan.at, grow if seed % 2 else edit, again=bool(seed % 2)))
    until = plan.at + (8 if seed % 2 else 0)
    return Expectation({"layer_departs_from_peers"}, [tensor], (plan.at, until), beside=SCORES | EXPLOSION)


def decayed_row(seed: int, folder: Path) -> Expectation:
    """A row of a matrix that shrinks from a checkpoint on, as that of a unit without gradient under weight decay."""
    plan = Plan(seed)
    model = plan.network()
    tensor, times = plan.matrix(model), plan.between(0.2, 0.6)
    row = plan.pick(len(parameter(model, tensor)))
    shrunk = parameter(model, tensor)[row].detach().clone()
    started: list[int] = []

    def edit() -> None:
        if not started:
            started.append(1)
            shrunk.copy_(parameter(model, tensor)[row])
        shrunk.mul_(times)
        parameter(model, tensor)[row] = shrunk

    write(folder, lambda: edited(plan.train(model), plan.at, edit, again=True))
    return Expectation({"condition_number_explodes"}, [tensor], (plan.at, EPOCHS), beside=SCORES)


def rank_collapse(seed: int, folder: Path) -> Expectation:
    """A matrix cut to few directions, at once, and kept there."""
    plan = Plan(seed)
    model = plan.network()
    tensor, rank = plan.matrix(model), 1 + plan.pick(3)

    def edit() -> None:
        values = parameter(model, tensor)
        u, s, v = torch.linalg.svd(values.flatten(1), full_matrices=False)
        values.copy_(((u[:, :rank] * s[:rank]) @ v[:rank]).reshape(values.shape))

    write(folder, lambda: edited(plan.train(model), plan.at, edit, again=True))
    return Expectation({"rank_collapses"}, [tensor], (plan.at, plan.at), beside=SCORES)


def strange_start(seed: int, folder: Path) -> Expectation:
    """One matrix, or all of them, that begins far too large or far too small."""
    plan = Plan(seed)
    model = plan.network()
    one = plan.matrix(model)
    names = [one] if seed % 2 else [name for name, values in model.named_parameters() if values.ndim > 1]
    factor = plan.between(8, 20) if seed % 4 < 2 else plan.between(0.002, 0.015)
    with torch.no_grad():
        for name in names:
            parameter(model, name).mul_(factor)
    write(folder, lambda: plan.train(model))
    return Expectation(
        {"unusual_initialization"}, names, (0, 0), beside=SCORES | EXPLOSION | {"first_layers_hardly_move"}
    )


KINDS: Mapping[str, Kind] = {
    one.__name__: one
    for one in (
        *(nan, blow_up, moved_bias, vanishing, dead_relu, rnn_explodes, pruned, beyond_peers),
        *(decayed_row, rank_collapse, strange_start),
    )
}

if __name__ == "__main__":
    main(KINDS, __doc__)
