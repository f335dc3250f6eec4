"""The images, whole in memory as tensors: a batch is an index, not a loop over files and transforms."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.errors import TrainerError

# Of MNIST's training pixels, scaled to 0..1. The sister data sets are shifted by the same numbers: runs on
# them then differ in the images only.
MEAN = 0.1307
STANDARD_DEVIATION = 0.3081

SAMPLE = Path(__file__).parent / "data" / "mnist_sample.npz"
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
TORCHVISION_CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images as float32 of shape (n, 784), normalised; labels as int64 of shape (n,), 0 to 9."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def to(self, device: torch.device) -> Dataset:
        """Return the same data on ``device``."""
        return Dataset(
            self.train_images.to(device),
            self.train_labels.to(device),
            self.test_images.to(device),
            self.test_labels.to(device),
        )


def load(name: str, data_dir: Path) -> Dataset:
    """Load the data set ``name``, one of :data:`trainer.config.DATASETS`.

    ``mnist-sample`` is bundled. The others are looked for under ``data_dir`` and downloaded to it if missing.
    Raises TrainerError where they can be neither found nor downloaded, or are damaged.
    """
    if name == "mnist-sample":
        with np.load(SAMPLE) as arrays:
            return Dataset(
                normalise(torch.from_numpy(arrays["train_images"])),
                torch.from_numpy(arrays["train_labels"]).long(),
                normalise(torch.from_numpy(arrays["test_images"])),
                torch.from_numpy(arrays["test_labels"]).long(),
            )
    return _load_through_torchvision(name, data_dir)


def normalise(pixels: Tensor) -> Tensor:
    """Turn uint8 images of shape (n, 28, 28) into float32 of shape (n, 784), shifted and scaled as MNIST is.

    The same operations in the same order as torchvision's ``ToTensor`` and ``Normalize``: the same bits.
    """
    return pixels.flatten(1).float().div_(255).sub_(MEAN).div_(STANDARD_DEVIATION)


def _load_through_torchvision(name: str, data_dir: Path) -> Dataset:
    import torchvision.datasets  # here: the bundled sample does without it

    class_name = TORCHVISION_CLASSES[name]
    dataset_class = getattr(torchvision.datasets, class_name)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a download's progress is not a result
            train = dataset_class(data_dir, train=True, download=True)
            test = dataset_class(data_dir, train=False, download=True)
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AssertionError) as error:
        # torchvision raises all of these: no network, no permission, and files cut short in different places
        cause = " ".join(str(error).split()) or type(error).__name__
        folder = data_dir / class_name / "raw"
        # All of these data sets call their files alike, so what lies in the folder above may be of another.
        is_above = any((data_dir / f"{file}{packed}").is_file() for file in FILES for packed in ("", ".gz"))
        misplaced = f" Files of such names lie in {data_dir} itself, where they are not looked for." if is_above else ""
        raise TrainerError(
            f"{folder}: the {name} data set was neither found whole there nor downloaded ({cause}).{misplaced} Put its "
            f"files {', '.join(FILES[:-1])} and {FILES[-1]}, unpacked or as .gz, into {folder}, "
            f"or train on the bundled sample: --dataset mnist-sample."
        ) from error
    return Dataset(normalise(train.data), train.targets, normalise(test.data), test.targets)
