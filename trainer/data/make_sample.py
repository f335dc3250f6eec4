"""Make the bundled ``mnist_sample.npz`` from MNIST's four IDX files.

Every sixth training image and every fifth test image of each digit: 10 000 and 2 000, each digit as frequent
as in the whole. No random numbers, no timestamps: the same files (and the same zlib) give the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from trainer.idx import Bytes, read_idx

TRAIN_STRIDE = 6
TEST_STRIDE = 5


def stratified(labels: Bytes, stride: int) -> npt.NDArray[Any]:
    """Return the ascending indices of every ``stride``-th image of each digit."""
    return np.sort(np.argsort(labels, kind="stable")[::stride])


def make_sample(source: Path, target: Path) -> None:
    """Write the sample of the MNIST files in ``source`` to ``target``."""
    arrays = {}
    for split, prefix, stride in (("train", "train", TRAIN_STRIDE), ("test", "t10k", TEST_STRIDE)):
        images = read_idx(source / f"{prefix}-images-idx3-ubyte.gz", axes=3)
        labels = read_idx(source / f"{prefix}-labels-idx1-ubyte.gz", axes=1)
        chosen = stratified(labels, stride)
        arrays[f"{split}_images"] = images[chosen]
        arrays[f"{split}_labels"] = labels[chosen]
    np.savez_compressed(target, **arrays)


@click.command()
@click.argument("source", metavar="SOURCE_DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", default=Path(__file__).with_name("mnist_sample.npz"), type=click.Path(path_type=Path))
def main(source: Path, out: Path) -> None:
    """Make the bundled sample from train-images-idx3-ubyte.gz and its three siblings in SOURCE_DIR."""
    make_sample(source, out)
    click.echo(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
