"""Read IDX files, the format of MNIST and its sister data sets, plain or compressed with gzip.

An IDX file of bytes is two zero bytes, the type (8 for unsigned bytes), the number of axes, the length of each axis
as a big-endian 32-bit integer, and the data in row-major order. See http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import gzip
import zlib
from io import BufferedIOBase
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.errors import TrainerError

Bytes = npt.NDArray[np.uint8]

LARGEST = 1 << 30  # bytes of data in a file; those of MNIST have 47 MB
_MAGIC = b"\x00\x00\x08"


def read_idx(path: Path, axes: int) -> Bytes:
    """Read an IDX file of unsigned bytes.

    Args:
        path: the file; its content is decompressed if the name ends in ``.gz``.
        axes: the expected number of axes, 3 for images and 1 for labels.

    Returns:
        the data, uint8, in the shape that the file declares.

    Raises:
        TrainerError: the file cannot be read, is not such a file, or is shorter or longer than it declares.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            return _read(file, axes)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise TrainerError(
            f"{path}: cannot be read as an IDX file: {cause}. Replace it with the original file, or delete it "
            "to download the data set again."
        ) from error


def _read(file: BufferedIOBase, axes: int) -> Bytes:
    """Read the header and exactly the bytes that it declares, so that a hostile file cannot fill the memory.

    Raises:
        ValueError: the content does not match the header.
    """
    header = file.read(4 + 4 * axes)
    if len(header) < 4 + 4 * axes:
        raise ValueError("its header is truncated")
    if header[:3] != _MAGIC:
        raise ValueError("it does not begin with the magic number of unsigned bytes")
    if header[3] != axes:
        raise ValueError(f"it has {header[3]} axes, not {axes}")
    shape = tuple(int(length) for length in np.frombuffer(header, ">u4", count=axes, offset=4))
    size = prod(shape)
    if not 0 < size <= LARGEST:
        raise ValueError(f"its shape {list(shape)} is empty or has more than {LARGEST} bytes")
    data = file.read(size + 1)
    if len(data) != size:
        count = "fewer" if len(data) < size else "more"
        raise ValueError(f"it has {count} bytes than its shape {list(shape)} declares")
    return np.frombuffer(data, np.uint8).reshape(shape)
