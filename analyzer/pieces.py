"""Motion without matrices: a tensor taken piece by piece through all checkpoints, so that the cache holds all states.

Where nothing but sums over elements is wanted, a piece of W_t needs only the same piece of W_{t−1}, W_{t−2} and W_0. To
walk each piece through time before the next one is read saves the trips to main memory that a whole tensor takes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from math import isfinite

import numpy as np
from blake3 import blake3

from analyzer import elementwise
from analyzer.elementwise import BLOCK, BLOCKS, DRIFT, EARLIER_STEP, INITIAL, PREVIOUS, STEP, Sums, Tally, W
from analyzer.run import Checkpoint, FileStamp, TensorInfo
from analyzer.sources import LocalSource
from analyzer.tensors import numpy_dtype

SUMMED_NEEDS = frozenset(
    {"weights", "step", "consecutive_steps", "drift", "interval", "finiteness", "changed_bits", "sign_flips"}
)
MOST_FILES = 128  # open at a time, for each job


def sums_through_time(
    infos: Sequence[TensorInfo], checkpoints: Sequence[Checkpoint], wanted: Collection[str]
) -> list[tuple[Sums, str]] | None:
    """The sums of one tensor at consecutive checkpoints, the first of which is W_0 of all, and each content's hash.

    Args:
        infos: the tensor at each checkpoint, all of one shape and one floating-point dtype.
        checkpoints: these checkpoints.
        wanted: needs, out of :data:`SUMMED_NEEDS`.

    Returns:
        the same bits as :func:`analyzer.elementwise.walk_sums` gives for whole tensors; None where an element is NaN
        or infinite, for then elements have to be counted.

    Raises:
        CheckpointError: a file cannot be read or changed meanwhile.
    """
    dtype = numpy_dtype(infos[0].dtype)
    unsigned = np.dtype(f"u{dtype.itemsize}")
    whole = np.broadcast_to(np.empty((), dtype), infos[0].shape)  # has the shape but no memory
    tallies = [
        Tally(whole, whole if number > 0 else None, whole if number > 1 else None, whole, wanted)
        for number in range(len(infos))
    ]
    hashes = [blake3() for _ in infos]
    bits, previous_bits = np.empty(BLOCKS * BLOCK, unsigned), np.empty(BLOCKS * BLOCK, unsigned)
    with ExitStack() as stack, np.errstate(invalid="ignore", over="ignore"):
        sources = [
            stack.enter_context(LocalSource(info.parts[0].path, _stamp(checkpoint, info)))
            for info, checkpoint in zip(infos, checkpoints, strict=True)
        ]
        for piece in elementwise.pieces(whole.size):
            length = piece.count * piece.width
            for number, (info, source, tally) in enumerate(zip(infos, sources, tallies, strict=True)):
                data = bits[:length].view(np.uint8).data
                source.read_into(info.parts[0].offset + piece.start * dtype.itemsize, data)
                hashes[number].update(data)
                now, before = (state[:length].reshape(piece.count, piece.width) for state in (bits, previous_bits))
                _advance(piece.rows(), now.view(dtype), number)
                tally.add(piece, now, before if number else None)
                bits, previous_bits = previous_bits, bits
        for source in sources:
            source.verify_unchanged()
    sums = [tally.sums() for tally in tallies]
    if not all(isfinite(one.products.current) for one in sums):
        return None
    return [(one, digest.hexdigest(length=16)) for one, digest in zip(sums, hashes, strict=True)]


def _advance(rows: elementwise.Block, current: elementwise.Array, number: int) -> None:
    """Make ``current`` the block's W_t, and what was W_t its W_{t−1}."""
    if number == 0:
        rows[W] = rows[INITIAL] = current
        rows[DRIFT] = 0.0
        return
    np.multiply(rows[W], 1.0, out=rows[PREVIOUS])  # a copy that, unlike an assignment, lets other threads run
    if number > 1:
        np.multiply(rows[STEP], 1.0, out=rows[EARLIER_STEP])
    rows[W] = current
    np.subtract(rows[W], rows[PREVIOUS], out=rows[STEP])
    np.subtract(rows[W], rows[INITIAL], out=rows[DRIFT])


def _stamp(checkpoint: Checkpoint, info: TensorInfo) -> FileStamp | None:
    return next((stamp for stamp in checkpoint.files if stamp.path == info.parts[0].path), None)
