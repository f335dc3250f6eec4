"""Sums over elements in float64, by blocks that stay in the processor's cache, with buffers that are used again.

``numpy.linalg.norm`` of a float32 vector of 10⁸ elements was seen off by 1.4 %: each block is widened to float64
before anything is subtracted or squared. All sums of one tensor are taken in the same walk over it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
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

# Elements. Eight float64 rows of this length take 2 MB; OpenBLAS's thin products fall off beyond it.
BLOCK = 1 << 15
NEAR_ZERO = 1e-3  # of the tensor's rms
# What each float64 row holds: the first four are multiplied with all six.
W, STEP, DRIFT, EARLIER_STEP, PREVIOUS, INITIAL, SCRATCH = range(7)


class _Buffers(threading.local):
    """One thread's rows: to allocate them anew for each tensor costs more than to fill them."""

    def __init__(self) -> None:
        self.rows = np.zeros((7, BLOCK))
        self.products = np.empty((4, 6))
        self.flags = np.empty(BLOCK, dtype=bool)


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
    count_flips = "sign_flips" in wanted and previous is not None
    count_changed = "changed_bits" in wanted and previous is not None and previous.dtype == current.dtype
    alone = previous is None and initial is None
    total = np.zeros((4, 6))
    absolute, largest, zeros, flipped, changed = 0.0, 0.0, 0, 0, 0
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, current.size, BLOCK):
            piece = slice(start, min(start + BLOCK, current.size))
            rows = _buffers.rows[:, : piece.stop - start]
            flags = _buffers.flags[: piece.stop - start]
            states.fill(rows, piece)
            if alone:
                total[W, W] += rows[W] @ rows[W]
            else:
                total += np.matmul(rows[:4], rows[:6].T, out=_buffers.products)
            if count_flips:
                np.multiply(rows[W], rows[PREVIOUS], out=rows[SCRATCH])
                flipped += int(np.count_nonzero(np.less(rows[SCRATCH], 0.0, out=flags)))
            if count_changed:
                changed += int(np.count_nonzero(np.not_equal(*states.bits(piece), out=flags)))
            if "elements" in wanted:
                np.abs(rows[W], out=rows[SCRATCH])
                absolute += float(rows[SCRATCH].sum())
                largest = max(largest, float(rows[SCRATCH].max()))
                zeros += int(np.count_nonzero(np.equal(rows[W], 0.0, out=flags)))
    return Sums(
        _inner_products(total, states),
        absolute,
        largest,
        zeros,
        SignFlips(current.size, flipped) if count_flips else None,
        ChangedBits(current.size, changed) if count_changed else None,
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

    def fill(self, rows: Block, piece: slice) -> None:
        """Widen a piece of each state, and take the displacements."""
        rows[W] = self.current[piece]
        if self.previous is not None:
            rows[PREVIOUS] = self.previous[piece]
            np.subtract(rows[W], rows[PREVIOUS], out=rows[STEP])
        if self.before_previous is not None:
            rows[SCRATCH] = self.before_previous[piece]
            np.subtract(rows[PREVIOUS], rows[SCRATCH], out=rows[EARLIER_STEP])
        if self.initial is not None:
            rows[INITIAL] = self.initial[piece]
            np.subtract(rows[W], rows[INITIAL], out=rows[DRIFT])

    def bits(self, piece: slice) -> tuple[Array, Array]:
        """A piece of W_t and of W_{t−1} as unsigned integers."""
        assert self.previous is not None  # asked for only then
        return self.current[piece].view(self.unsigned), self.previous[piece].view(self.unsigned)


def _inner_products(total: Block, states: _States) -> InnerProducts:
    def of(row: int, column: int, other: Array | None) -> float:
        return nan if other is None else float(total[row, column])

    previous, before, initial = states.previous, states.before_previous, states.initial
    squares = float(total[W, W])
    return InnerProducts(
        count=states.current.size,
        current=squares,
        # ⟨A, A⟩ = ⟨W_t, A⟩ − ⟨W_t − A, A⟩, for the rows of A itself are not multiplied with each other
        previous=max(0.0, of(W, PREVIOUS, previous) - of(STEP, PREVIOUS, previous)),
        initial=max(0.0, of(W, INITIAL, initial) - of(DRIFT, INITIAL, initial)),
        step=of(STEP, STEP, previous),
        earlier_step=of(EARLIER_STEP, EARLIER_STEP, before),
        step_earlier_step=of(STEP, EARLIER_STEP, before),
        step_previous=of(STEP, PREVIOUS, previous),
        drift=of(DRIFT, DRIFT, initial),
        current_initial=of(W, INITIAL, initial),
        rounding=(ROUNDING_DISPLACEMENT * unit_roundoff(states.current.dtype)) ** 2 * squares,
    )


def element_summary(current: Array, sums: Sums) -> ElementSummary:
    """Magnitudes and zeros of W_t; what counts as near zero is known only after the first walk."""
    flat = current.reshape(-1)
    threshold = NEAR_ZERO * sqrt(sums.products.current / flat.size)
    near_zeros = 0
    for start in range(0, flat.size, BLOCK):
        stop = min(start + BLOCK, flat.size)
        row, flags = _buffers.rows[SCRATCH, : stop - start], _buffers.flags[: stop - start]
        row[:] = flat[start:stop]
        near_zeros += int(np.count_nonzero(np.less(np.abs(row, out=row), threshold, out=flags)))
    return ElementSummary(flat.size, sums.absolute, sums.largest, sums.zeros, near_zeros, sums.products.current)


def finiteness(current: Array, squares: float) -> FinitenessCount:
    """How many elements are NaN or infinite; looked for only where ``squares``, their sum of squares, is not finite."""
    flat = current.reshape(-1)
    if isfinite(squares):
        return FinitenessCount(flat.size, 0)
    nonfinite = sum(
        int(np.count_nonzero(~np.isfinite(flat[start : start + BLOCK].astype(np.float64))))
        for start in range(0, flat.size, BLOCK)
    )
    return FinitenessCount(flat.size, nonfinite)


def changed_bits(current: Array, previous: Array) -> ChangedBits:
    """How many elements differ in their stored bits, for any dtype; both arrays have the same dtype and size."""
    states = _States(current, previous, None, None)
    changed = 0
    for start in range(0, current.size, BLOCK):
        a, b = states.bits(slice(start, min(start + BLOCK, current.size)))
        differs = a != b
        if current.dtype.itemsize > 8:  # a complex128 element changes with either half
            differs = differs.reshape(-1, 2).any(axis=1)
        changed += int(np.count_nonzero(differs))
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
