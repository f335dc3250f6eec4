import gzip
from pathlib import Path
from typing import NoReturn
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets.mnist
from torchvision import transforms

from trainer import datasets
from trainer.config import DATASETS
from trainer.data.make_sample import make_sample, read_idx, stratified
from trainer.errors import TrainerError

SPLITS = (("train", "train", 6), ("test", "t10k", 5))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> NoReturn:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fail)


def test_sample_has_the_promised_size_and_every_digit() -> None:
    sample = datasets.load("mnist-sample", Path())
    for images, labels, count in (
        (sample.train_images, sample.train_labels, 10_000),
        (sample.test_images, sample.test_labels, 2_000),
    ):
        assert images.shape == (count, 784) and images.dtype == torch.float32
        assert labels.shape == (count,) and labels.dtype == torch.int64
        shares = torch.bincount(labels) / count
        assert shares.shape == (10,) and shares.min() > 0.085 and shares.max() < 0.115
    assert datasets.SAMPLE.stat().st_size < 2_100_000


def test_sample_is_normalised() -> None:
    images = datasets.load("mnist-sample", Path()).train_images
    assert float(images.min()) == pytest.approx(-0.1307 / 0.3081)
    assert float(images.max()) == pytest.approx((1 - 0.1307) / 0.3081)
    assert abs(float(images.mean())) < 0.01
    assert float(images.std()) == pytest.approx(1, abs=0.01)


def test_normalise_gives_the_bits_of_torchvision() -> None:
    usual = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    with np.load(datasets.SAMPLE) as arrays:
        pixels = arrays["test_images"][:50]
    expected = torch.stack([usual(image[:, :, None]).flatten() for image in pixels])
    assert torch.equal(datasets.normalise(torch.from_numpy(pixels)), expected)


def test_stratified_takes_the_same_share_of_each_label() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 6_000).astype(np.uint8)
    chosen = stratified(labels, 6)
    assert len(chosen) == 1_000
    assert np.array_equal(chosen, np.unique(chosen))
    assert np.abs(np.bincount(labels[chosen]) - np.bincount(labels) / 6).max() < 1


def test_idx_of_another_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "floats.gz"
    path.write_bytes(gzip.compress(b"\x00\x00\x0d\x01\x00\x00\x00\x01" + bytes(4)))
    with pytest.raises(ValueError, match=r"floats\.gz: not an IDX file"):
        read_idx(path)


def test_bundled_sample_is_made_from_the_original_files(mnist_files: Path, tmp_path: Path) -> None:
    make_sample(mnist_files, tmp_path / "once.npz")
    make_sample(mnist_files, tmp_path / "twice.npz")
    assert (tmp_path / "once.npz").read_bytes() == (tmp_path / "twice.npz").read_bytes()
    with np.load(tmp_path / "once.npz") as made, np.load(datasets.SAMPLE) as bundled:
        assert set(made) == set(bundled)
        for name in made:
            assert np.array_equal(made[name], bundled[name])
    for split, prefix, stride in SPLITS:
        labels = read_idx(mnist_files / f"{prefix}-labels-idx1-ubyte.gz")
        with np.load(datasets.SAMPLE) as bundled:
            counts = np.bincount(bundled[f"{split}_labels"])
        assert np.abs(counts - np.bincount(labels) / stride).max() < 1


def test_whole_mnist_is_found_under_the_data_dir(mnist_files: Path, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in mnist_files.glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    whole = datasets.load("mnist", tmp_path)
    assert whole.train_images.shape == (60_000, 784) and whole.test_images.shape == (10_000, 784)
    assert whole.train_images.dtype == torch.float32 and whole.train_labels.dtype == torch.int64
    images = read_idx(mnist_files / "t10k-images-idx3-ubyte.gz")
    assert torch.equal(whole.test_images, datasets.normalise(torch.from_numpy(images.copy())))


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "mnist-sample"])
@pytest.mark.usefixtures("no_network")
def test_without_network_and_data_the_error_says_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(TrainerError) as caught:
        datasets.load(name, tmp_path)
    message = str(caught.value)
    assert "Name or service not known" in message
    assert str(tmp_path / datasets.TORCHVISION_CLASSES[name] / "raw") in message
    assert "train-images-idx3-ubyte" in message and "--dataset mnist-sample" in message


@pytest.mark.usefixtures("no_network")
def test_files_in_the_data_dir_itself_are_said_to_lie_in_the_wrong_place(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"")
    with pytest.raises(TrainerError) as caught:
        datasets.load("mnist", tmp_path)
    assert f"lie in {tmp_path} itself, where they are not looked for" in str(caught.value)
    assert f"unpacked or as .gz, into {tmp_path / 'MNIST' / 'raw'}" in str(caught.value)


@pytest.mark.parametrize("length", [0, 3, 20])
def test_damaged_data_is_an_error_that_names_the_folder(length: int, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for _, prefix, _ in SPLITS:
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03\x00\x00\xea\x60".ljust(99, b"\0")[:length])
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(TrainerError, match="neither found whole"):
        datasets.load("mnist", tmp_path)
