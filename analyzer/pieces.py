"""Motion without matrices: a tensor taken piece by piece through all checkpoints, so that the cache holds all states.

Where nothing but sums over elements is wanted, a piece of W_t needs only the same piece of W_{t−1}, W_{t−2} and W_0. To
walk each piece through time before the next one is read saves the trips to main memory that a whole tensor takes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from math import isfinite, prod

import numpy as np
from blake3 import blake3

from analyzer.cutting import PIECE, Piece, pieces, slab_of
from analyzer.run import Checkpoint, FileStamp, TensorInfo
from analyzer.sources import open_source
from analyzer.states import State, Taken, gone
from analyzer.tallies import LEAST_SQUARE, Array, Room, Rows, Tally, consecutive_sums, fill_signs
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
        or infinite, or where squares may have vanished, for then the elements have to be looked at.

    Raises:
        CheckpointError: a file cannot be read or changed meanwhile.
    """
    dtype = numpy_dtype(infos[0].dtype)
    unsigned = np.dtype(f"u{dtype.itemsize}")
    shape, size = infos[0].shape, prod(infos[0].shape)
    tallies = [Tally(size, dtype, dtype if number else None, wanted) for number in range(len(infos))]
    hashes = [blake3() for _ in infos]
    bits, previous_bits = np.empty(PIECE, unsigned), np.empty(PIECE, unsigned)
    with ExitStack() as stack, np.errstate(invalid="ignore", over="ignore"):
        sources = [
            stack.enter_context(open_source(info.parts[0].path, stamp_of(checkpoint, info)))
            for info, checkpoint in zip(infos, checkpoints, strict=True)
        ]
        for piece in pieces(size, slab_of(shape)):
            for number, (info, source, tally) in enumerate(zip(infos, sources, tallies, strict=True)):
                now, before = bits[: piece.length], previous_bits[: piece.length]
                source.read_into(info.parts[0].offset + piece.start * dtype.itemsize, now.view(np.uint8).data)
                hashes[number].update(now.view(np.uint8).data)
                tally.add(_rows(piece, now.view(dtype), number, "sign_flips" in wanted), now, before)
                bits, previous_bits = previous_bits, bits
        for source in sources:
            source.verify_unchanged()
    sums = consecutive_sums(tallies)
    least = LEAST_SQUARE if dtype == np.float64 else 0.0
    if not all(isfinite(one.products.current) and one.products.current >= least for one in sums):
        return None
    return [
        gone(info, digest.hexdigest(length=16), Taken(one))
        for info, digest, one in zip(infos, hashes, sums, strict=True)
    ]


def _rows(piece: Piece, stored: Array, number: int, with_signs: bool) -> Rows:
    """The rows of the ``number``-th checkpoint; those of the one before it are still there."""
    room = Room(piece, is_odd=number % 2 == 1)
    room.current[:] = stored
    if with_signs:
        fill_signs(stored, room.current, room.signs)
    if number == 0:
        room.initial[:] = stored
        room.drift[:] = 0.0
        return Rows(room, room.current, initial=room.initial, drift=room.drift)
    np.subtract(room.current, room.previous, out=room.step)
    if number == 1:  # the first step is the first drift
        return Rows(room, room.current, room.previous, room.initial, room.step, drift=room.step)
    np.subtract(room.current, room.initial, out=room.drift)
    return Rows(room, room.current, room.previous, room.initial, room.step, room.earlier_step, room.drift)


def stamp_of(checkpoint: Checkpoint, info: TensorInfo) -> FileStamp | None:
    """What the checkpoint's file that holds a plain tensor was like when it was indexed."""
    return next((stamp for stamp in checkpoint.files if stamp.path == info.parts[0].path), None)
