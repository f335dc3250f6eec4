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
from analyzer.elementwise import BLOCK, BLOCKS, Piece, Rows, Tally, fill_signs
from analyzer.run import Checkpoint, FileStamp, TensorInfo
from analyzer.sources import open_source
from analyzer.states import State, Taken, gone
from analyzer.tensors import numpy_dtype

SUMMED_NEEDS = frozenset(
    {"weights", "step", "consecutive_steps", "drift", "interval", "finiteness", "changed_bits", "sign_flips"}
)


def sums_through_time(
    infos: Sequence[TensorInfo], checkpoints: Sequence[Checkpoint], wanted: Collection[str]
) -> list[State] | None:
    """The states of one tensor at consecutive checkpoints, the first of which is W_0 of all, as sums only.

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
    tallies = [Tally(whole, whole if number else None, wanted) for number in range(len(infos))]
    hashes = [blake3() for _ in infos]
    bits, previous_bits = np.empty(BLOCKS * BLOCK, unsigned), np.empty(BLOCKS * BLOCK, unsigned)
    with ExitStack() as stack, np.errstate(invalid="ignore", over="ignore"):
        sources = [
            stack.enter_context(open_source(info.parts[0].path, stamp_of(checkpoint, info)))
            for info, checkpoint in zip(infos, checkpoints, strict=True)
        ]
        for piece in elementwise.pieces(whole.size, elementwise.slab_of(whole.shape)):
            length = piece.count * piece.width
            for number, (info, source, tally) in enumerate(zip(infos, sources, tallies, strict=True)):
                data = bits[:length].view(np.uint8).data
                source.read_into(info.parts[0].offset + piece.start * dtype.itemsize, data)
                hashes[number].update(data)
                now, before = (state[:length].reshape(piece.count, piece.width) for state in (bits, previous_bits))
                rows = _rows(piece, now.view(dtype), number, "sign_flips" in wanted)
                tally.add(piece, rows, now, before if number else None)
                bits, previous_bits = previous_bits, bits
        for source in sources:
            source.verify_unchanged()
    sums = elementwise.consecutive_sums(tallies)
    if not all(isfinite(one.products.current) for one in sums):
        return None
    return [
        gone(info, digest.hexdigest(length=16), Taken(one))
        for info, digest, one in zip(infos, hashes, sums, strict=True)
    ]


def _rows(piece: Piece, stored: elementwise.Array, number: int, with_signs: bool) -> Rows:
    """The rows of the ``number``-th checkpoint; two of them take turns as W_t and W_{t−1}, two as Δ_t and Δ_{t−1}."""
    even, odd, even_step, odd_step, initial, drift, _ = piece.rows()
    current, previous, step, earlier_step = (
        (odd, even, odd_step, even_step) if number % 2 else (even, odd, even_step, odd_step)
    )
    current[:] = stored
    flags = piece.flags()
    signs, previous_signs = (flags[2:4], flags[:2]) if number % 2 else (flags[:2], flags[2:4])
    if with_signs:
        fill_signs(stored, current, signs)
    if number == 0:
        initial[:] = stored
        drift[:] = 0.0
        return Rows(current, initial=initial, drift=drift)
    np.subtract(current, previous, out=step)
    return Rows(
        current,
        previous,
        initial,
        step=step,
        earlier_step=earlier_step if number > 1 else None,
        drift=np.subtract(current, initial, out=drift) if number > 1 else step,
        signs=signs,
        previous_signs=previous_signs,
    )


def stamp_of(checkpoint: Checkpoint, info: TensorInfo) -> FileStamp | None:
    """What the checkpoint's file that holds a plain tensor was like when it was indexed."""
    return next((stamp for stamp in checkpoint.files if stamp.path == info.parts[0].path), None)
