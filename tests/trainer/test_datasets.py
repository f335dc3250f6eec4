import gzip
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets
import torchvision.datasets.mnist
from torchvision import transforms

from trainer import datasets
from trainer.config import DATASETS
from trainer.data.make_sample import make_sample, stratified
from trainer.datasets import Dataset
from trainer.errors import TrainerError

SPLITS = (("train", "train", 6), ("test", "t10k", 5))


def read_independently(path: Path) -> np.ndarray:
    """Read a gzipped file of MNIST without any of the trainer's code."""
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = np.frombuffer(content, ">u4", count=axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


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


def test_sample_is_normalized() -> None:
    images = datasets.load("mnist-sample", Path()).train_images
    assert float(images.min()) == pytest.approx(-0.1307 / 0.3081)
    assert float(images.max()) == pytest.approx((1 - 0.1307) / 0.3081)
    assert abs(float(images.mean())) < 0.01
    assert float(images.std()) == pytest.approx(1, abs=0.01)


def test_normalize_gives_the_bits_of_torchvision() -> None:
    usual = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    with np.load(datasets.SAMPLE) as arrays:
        pixels = arrays["test_images"][:50]
    expected = torch.stack([usual(image[:, :, None]).flatten() for image in pixels])
    assert torch.equal(datasets.normalize(torch.from_numpy(pixels)), expected)


def test_stratified_takes_the_same_share_of_each_label() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 6_000).astype(np.uint8)
    chosen = stratified(labels, 6)
    assert len(chosen) == 1_000
    assert np.array_equal(chosen, np.unique(chosen))
    assert np.abs(np.bincount(labels[chosen]) - np.bincount(labels) / 6).max() < 1


def test_bundled_sample_is_made_from_the_original_files(mnist_files: Path, tmp_path: Path) -> None:
    make_sample(mnist_files, tmp_path / "once.npz")
    make_sample(mnist_files, tmp_path / "twice.npz")
    assert (tmp_path / "once.npz").read_bytes() == (tmp_path / "twice.npz").read_bytes()
    with np.load(tmp_path / "once.npz") as made, np.load(datasets.SAMPLE) as bundled:
        assert set(made) == set(bundled)
        for name in made:
            assert np.array_equal(made[name], bundled[name])
    for split, prefix, stride in SPLITS:
        labels = read_independently(mnist_files / f"{prefix}-labels-idx1-ubyte.gz")
        with np.load(datasets.SAMPLE) as bundled:
            counts = np.bincount(bundled[f"{split}_labels"])
        assert np.abs(counts - np.bincount(labels) / stride).max() < 1


def assert_is_original_mnist(loaded: Dataset, mnist_files: Path) -> None:
    assert loaded.train_images.shape == (60_000, 784) and loaded.test_images.shape == (10_000, 784)
    assert loaded.train_images.dtype == torch.float32 and loaded.train_labels.dtype == torch.int64
    images = read_independently(mnist_files / "t10k-images-idx3-ubyte.gz")
    assert torch.equal(loaded.test_images, datasets.normalize(torch.from_numpy(images.copy())))


@pytest.mark.usefixtures("no_network")
def test_whole_mnist_is_what_torchvision_reads(mnist_files: Path, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in mnist_files.glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    whole = datasets.load("mnist", tmp_path)
    assert_is_original_mnist(whole, mnist_files)
    for train, images, labels in (
        (True, whole.train_images, whole.train_labels),
        (False, whole.test_images, whole.test_labels),
    ):
        theirs = torchvision.datasets.MNIST(tmp_path, train=train)
        assert torch.equal(images, datasets.normalize(theirs.data))
        assert torch.equal(labels, theirs.targets) and labels.dtype == theirs.targets.dtype


@pytest.mark.parametrize("folder", [".", "MNIST/raw"])
@pytest.mark.usefixtures("no_network")
def test_archives_that_another_gzip_wrote_are_read(mnist_files: Path, tmp_path: Path, folder: str) -> None:
    """torchvision compares an archive's MD5 with the original's, so it would download these again."""
    target = tmp_path / folder
    target.mkdir(parents=True, exist_ok=True)
    for path in mnist_files.glob("*.gz"):
        content = gzip.decompress(path.read_bytes())
        (target / path.name).write_bytes(gzip.compress(content, compresslevel=1, mtime=1))
    assert_is_original_mnist(datasets.load("mnist", tmp_path), mnist_files)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def small_files(folder: Path, images: int = 3) -> dict[str, bytes]:
    """Four IDX files of a few images, plain and as .gz in turn; pixels count up, labels are 0, 1, 2."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {}
    for number, name in enumerate(datasets.FILES):
        pixels = np.arange(images * 784).reshape(images, 28, 28) % 251
        content[name] = idx(pixels if "images" in name else np.arange(images) % 10)
        path = folder / (f"{name}.gz" if number % 2 else name)
        path.write_bytes(gzip.compress(content[name]) if number % 2 else content[name])
    return content


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "mnist-sample"])
@pytest.mark.usefixtures("no_network")
def test_plain_and_packed_files_may_be_mixed(name: str, tmp_path: Path) -> None:
    small_files(tmp_path / datasets.TORCHVISION_CLASSES[name] / "raw")
    loaded = datasets.load(name, tmp_path)
    pixels = torch.arange(3 * 784).reshape(3, 784) % 251
    assert torch.equal(loaded.train_images, (pixels / 255 - 0.1307) / 0.3081)
    assert loaded.test_labels.tolist() == [0, 1, 2]


@pytest.mark.usefixtures("no_network")
def test_the_folder_named_after_the_data_set_comes_first(tmp_path: Path) -> None:
    small_files(tmp_path, images=4)
    small_files(tmp_path / "KMNIST" / "raw", images=5)
    assert len(datasets.load("kmnist", tmp_path).train_labels) == 5
    assert len(datasets.load("mnist", tmp_path).train_labels) == 4


@pytest.mark.usefixtures("no_network")
def test_an_incomplete_folder_is_not_used(tmp_path: Path) -> None:
    small_files(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(TrainerError, match="cannot be downloaded"):
        datasets.load("mnist", tmp_path)


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "mnist-sample"])
@pytest.mark.usefixtures("no_network")
def test_without_network_and_data_the_error_says_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(TrainerError) as caught:
        datasets.load(name, tmp_path)
    message = str(caught.value)
    assert "Name or service not known" in message
    assert str(tmp_path / datasets.TORCHVISION_CLASSES[name] / "raw") in message and f"nor in {tmp_path}" in message
    assert "train-images-idx3-ubyte" in message and "--dataset mnist-sample" in message


def test_what_torchvision_downloads_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(url: str, download_root: str, filename: str, md5: str) -> None:
        small_files(Path(download_root))
        for path in Path(download_root).glob("*.gz"):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", download)
    assert datasets.load("mnist", tmp_path).train_labels.tolist() == [0, 1, 2]


def packed(content: bytes) -> bytes:
    return gzip.compress(content)


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
DAMAGED = {
    "empty": (IMAGES, lambda content: b"", "its header is truncated"),
    "header cut": (IMAGES, lambda content: content[:15], "its header is truncated"),
    "only a header": (IMAGES, lambda content: content[:16], "fewer bytes than its shape [3, 28, 28] declares"),
    "last byte missing": (IMAGES, lambda content: content[:-1], "fewer bytes"),
    "a byte too many": (IMAGES, lambda content: content + b"x", "more bytes"),
    "another magic number": (IMAGES, lambda content: b"\x00\x01" + content[2:], "magic number"),
    "another type": (IMAGES, lambda content: b"\x00\x00\x0d" + content[3:], "magic number"),
    "labels for images": (IMAGES, lambda content: idx(np.zeros(784)), "1 axes, not 3"),
    "no images": (IMAGES, lambda content: idx(np.zeros((0, 28, 28))), "is empty"),
    "beyond all memory": (IMAGES, lambda content: content[:4] + b"\xff" * 12 + content[16:], "more than 1073741824"),
    "other sides": (IMAGES, lambda content: idx(np.zeros((3, 28, 27))), "the shape [28, 27], not 28 × 28"),
    "packed, not named so": (IMAGES, packed, "magic number"),
    "not packed": (f"{LABELS}.gz", lambda content: content, "Not a gzipped file"),
    "packed, cut": (f"{LABELS}.gz", lambda content: packed(content)[:-9], "ended before"),
    "packed, damaged": (f"{LABELS}.gz", lambda content: packed(content)[:10] + b"\xff" * 30, "invalid"),
    "packed, checksum": (f"{LABELS}.gz", lambda content: packed(content)[:-8] + b"\0" * 8, "CRC check failed"),
    "packed, a bomb": (f"{LABELS}.gz", lambda content: packed(content + bytes(10_000_000)), "more bytes"),
    "other labels": (f"{LABELS}.gz", lambda content: packed(idx(np.array([0, 1, 10]))), "the label 10"),
    "fewer labels": (f"{LABELS}.gz", lambda content: packed(idx(np.array([0, 1]))), "has 2 labels, but"),
}


@pytest.mark.parametrize("name, change, cause", DAMAGED.values(), ids=DAMAGED.keys())
@pytest.mark.usefixtures("no_network")
def test_a_damaged_file_is_an_error_with_path_cause_and_remedy(
    name: str, change: Callable[[bytes], bytes], cause: str, tmp_path: Path
) -> None:
    raw = tmp_path / "MNIST" / "raw"
    content = small_files(raw)
    (raw / name).write_bytes(change(content[name.removesuffix(".gz")]))
    with pytest.raises(TrainerError) as caught:
        datasets.load("mnist", tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{raw / name}: ") and cause in message
    assert "Replace it with the original file, or delete it to download the data set again." in message
