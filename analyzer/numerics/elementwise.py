"""Sums and counts over the elements of whole tensors, all sums in one walk."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analyzer.model.observed import BEFORE_PREVIOUS, INITIAL, PREVIOUS, ChangedBits, DeadLines, Role
from analyzer.model.run import Array, BoolArray
from analyzer.numerics.blocks import CHUNK, Chunk, block_size, chunks
from analyzer.numerics.sketches import SketchKey
from analyzer.numerics.sums import (
    NO_COUNTS,
    ChunkBuffers,
    Counts,
    ElementSums,
    Rows,
    Tally,
    fill_signs,
    near_zero_threshold,
)

SMALLEST = 5e-324  # the smallest positive float64: only 0 is below it


class StateArrays:
    """The states of a tensor as flat arrays, read chunk by chunk in float64."""

    def __init__(
        self, current: Array, previous: Array | None, before_previous: Array | None, initial: Array | None
    ) -> None:
        self.current = current.reshape(-1)
        self.previous, self.before_previous, self.initial = (
            None if other is None else other.reshape(-1) for other in (previous, before_previous, initial)
        )
        self.unsigned = np.dtype(f"u{min(current.dtype.itemsize, 8)}")

    def rows(self, chunk: Chunk, with_signs: bool) -> Rows:
        """Return a chunk of each state, widened, and the displacements."""
        buffers = ChunkBuffers(chunk)
        buffers.current[:] = chunk.of(self.current)
        rows = Rows(buffers, buffers.current)
        if self.previous is not None:
            buffers.previous[:] = chunk.of(self.previous)
            rows.previous = buffers.previous
            rows.step = np.subtract(buffers.current, buffers.previous, out=buffers.step)
            if with_signs:
                fill_signs(chunk.of(self.current), buffers.current, buffers.signs)
                fill_signs(chunk.of(self.previous), buffers.previous, buffers.previous_signs)
        if self.before_previous is not None:
            buffers.earlier_step[:] = chunk.of(self.before_previous)
            rows.earlier_step = np.subtract(buffers.previous, buffers.earlier_step, out=buffers.earlier_step)
        if self.initial is not None:
            buffers.initial[:] = chunk.of(self.initial)
            rows.initial = buffers.initial
            rows.drift = np.subtract(buffers.current, buffers.initial, out=buffers.drift)
        return rows

    def bits(self, chunk: Chunk) -> tuple[Array, Array | None]:
        """Return a chunk of W_t and of W_{t−1} as unsigned integers; the latter is None if the dtypes differ."""
        current = chunk.of(self.current).view(self.unsigned)
        if self.previous is None or self.previous.dtype != self.current.dtype:
            return current, None
        return current, chunk.of(self.previous).view(self.unsigned)


def element_sums(
    current: Array,
    previous: Array | None = None,
    before_previous: Array | None = None,
    initial: Array | None = None,
    counts: Counts = NO_COUNTS,
    known: Mapping[Role, float] | None = None,
    key: SketchKey | None = None,
) -> ElementSums:
    """Compute all sums that metrics of motion and size depend on, in one walk.

    Args:
        current: W_t, any shape, a floating-point dtype; the others have the same number of elements.
        previous: W_{t−1}.
        before_previous: W_{t−2}; used together with ``previous``.
        initial: W_0.
        counts: what to count in addition to the inner products.
        known: sums of squares of W_{t−1}, W_0 and (under ``BEFORE_PREVIOUS``) Δ_{t−1} that walks over earlier
            checkpoints computed.
        key: the key of the step's sketch; None if it is not wanted.

    Returns:
        inner products exact to about 1e-14 of the product of the norms. NaN or Inf in an input makes its sums
        non-finite; sums for which an input is missing are NaN.
    """
    states = StateArrays(current, previous, before_previous if previous is not None else None, initial)
    tally = Tally(current.size, current.dtype, None if previous is None else previous.dtype, counts, key)
    known = known or {}
    computed = {role: 0.0 for role in (PREVIOUS, INITIAL, BEFORE_PREVIOUS) if role not in known}
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and Inf in give NaN and Inf out; a status reports them
        for chunk in chunks(current.size, block_size(current.shape)):
            rows = states.rows(chunk, tally.count_flips)
            tally.add(rows, *states.bits(chunk))
            for role in computed:
                computed[role] += rows.squares(role)
    squares = {**known, **computed}
    return tally.sums(squares[PREVIOUS], squares[INITIAL], squares[BEFORE_PREVIOUS])


def count_near_zeros(current: Array, squared: float) -> int:
    """Count the elements that are 0 or below the near-zero threshold; ``squared`` is the sum of squares of W_t."""
    near_zeros, threshold = 0, max(near_zero_threshold(squared, current.size), SMALLEST)
    flat = current.reshape(-1)
    for chunk in chunks(flat.size, flat.size):
        buffers = ChunkBuffers(chunk)
        buffers.scratch[:] = chunk.of(flat)
        np.abs(buffers.scratch, out=buffers.scratch)
        near_zeros += int(np.count_nonzero(np.less(buffers.scratch, threshold, out=buffers.flags)))
    return near_zeros


def count_nonfinite(current: Array) -> tuple[int, int]:
    """Count the elements that are NaN or infinite, and those that are NaN."""
    flat = current.reshape(-1)
    nonfinite = nan = 0
    with np.errstate(invalid="ignore"):  # widening a signaling NaN
        for start in range(0, flat.size, CHUNK):
            wide = flat[start : start + CHUNK].astype(np.float64)
            nonfinite += int(np.count_nonzero(~np.isfinite(wide)))
            nan += int(np.count_nonzero(np.isnan(wide)))
    return nonfinite, nan


def changed_bits(current: Array, previous: Array) -> ChangedBits:
    """Count the elements that differ in their stored bits, for any dtype; both arrays have the same dtype and size."""
    unsigned = np.dtype(f"u{min(current.dtype.itemsize, 8)}")
    halves = current.dtype.itemsize // unsigned.itemsize  # a complex128 element changes with either half
    a, b = (state.reshape(-1).view(unsigned).reshape(-1, halves) for state in (current, previous))
    changed = 0
    for start in range(0, len(a), CHUNK):
        differs = a[start : start + CHUNK] != b[start : start + CHUNK]
        changed += int(np.count_nonzero(differs.any(axis=1)))
    return ChangedBits(current.size, changed)


def unmoved_rows(current: Array, initial: Array) -> int:
    """Count the rows of a matrix (rows, columns) that have the same stored bits as those of another of its dtype."""
    rows = UnmovedRows(*current.shape)
    bits = np.dtype(f"u{current.dtype.itemsize}")
    now, first = (np.ascontiguousarray(state).reshape(-1).view(bits) for state in (current, initial))
    for chunk in chunks(now.size, now.size):
        rows.add(chunk, chunk.of(now), chunk.of(first))
    return rows.count()


class UnmovedRows:
    """Counts the rows of a matrix (rows, columns) in which no stored bit differs from W_0, chunk by chunk."""

    def __init__(self, rows: int, columns: int) -> None:
        self._columns, self._moved = columns, np.zeros(rows, dtype=bool)

    def add(self, chunk: Chunk, bits: Array, initial_bits: Array) -> None:
        """Compare a chunk of the row-major elements of W_t and of W_0, as unsigned integers (length,)."""
        differs = bits != initial_bits
        first, last = chunk.start // self._columns, (chunk.start + chunk.length - 1) // self._columns
        starts = np.maximum(np.arange(first, last + 1) * self._columns - chunk.start, 0)
        self._moved[first : last + 1] |= np.logical_or.reduceat(differs, starts)

    def count(self) -> int:
        """Return the number of rows without a difference."""
        return self._moved.size - int(np.count_nonzero(self._moved))


def dead_lines(matrix: Array) -> DeadLines:
    """Count the rows and columns of a matrix (rows, columns) that are entirely zero."""
    live_rows, live_columns = live_lines(matrix)
    return DeadLines(matrix.shape[0] - live_rows, matrix.shape[1] - int(np.count_nonzero(live_columns)))


def live_lines(matrix: Array) -> tuple[int, BoolArray]:
    """Return how many rows of a matrix (rows, columns) are not entirely zero, and which columns, shape (columns,)."""
    live_columns = np.zeros(matrix.shape[1], dtype=bool)
    live_rows = 0
    rows = max(1, CHUNK // matrix.shape[1])
    for start in range(0, matrix.shape[0], rows):
        live = matrix[start : start + rows] != 0
        live_columns |= live.any(axis=0)
        live_rows += int(np.count_nonzero(live.any(axis=1)))
    return live_rows, live_columns
