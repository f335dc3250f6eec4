"""The multilayer perceptron, and seven initializations of its weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn

PIXELS = 28 * 28
CLASSES = 10
NORMAL_STANDARD_DEVIATION = 0.05  # the default of Keras's RandomNormal

# Each fills a weight matrix of shape (fan_out, fan_in) in place; None keeps the weights that nn.Linear drew.
INITIALIZERS: Final[dict[str, Callable[[Tensor], Tensor] | None]] = {
    "pytorch": None,
    "xavier-uniform": nn.init.xavier_uniform_,
    "xavier-normal": nn.init.xavier_normal_,
    "kaiming-uniform": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    "kaiming-normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
    "normal": partial(nn.init.normal_, std=NORMAL_STANDARD_DEVIATION),
}


def build_model(hidden: tuple[int, ...], init: str, seed: int) -> nn.Sequential:
    """Build the network 784 - ``hidden`` - 10 with ReLU between the layers; weights depend on ``seed`` alone.

    Takes images of shape (n, 784), returns logits of shape (n, 10). The layers are named ``fc1``, ``fc2``, ...,
    ``out``: the state dict contains ``fc1.weight`` of shape (hidden[0], 784), ``fc1.bias``, ..., ``out.bias``.

    With n = fan_in and m = fan_out of a layer, ``init`` draws its weights as follows:

    - ``pytorch``: uniform in ±1/√n, biases too (the default of ``nn.Linear``; after LeCun et al., 1998).
    - ``xavier-uniform``, ``xavier-normal``: variance 2/(n + m) (Glorot and Bengio, AISTATS 2010).
    - ``kaiming-uniform``, ``kaiming-normal``: variance 2/n (He et al., ICCV 2015).
    - ``orthogonal``: all singular values 1 (Saxe, McClelland and Ganguli, ICLR 2014).
    - ``normal``: standard deviation 0.05 regardless of the size; for comparison.

    All but ``pytorch`` start with biases of zero.
    """
    model = nn.Sequential()
    with torch.random.fork_rng(devices=[]):  # leaves the caller's random state unchanged
        torch.default_generator.manual_seed(seed)  # torch.manual_seed imports the compiler, which takes seconds
        for number, (fan_in, fan_out) in enumerate(pairwise((PIXELS, *hidden)), start=1):
            model.add_module(f"fc{number}", nn.Linear(fan_in, fan_out))
            model.add_module(f"relu{number}", nn.ReLU())
        model.add_module("out", nn.Linear(hidden[-1], CLASSES))

        initialize = INITIALIZERS[init]
        if initialize is not None:
            for layer in model:
                if isinstance(layer, nn.Linear):
                    initialize(layer.weight)
                    nn.init.zeros_(layer.bias)
    return model
