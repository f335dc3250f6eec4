"""A run that takes milliseconds: 200 images of the bundled sample and eight hidden units."""

import os
import sys
from pathlib import Path

import pytest
from builders import CHECKOUT
from tiny_run import load_tiny

from trainer import datasets
from trainer.datasets import Dataset


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    return load_tiny()


@pytest.fixture
def tiny_sample(monkeypatch: pytest.MonkeyPatch, tiny: Dataset) -> None:
    """The command line's bundled sample, cut down."""
    monkeypatch.setattr(datasets, "load", lambda name, data_dir: tiny)


@pytest.fixture
def python() -> tuple[list[str], dict[str, str]]:
    """Command and environment of a fresh interpreter that finds this checkout from any folder."""
    return [sys.executable], {**os.environ, "PYTHONPATH": str(CHECKOUT)}


@pytest.fixture(scope="session")
def mnist_files() -> Path:
    """The four original .gz files of MNIST, where there are any."""
    folder = Path(os.environ.get("WEIGHTLAPSE_MNIST", CHECKOUT.parent / "shared" / "data" / "mnist"))
    if not (folder / "train-images-idx3-ubyte.gz").exists():
        pytest.skip(f"no MNIST in {folder}; name its folder in WEIGHTLAPSE_MNIST")
    return folder
