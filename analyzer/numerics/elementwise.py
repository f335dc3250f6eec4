"""What is summed and counted over the elements of whole tensors, all sums in one walk."""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.model.observed import ChangedBits, DeadLines, ElementSummary, FinitenessCount
from analyzer.numerics.blocks import PIECE, pieces, slab_of
from analyzer.numerics.sums import Flags, Room, States, Sums, Tally, near_zero_threshold

Array = npt.NDArray[Any]


def walk_sums(
    current: Array,
    previous: Array | None = None,
    before_previous: Array | None = None,
    initial: Array | None = None,
    wanted: Collection[str] = (),
    known: dict[str, float] | None = None,
) -> Sums:
    """All sums that metrics of motion and size rest on, in one walk.

    Args:
        current: W_t, any shape, a floating-point dtype; the others have the same number of elements.
        previous: W_{t−1}.
        before_previous: W_{t−2}; used together with ``previous``.
        initial: W_0.
        wanted: of the needs ``elements``, ``sign_flips`` and ``changed_bits``, those to be taken besides the products.
        known: sums of squares of ``previous``, ``initial`` and ``earlier_step`` (Δ_{t−1}), as far as walks over earlier
            checkpoints gave them: they need not be taken again.

    Returns:
        inner products exact to about 1e-14 of the product of the norms; NaN or Inf in an input makes its sums
        non-finite, and those for which an input is missing are NaN.
    """
    states = States(current, previous, before_previous if previous is not None else None, initial)
    tally = Tally(current.size, current.dtype, None if previous is None else previous.dtype, wanted)
    known = known or {}
    beside = {"previous": 0.0, "initial": 0.0, "earlier_step": 0.0} | known
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and Inf in, NaN and Inf out: a status tells of them
        for piece in pieces(current.size, slab_of(current.shape)):
            rows = states.rows(piece, tally.count_flips)
            tally.add(rows, *states.stored(piece))
            for name in beside.keys() - known.keys():
                beside[name] += rows.squares(name)
    return tally.sums(**beside)


def element_summary(current: Array, sums: Sums) -> ElementSummary:
    """Magnitudes and zeros of W_t; what is near zero is counted in another walk where the first one could not."""
    near_zeros = sums.near_zeros
    if near_zeros is None:
        near_zeros, threshold = 0, near_zero_threshold(sums.products.current, current.size)
        flat = current.reshape(-1)
        for piece in pieces(flat.size, flat.size):
            room = Room(piece)
            room.scratch[:] = piece.of(flat)
            np.abs(room.scratch, out=room.scratch)
            near_zeros += int(np.count_nonzero(np.less(room.scratch, threshold, out=room.flags)))
    return ElementSummary(current.size, sums.absolute, sums.largest, sums.zeros, near_zeros, sums.products.current)


def finiteness(current: Array, squares: float) -> FinitenessCount:
    """Count the elements that are NaN or infinite; only where ``squares``, their sum of squares, is not finite."""
    flat = current.reshape(-1)
    nonfinite = nan = 0
    with np.errstate(invalid="ignore"):  # widening a signalling NaN
        for start in range(0, 0 if isfinite(squares) else flat.size, PIECE):
            wide = flat[start : start + PIECE].astype(np.float64)
            nonfinite += int(np.count_nonzero(~np.isfinite(wide)))
            nan += int(np.count_nonzero(np.isnan(wide)))
    return FinitenessCount(flat.size, nonfinite, nan)


def changed_bits(current: Array, previous: Array) -> ChangedBits:
    """How many elements differ in their stored bits, for any dtype; both arrays have the same dtype and size."""
    unsigned = np.dtype(f"u{min(current.dtype.itemsize, 8)}")
    halves = current.dtype.itemsize // unsigned.itemsize  # a complex128 element changes with either half
    a, b = (state.reshape(-1).view(unsigned).reshape(-1, halves) for state in (current, previous))
    changed = 0
    for start in range(0, len(a), PIECE):
        differs = a[start : start + PIECE] != b[start : start + PIECE]
        changed += int(np.count_nonzero(differs.any(axis=1)))
    return ChangedBits(current.size, changed)


def dead_lines(matrix: Array) -> DeadLines:
    """How many rows and columns of a matrix (rows, columns) are entirely zero."""
    live_rows, live_columns = live_lines(matrix)
    return DeadLines(matrix.shape[0] - live_rows, matrix.shape[1] - int(np.count_nonzero(live_columns)))


def live_lines(matrix: Array) -> tuple[int, Flags]:
    """How many rows of a matrix (rows, columns) are not entirely zero, and which columns, shape (columns,)."""
    live_columns = np.zeros(matrix.shape[1], dtype=bool)
    live_rows = 0
    rows = max(1, PIECE // matrix.shape[1])
    for start in range(0, matrix.shape[0], rows):
        live = matrix[start : start + rows] != 0
        live_columns |= live.any(axis=0)
        live_rows += int(np.count_nonzero(live.any(axis=1)))
    return live_rows, live_columns
