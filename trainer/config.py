"""The settings of a training run. Does not import torch, so that ``--help`` responds at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

DATASETS = ("mnist-sample", "mnist", "fashion-mnist", "kmnist")
INIT_SCHEMES = (
    "pytorch",
    "xavier-uniform",
    "xavier-normal",
    "kaiming-uniform",
    "kaiming-normal",
    "orthogonal",
    "normal",
)
DEVICES = ("cpu", "cuda", "mps")

LARGEST_LEARNING_RATE = 1e38  # the weights are float32, and torch rejects a larger factor
LARGEST_SEED = 2**32 - 1  # torch's generator on the CPU drops higher bits, so two seeds would be equivalent


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Everything that the weights after a given epoch depend on; it is stored in each checkpoint.

    The number of epochs is not part of it: epoch 7 is the same in a run of 10 epochs and in one of 50, so a
    resumed run ends with the same bytes as an uninterrupted one. Nor is any path, which differs between machines.

    Raises:
        ValueError: a setting is invalid; the message names it.
    """

    dataset: str = "mnist-sample"
    hidden: tuple[int, ...] = (64, 32, 16)  # 50 epochs with all weights take seconds and 11 MB
    init: str = "pytorch"
    lr: float = 0.005  # plain SGD still improves in the 50th epoch, so the weights keep moving
    batch_size: int = 64
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("dataset", self.dataset, DATASETS),
            ("init", self.init, INIT_SCHEMES),
            ("device", self.device, DEVICES),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value}")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden must be positive layer sizes such as 64,32,16, not {list(self.hidden)}")
        if not (math.isfinite(self.lr) and 0 < self.lr <= LARGEST_LEARNING_RATE):
            raise ValueError(f"lr must be a positive finite number such as 0.005, not {self.lr}")
        if self.batch_size < 1:
            raise ValueError(f"batch-size must be at least 1, not {self.batch_size}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ValueError(f"seed must be between 0 and {LARGEST_SEED}, not {self.seed}")
