"""Sums over elements in float64, by blocks that stay in the processor's cache, with buffers that are used again.

``numpy.linalg.norm`` of a float32 vector of 10⁸ elements was seen off by 1.4 %: each block is widened to float64
before anything is subtracted or squared. All sums of one tensor are taken in the same walk over it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import isfinite, nan, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.metrics.needs import (
    ROUNDING_DISPLACEMENT,
    ChangedBits,
    DeadLines,
    ElementSummary,
    FinitenessCount,
    InnerProducts,
    SignFlips,
)

Array = npt.NDArray[Any]
Block = npt.NDArray[np.float64]

BLOCK = 1 << 15  # elements of a product; OpenBLAS's thin products fall off beyond it
# Blocks that are widened at a time: so many that threads do not spend their time on handing the interpreter over, so
# few that seven float64 rows of them stay near the processor (measured: half and twice as many are a third slower).
BLOCKS = 4
NEAR_ZERO = 1e-3  # of the tensor's rms
# What each float64 row of a block holds: the first four are multiplied with the first six.
W, STEP, DRIFT, EARLIER_STEP, PREVIOUS, INITIAL, SCRATCH = range(7)


class _Buffers(threading.local):
    """One thread's rows: to allocate them anew for each tensor costs more than to fill them."""

    def __init__(self) -> None:
        self.blocks = np.zeros((BLOCKS, 7, BLOCK))
        self.flags = np.empty((BLOCKS, BLOCK), dtype=bool)


_buffers = _Buffers()


@dataclass(frozen=True, slots=True)
class Sums:
    """What one walk over a tensor yields; an optional part is None unless it was wanted and could be taken."""

    products: InnerProducts
    absolute: float
    largest: float
    zeros: int
    flips: SignFlips | None
    changed: ChangedBits | None


def unit_roundoff(dtype: np.dtype[Any]) -> float:
    """u: half the distance from 1 to the next number of a stored floating-point type."""
    if dtype in (np.float16, np.float32, np.float64):
        return float(np.finfo(dtype).eps) / 2
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).eps) / 2  # type: ignore[no-untyped-call]


def walk_sums(
    current: Array,
    previous: Array | None = None,
    before_previous: Array | None = None,
    initial: Array | None = None,
    wanted: Collection[str] = (),
) -> Sums:
    """All sums that metrics of motion and size rest on, in one walk.

    Args:
        current: W_t, any shape, a floating-point dtype; the others have the same number of elements.
        previous: W_{t−1}.
        before_previous: W_{t−2}; used together with ``previous``.
        initial: W_0.
        wanted: of the needs ``elements``, ``sign_flips`` and ``changed_bits``, those to be taken besides the products.

    Returns:
        inner products exact to about 1e-14 of the product of the norms; NaN or Inf in an input makes its sums
        non-finite, and those for which an input is missing are NaN.
    """
    states = _States(current, previous, before_previous if previous is not None else None, initial)
    tally = Tally(current, previous, before_previous, initial, wanted)
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and Inf in, NaN and Inf out: a status tells of them
        for piece in pieces(current.size):
            states.fill(piece)
            tally.add(piece, *states.bits(piece))
    return tally.sums()


@dataclass(frozen=True, slots=True)
class Piece:
    """``count`` blocks of ``width`` elements from ``start`` on."""

    start: int
    count: int
    width: int

    def of(self, flat: Array) -> Array:
        """The piece of a flat array, shape (count, width)."""
        return flat[self.start : self.start + self.count * self.width].reshape(self.count, self.width)

    def rows(self) -> Block:
        """This thread's float64 rows for the piece, shape (7, count, width)."""
        return _buffers.blocks[: self.count, :, : self.width].transpose(1, 0, 2)


def pieces(size: int) -> Iterator[Piece]:
    """A tensor of ``size`` elements in pieces: whole blocks, a few at a time, then what is left over."""
    whole = size // BLOCK
    for block in range(0, whole, BLOCKS):
        yield Piece(block * BLOCK, min(BLOCKS, whole - block), BLOCK)
    if size % BLOCK:
        yield Piece(whole * BLOCK, 1, size % BLOCK)


class Tally:
    """Adds up the sums of one tensor at one checkpoint, piece by piece; arguments as for :func:`walk_sums`."""

    def __init__(
        self,
        current: Array,
        previous: Array | None,
        before_previous: Array | None,
        initial: Array | None,
        wanted: Collection[str],
    ) -> None:
        self.size, self.roundoff = current.size, unit_roundoff(current.dtype)
        self.has_previous, self.has_initial = previous is not None, initial is not None
        self.has_before = self.has_previous and before_previous is not None
        self.count_flips = "sign_flips" in wanted and self.has_previous
        self.count_changed = "changed_bits" in wanted and previous is not None and previous.dtype == current.dtype
        self.summarise = "elements" in wanted
        self.total = np.zeros((4, 6))
        self.current, self.previous, self.initial = 0.0, 0.0, 0.0
        self.absolute, self.largest = 0.0, 0.0
        self.zeros, self.flipped, self.changed = 0, 0, 0

    def add(self, piece: Piece, bits: Array, previous_bits: Array | None) -> None:
        """Add a piece whose rows are filled; with its stored bits and those of W_{t−1} as unsigned integers."""
        rows, flags = piece.rows(), _buffers.flags[: piece.count, : piece.width]
        for number in range(piece.count):
            self._add_products(_buffers.blocks[number, :, : piece.width])
        if self.count_flips:
            np.multiply(rows[W], rows[PREVIOUS], out=rows[SCRATCH])
            self.flipped += int(np.count_nonzero(np.less(rows[SCRATCH], 0.0, out=flags)))
        if self.count_changed and previous_bits is not None:
            self.changed += int(np.count_nonzero(np.not_equal(bits, previous_bits, out=flags)))
        if self.summarise:
            np.abs(rows[W], out=rows[SCRATCH])
            self.absolute += float(rows[SCRATCH].sum())
            self.largest = max(self.largest, float(rows[SCRATCH].max()))
            self.zeros += int(np.count_nonzero(np.equal(rows[W], 0.0, out=flags)))

    def _add_products(self, rows: Block) -> None:
        self.current += float(rows[W] @ rows[W])  # apart: the same bits, whatever is beside it
        if self.has_previous or self.has_initial:
            self.total += np.dot(rows[:4], rows[:6].T)  # unlike matmul, dot lets other threads run
            self.previous += float(rows[PREVIOUS] @ rows[PREVIOUS])
            self.initial += float(rows[INITIAL] @ rows[INITIAL])

    def sums(self) -> Sums:
        """All that was added up."""
        return Sums(
            self._inner_products(),
            self.absolute,
            self.largest,
            self.zeros,
            SignFlips(self.size, self.flipped) if self.count_flips else None,
            ChangedBits(self.size, self.changed) if self.count_changed else None,
        )

    def _inner_products(self) -> InnerProducts:
        def of(row: int, column: int, present: bool) -> float:
            return float(self.total[row, column]) if present else nan

        squares = self.current
        return InnerProducts(
            count=self.size,
            current=squares,
            previous=self.previous if self.has_previous else nan,
            initial=self.initial if self.has_initial else nan,
            step=of(STEP, STEP, self.has_previous),
            earlier_step=of(EARLIER_STEP, EARLIER_STEP, self.has_before),
            step_earlier_step=of(STEP, EARLIER_STEP, self.has_before),
            step_previous=of(STEP, PREVIOUS, self.has_previous),
            drift=of(DRIFT, DRIFT, self.has_initial),
            current_initial=of(W, INITIAL, self.has_initial),
            rounding=(ROUNDING_DISPLACEMENT * self.roundoff) ** 2 * squares,
        )


class _States:
    """The states of a tensor as flat arrays, block by block in float64."""

    def __init__(
        self, current: Array, previous: Array | None, before_previous: Array | None, initial: Array | None
    ) -> None:
        self.current = current.reshape(-1)
        self.previous, self.before_previous, self.initial = (
            None if other is None else other.reshape(-1) for other in (previous, before_previous, initial)
        )
        self.unsigned = np.dtype(f"u{min(current.dtype.itemsize, 8)}")

    def fill(self, piece: Piece) -> None:
        """Widen a piece of each state, and take the displacements."""
        rows = piece.rows()
        rows[W] = piece.of(self.current)
        if self.previous is not None:
            rows[PREVIOUS] = piece.of(self.previous)
            np.subtract(rows[W], rows[PREVIOUS], out=rows[STEP])
        if self.before_previous is not None:
            rows[SCRATCH] = piece.of(self.before_previous)
            np.subtract(rows[PREVIOUS], rows[SCRATCH], out=rows[EARLIER_STEP])
        if self.initial is not None:
            rows[INITIAL] = piece.of(self.initial)
            np.subtract(rows[W], rows[INITIAL], out=rows[DRIFT])

    def bits(self, piece: Piece) -> tuple[Array, Array | None]:
        """A piece of W_t and of W_{t−1} as unsigned integers; the latter None where the dtype is another one."""
        current = piece.of(self.current).view(self.unsigned)
        if self.previous is None or self.previous.dtype != self.current.dtype:
            return current, None
        return current, piece.of(self.previous).view(self.unsigned)


def element_summary(current: Array, sums: Sums) -> ElementSummary:
    """Magnitudes and zeros of W_t; what counts as near zero is known only after the first walk."""
    flat = current.reshape(-1)
    threshold = NEAR_ZERO * sqrt(sums.products.current / flat.size)
    near_zeros = 0
    for piece in pieces(flat.size):
        row, flags = piece.rows()[SCRATCH], _buffers.flags[: piece.count, : piece.width]
        row[:] = piece.of(flat)
        near_zeros += int(np.count_nonzero(np.less(np.abs(row, out=row), threshold, out=flags)))
    return ElementSummary(flat.size, sums.absolute, sums.largest, sums.zeros, near_zeros, sums.products.current)


def finiteness(current: Array, squares: float) -> FinitenessCount:
    """How many elements are NaN or infinite; looked for only where ``squares``, their sum of squares, is not finite."""
    flat = current.reshape(-1)
    if isfinite(squares):
        return FinitenessCount(flat.size, 0)
    with np.errstate(invalid="ignore"):  # widening a signalling NaN
        nonfinite = sum(
            int(np.count_nonzero(~np.isfinite(flat[start : start + BLOCK].astype(np.float64))))
            for start in range(0, flat.size, BLOCK)
        )
    return FinitenessCount(flat.size, nonfinite)


def changed_bits(current: Array, previous: Array) -> ChangedBits:
    """How many elements differ in their stored bits, for any dtype; both arrays have the same dtype and size."""
    unsigned = np.dtype(f"u{min(current.dtype.itemsize, 8)}")
    halves = current.dtype.itemsize // unsigned.itemsize  # a complex128 element changes with either half
    a, b = (state.reshape(-1).view(unsigned).reshape(-1, halves) for state in (current, previous))
    changed = 0
    for start in range(0, len(a), BLOCK):
        differs = a[start : start + BLOCK] != b[start : start + BLOCK]
        changed += int(np.count_nonzero(differs.any(axis=1)))
    return ChangedBits(current.size, changed)


def dead_lines(matrix: Array) -> DeadLines:
    """How many rows and columns of a matrix (rows, columns) are entirely zero."""
    live_columns = np.zeros(matrix.shape[1], dtype=bool)
    live_rows = 0
    rows = max(1, BLOCK * 4 // matrix.shape[1])
    for start in range(0, matrix.shape[0], rows):
        live = matrix[start : start + rows] != 0
        live_columns |= live.any(axis=0)
        live_rows += int(np.count_nonzero(live.any(axis=1)))
    return DeadLines(matrix.shape[0] - live_rows, matrix.shape[1] - int(np.count_nonzero(live_columns)))
