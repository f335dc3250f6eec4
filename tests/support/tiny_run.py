"""What the tests and the process that they kill share."""

from pathlib import Path

from trainer import datasets
from trainer.config import TrainingConfig
from trainer.datasets import Dataset

CONFIG = TrainingConfig(hidden=(8,), lr=0.1, batch_size=32)


def load_tiny() -> Dataset:
    sample = datasets.load("mnist-sample", Path())
    return Dataset(
        sample.train_images[:200],
        sample.train_labels[:200],
        sample.test_images[:100],
        sample.test_labels[:100],
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
