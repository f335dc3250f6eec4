"""Time an epoch of the trainer against the usual loop, on whole MNIST, in one process.

    python tests/benchmarks/epoch_time.py --data-dir DIR

The usual loop is a DataLoader with ToTensor and Normalize, batches of 64, torch.optim.SGD: the same network,
data and updates. The trainer's epoch is ``trainer.training.train`` as the command runs it: evaluating and
saving are in its time and not in the other's. The loops take turns: a noisy machine disturbs both.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import torch
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

sys.path.insert(0, str(Path(__file__).parents[2]))

from trainer import datasets
from trainer.config import TrainingConfig
from trainer.models import build_model
from trainer.training import train

REQUIRED_RATIO = 6


def usual_epochs(data_dir: Path, config: TrainingConfig) -> Iterator[None]:
    """Yield after each epoch of the loop that one finds in tutorials."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    loader = DataLoader(MNIST(data_dir, transform=transform), batch_size=config.batch_size, shuffle=True)
    model = build_model(config.hidden, config.init, config.seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=config.lr)
    while True:
        for images, labels in loader:
            loss = functional.cross_entropy(model(images.flatten(1)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield


def seconds_of_next(epochs: Iterator[object], threads: int) -> float:
    """Return the time that one epoch takes."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    next(epochs)
    return time.perf_counter() - started


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--repetitions", type=click.IntRange(min=1), default=5, show_default=True)
def main(data_dir: Path, repetitions: int) -> None:
    """Print the median seconds per epoch of both loops and their ratio; fail if it is too small."""
    config = TrainingConfig(dataset="mnist")
    data = datasets.load("mnist", data_dir)
    threads = torch.get_num_threads()  # the usual loop may use them all; train() sets itself to one
    with tempfile.TemporaryDirectory() as out:
        ours = train(config, data, Path(out), 1 + repetitions)
        usual = usual_epochs(data_dir, config)
        next(ours)  # epoch 0 trains nothing
        times = [
            (seconds_of_next(ours, 1), seconds_of_next(usual, threads))
            for _ in range(1 + repetitions)  # the first warms up
        ][1:]
    our_median, usual_median = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"trainer     {our_median:.3f} s per epoch (training, evaluating, saving)")
    print(f"usual loop  {usual_median:.3f} s per epoch (training)")
    print(f"ratio       {usual_median / our_median:.1f} (required: {REQUIRED_RATIO})")
    sys.exit(usual_median / our_median < REQUIRED_RATIO)


if __name__ == "__main__":
    main()
