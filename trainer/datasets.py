"""Load the images of a data set as tensors, all in memory, so that a batch is an index and not a loop over files."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.errors import TrainerError
from trainer.idx import Bytes, read_idx

# Statistics of MNIST's training pixels, scaled to 0..1. The sister data sets are shifted and scaled by the same
# numbers, so that runs on them differ in the images only.
MEAN = 0.1307
STANDARD_DEVIATION = 0.3081

SIDE = 28  # pixels
CLASSES = 10
SAMPLE = Path(__file__).parent / "data" / "mnist_sample.npz"
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
TORCHVISION_CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}


class Dataset(NamedTuple):
    """Images as float32 of shape (n, 784), normalized; labels as int64 of shape (n,), 0 to 9."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def to(self, device: torch.device) -> Dataset:
        """Return the same data on ``device``."""
        return Dataset(*(tensor.to(device) for tensor in self))


def load(name: str, data_dir: Path) -> Dataset:
    """Load the data set ``name``, one of :data:`trainer.config.DATASETS`.

    ``mnist-sample`` is bundled. The other data sets are four IDX files, plain or as ``.gz``, in ``data_dir`` or in the
    folder below it that torchvision uses, such as ``MNIST/raw``; if they are in neither, torchvision downloads them.

    Raises:
        TrainerError: the files are damaged, or can neither be found nor downloaded.
    """
    if name == "mnist-sample":
        with np.load(SAMPLE) as arrays:
            return _dataset(*(arrays[key] for key in Dataset._fields))
    files = _find_files(name, data_dir) or _download(name, data_dir)
    return _dataset(*_read_split(*files[:2]), *_read_split(*files[2:]))


def normalize(pixels: Tensor) -> Tensor:
    """Convert uint8 images of shape (n, 28, 28) to float32 of shape (n, 784), shifted and scaled as MNIST is.

    Performs the same operations in the same order as torchvision's ``ToTensor`` and ``Normalize``: the same bits.
    """
    return pixels.flatten(1).float().div_(255).sub_(MEAN).div_(STANDARD_DEVIATION)


def _dataset(train_images: Bytes, train_labels: Bytes, test_images: Bytes, test_labels: Bytes) -> Dataset:
    """Convert images of shape (n, 28, 28) and labels of shape (n,), all uint8."""
    return Dataset(
        normalize(_tensor(train_images)),
        _tensor(train_labels).long(),
        normalize(_tensor(test_images)),
        _tensor(test_labels).long(),
    )


def _tensor(array: Bytes) -> Tensor:
    return torch.from_numpy(array.copy() if not array.flags.writeable else array)


def _raw_folder(name: str, data_dir: Path) -> Path:
    """Return the folder into which torchvision downloads the data set's files."""
    return data_dir / TORCHVISION_CLASSES[name] / "raw"


def _find_files(name: str, data_dir: Path) -> list[Path]:
    """Return the data set's four files, in the order of :data:`FILES`; empty unless one folder contains them all.

    All of these data sets have files of the same names, so the folder named after the data set comes first.
    """
    for folder in (_raw_folder(name, data_dir), data_dir):
        try:
            found = [
                next((path for path in (folder / file, folder / f"{file}.gz") if path.is_file()), None)
                for file in FILES
            ]
        except OSError as error:
            raise TrainerError(
                f"{folder}: cannot be searched for the {name} data set: {error.strerror or error}. Check its "
                "permissions, or name another folder with --data-dir."
            ) from error
        present = [path for path in found if path is not None]
        if len(present) == len(FILES):
            return present
    return []


def _read_split(images_path: Path, labels_path: Path) -> tuple[Bytes, Bytes]:
    """Read images of shape (n, 28, 28) and their labels of shape (n,), both uint8.

    Raises:
        TrainerError: a file is damaged, or the two do not fit together.
    """
    images, labels = read_idx(images_path, axes=3), read_idx(labels_path, axes=1)
    remedy = "Replace it with the original file, or delete it to download the data set again."
    if images.shape[1:] != (SIDE, SIDE):
        raise TrainerError(f"{images_path}: its images have the shape {list(images.shape[1:])}, not 28 × 28. {remedy}")
    if len(images) != len(labels):
        raise TrainerError(
            f"{labels_path}: has {len(labels)} labels, but {images_path.name} has {len(images)} images. {remedy}"
        )
    if labels.max() >= CLASSES:
        raise TrainerError(f"{labels_path}: has the label {labels.max()}, but labels are 0 to {CLASSES - 1}. {remedy}")
    return images, labels


def _download(name: str, data_dir: Path) -> list[Path]:
    """Download the data set's files with torchvision and return them as :func:`_find_files` does."""
    import torchvision.datasets  # here, because the bundled sample does not need it

    folder = _raw_folder(name, data_dir)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a download's progress is not a result
            getattr(torchvision.datasets, TORCHVISION_CLASSES[name])(data_dir, download=True)
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AssertionError) as error:
        # torchvision raises all of these: no network, no permission, and damaged files
        cause = " ".join(str(error).split()) or type(error).__name__
        raise TrainerError(
            f"{folder}: the {name} data set is neither there nor in {data_dir}, and cannot be downloaded ({cause}). "
            f"Put its files {', '.join(FILES[:-1])} and {FILES[-1]}, plain or as .gz, into one of the two folders, "
            f"or train on the bundled sample: --dataset mnist-sample."
        ) from error
    return [folder / file for file in FILES]
