"""Sums over elements in float64, by blocks that stay in the processor's cache, with buffers that are used again.

``numpy.linalg.norm`` of a float32 vector of 10⁸ elements was seen off by 1.4 %: each block is widened to float64
before anything is subtracted or squared. All sums of one tensor are taken in the same walk over it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, nan, prod, sqrt
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
Flags = npt.NDArray[np.bool_]

BLOCK = 1 << 15  # elements that one inner product runs over
# Blocks that are widened at a time: so many that the interpreter's share does not count, so few that seven float64 rows
# of them stay near the processor (measured: half and twice as many are a third slower).
BLOCKS = 4
# Elements of a slab of a tall matrix: so many that its part of the Gram matrix, which has to be mirrored and added, is
# taken at full speed (768 columns: a third of it is a tenth slower), so few that its float64 is 24 MB at most.
LEAST_SLAB, MOST_SLAB, SLAB_HEIGHT = 1 << 20, 3 << 20, 6  # the last in units of the number of columns
NEAR_ZERO = 1e-3  # of the tensor's rms
# While the rms is not known yet, magnitudes up to so many times the threshold of the first elements are kept; where
# that is not enough, or keeps more than this share of all, another walk counts.
KEPT_MARGIN, MOST_KEPT = 4.0, 1 / 64
ROWS, SCRATCH = 7, 6  # float64 rows of a piece that one thread works on, and the one that anything may use
FLAGS = 5  # the signs of two states, two rows each, and one row that anything may use


class _Buffers(threading.local):
    """One thread's rows: to allocate them anew for each tensor costs more than to fill them."""

    def __init__(self) -> None:
        self.rows = np.zeros((ROWS, BLOCKS, BLOCK))
        self.flags = np.empty((FLAGS, BLOCKS, BLOCK), dtype=bool)


_buffers = _Buffers()


@dataclass(frozen=True, slots=True)
class Sums:
    """What one walk over a tensor yields; an optional part is None unless it was wanted and could be taken."""

    products: InnerProducts
    absolute: float
    largest: float
    zeros: int
    near_zeros: int | None
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
    states = States(current, previous, before_previous if previous is not None else None, initial)
    tally = Tally(current, previous, wanted)
    squares = np.zeros(3)  # of W_{t−1}, W_0 and Δ_{t−1}
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and Inf in, NaN and Inf out: a status tells of them
        for piece in pieces(current.size, slab_of(current.shape)):
            rows = states.rows(piece, tally.count_flips)
            tally.add(piece, rows, *states.stored(piece))
            squares += [_inner(row, row) for row in (rows.previous, rows.initial, rows.earlier_step)]
    return tally.sums(*(float(square) for square in squares))


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
        """This thread's float64 rows for the piece, shape (ROWS, count, width)."""
        return _buffers.rows[:, : self.count, : self.width]

    def flags(self) -> Flags:
        """This thread's flags for the piece, shape (FLAGS, count, width)."""
        return _buffers.flags[:, : self.count, : self.width]


@dataclass(slots=True)
class Rows:
    """A piece of the states and displacements in float64, each (count, width); None where a state is missing."""

    current: Block
    previous: Block | None = None
    initial: Block | None = None
    step: Block | None = None
    earlier_step: Block | None = None
    drift: Block | None = None
    signs: Flags | None = None  # (2, count, width): where the current state is negative, and where it is positive
    previous_signs: Flags | None = None


def fill_signs(stored: Array, widened: Block, signs: Flags) -> Flags:
    """Where a state (count, width) is negative and where it is positive; zero is neither."""
    values = stored if stored.dtype.type in (np.float32, np.float64) else widened  # a half would be slow to compare
    np.less(values, 0.0, out=signs[0])
    np.greater(values, 0.0, out=signs[1])
    return signs


def _inner(first: Block | None, second: Block | None) -> float:
    """Σ a·b over a piece, in float64; NaN where one of the two is missing."""
    return nan if first is None or second is None else float(np.vecdot(first, second).sum())


def slab_of(shape: Sequence[int]) -> int:
    """How many elements make a slab: some rows of a tall matrix, at least as many as it has columns; else all."""
    if len(shape) < 2 or shape[0] <= (columns := prod(shape[1:])):
        return prod(shape)
    return min(shape[0], slab_rows(columns)) * columns


def slab_rows(columns: int) -> int:
    """How many rows make a slab of a tall matrix."""
    return max(columns, min(max(SLAB_HEIGHT * columns**2, LEAST_SLAB), MOST_SLAB) // columns)


def pieces(size: int, slab: int) -> Iterator[Piece]:
    """``size`` elements in pieces, slab by slab: whole blocks, a few at a time, then what is left over of the slab."""
    for start in range(0, size, slab):
        end = min(start + slab, size)
        whole = (end - start) // BLOCK
        for block in range(0, whole, BLOCKS):
            yield Piece(start + block * BLOCK, min(BLOCKS, whole - block), BLOCK)
        if (end - start) % BLOCK:
            yield Piece(start + whole * BLOCK, 1, (end - start) % BLOCK)


class Tally:
    """Adds up the sums of one tensor at one checkpoint, piece by piece; arguments as for :func:`walk_sums`."""

    def __init__(
        self,
        current: Array,
        previous: Array | None,
        wanted: Collection[str],
    ) -> None:
        self.size, self.dtype, self.roundoff = current.size, current.dtype, unit_roundoff(current.dtype)
        self.count_flips = "sign_flips" in wanted and previous is not None
        self.count_changed = "changed_bits" in wanted and previous is not None and previous.dtype == current.dtype
        self.summarise = "elements" in wanted
        self.current, self.step, self.step_earlier_step, self.step_previous = 0.0, 0.0, 0.0, 0.0
        self.drift = 0.0
        self.absolute, self.largest = 0.0, 0.0
        self.zeros, self.flipped, self.changed = 0, 0, 0
        self.near_zeros = _NearZeros(self.size)

    def add(self, piece: Piece, rows: Rows, bits: Array, previous_bits: Array | None) -> None:
        """Add a piece; with its stored bits and those of W_{t−1} as unsigned integers, (count, width)."""
        squares = _inner(rows.current, rows.current)
        self.current += squares
        self.step += _inner(rows.step, rows.step)
        self.step_earlier_step += _inner(rows.step, rows.earlier_step)
        self.step_previous += _inner(rows.step, rows.previous)
        self.drift += _inner(rows.drift, rows.drift)
        flags = piece.flags()[-1]
        if self.count_flips and rows.signs is not None and rows.previous_signs is not None:
            for now, before in ((0, 1), (1, 0)):
                np.logical_and(rows.signs[now], rows.previous_signs[before], out=flags)
                self.flipped += int(np.count_nonzero(flags))
        if self.count_changed and previous_bits is not None:
            self.changed += int(np.count_nonzero(np.not_equal(bits, previous_bits, out=flags)))
        if self.summarise:
            magnitudes = np.abs(rows.current, out=piece.rows()[SCRATCH])
            self.absolute += float(magnitudes.sum())
            self.largest = max(self.largest, float(magnitudes.max()))
            self.near_zeros.add(magnitudes, squares, flags)
            if rows.signs is None:
                self.zeros += int(np.count_nonzero(np.equal(rows.current, 0.0, out=flags)))
            else:  # NaN is neither, too, but then nothing that is counted here has a value
                self.zeros += rows.current.size - int(np.count_nonzero(rows.signs))

    def sums(self, previous: float, initial: float, earlier_step: float) -> Sums:
        """All that was added up, beside the sums of squares of W_{t−1}, W_0 and Δ_{t−1} (NaN where there is none)."""
        threshold = near_zero_threshold(self.current, self.size)
        small, zeros = self.near_zeros.below(threshold), self.zeros if threshold > 0 else 0
        products = InnerProducts(
            count=self.size,
            current=self.current,
            previous=previous,
            initial=initial,
            step=self.step,
            earlier_step=earlier_step,
            step_earlier_step=self.step_earlier_step,
            step_previous=self.step_previous,
            drift=self.drift,
            # ‖W − W_0‖² = ‖W‖² + ‖W_0‖² − 2⟨W, W_0⟩. Sums of squares lose nothing: the cosine is good to 1e-15 times
            # the ratio of the two norms.
            current_initial=(self.current + initial - self.drift) / 2,
            rounding=(ROUNDING_DISPLACEMENT * self.roundoff) ** 2 * self.current,
        )
        return Sums(
            products,
            self.absolute,
            self.largest,
            self.zeros,
            None if small is None else zeros + small,
            SignFlips(self.size, self.flipped) if self.count_flips else None,
            ChangedBits(self.size, self.changed) if self.count_changed else None,
        )


class _NearZeros:
    """Small magnitudes, kept until the rms of all elements, and with it the threshold, is known."""

    def __init__(self, size: int) -> None:
        self.room = int(MOST_KEPT * size)
        self.bound = 0.0
        self.kept: list[Block] = []

    def add(self, magnitudes: Block, squares: float, flags: Flags) -> None:
        """Keep the small ones of a piece, the zeros aside, which are counted anyway."""
        if self.bound == 0:
            self.bound = KEPT_MARGIN * near_zero_threshold(squares, magnitudes.size)
        if self.room >= 0 and np.less(magnitudes, self.bound, out=flags).any():
            small = magnitudes[flags]
            self.kept.append(small[small > 0])
            self.room -= self.kept[-1].size
            if self.room < 0:
                self.kept.clear()

    def below(self, threshold: float) -> int | None:
        """How many magnitudes other than zero are below the threshold; None where not all of them were kept."""
        if self.room < 0 or threshold > self.bound:
            return None
        return sum(int(np.count_nonzero(small < threshold)) for small in self.kept)


def consecutive_sums(tallies: Sequence[Tally]) -> list[Sums]:
    """The sums of a tensor at consecutive checkpoints, the first of which is W_0 of all."""
    found: list[Sums] = []
    for tally in tallies:
        before_it = found[-1].products if found else None
        found.append(
            tally.sums(
                previous=before_it.current if before_it else nan,
                initial=tallies[0].current,
                earlier_step=before_it.step if before_it else nan,
            )
        )
    return found


class States:
    """The states of a tensor as flat arrays, to be had piece by piece in float64."""

    def __init__(
        self, current: Array, previous: Array | None, before_previous: Array | None, initial: Array | None
    ) -> None:
        self.current = current.reshape(-1)
        self.previous, self.before_previous, self.initial = (
            None if other is None else other.reshape(-1) for other in (previous, before_previous, initial)
        )
        self.unsigned = np.dtype(f"u{min(current.dtype.itemsize, 8)}")

    def rows(self, piece: Piece, with_signs: bool) -> Rows:
        """A piece of each state, widened, and the displacements."""
        current, previous, initial, step, earlier_step, drift, _ = piece.rows()
        current[:] = piece.of(self.current)
        rows = Rows(current)
        if self.previous is not None:
            previous[:] = piece.of(self.previous)
            rows.previous, rows.step = previous, np.subtract(current, previous, out=step)
            if with_signs:
                signs = piece.flags()
                rows.signs = fill_signs(piece.of(self.current), current, signs[:2])
                rows.previous_signs = fill_signs(piece.of(self.previous), previous, signs[2:4])
        if self.before_previous is not None:
            earlier_step[:] = piece.of(self.before_previous)
            rows.earlier_step = np.subtract(previous, earlier_step, out=earlier_step)
        if self.initial is not None:
            initial[:] = piece.of(self.initial)
            rows.initial, rows.drift = initial, np.subtract(current, initial, out=drift)
        return rows

    def stored(self, piece: Piece) -> tuple[Array, Array | None]:
        """A piece of W_t and of W_{t−1} as unsigned integers; the latter None where the dtype is another one."""
        current = piece.of(self.current).view(self.unsigned)
        if self.previous is None or self.previous.dtype != self.current.dtype:
            return current, None
        return current, piece.of(self.previous).view(self.unsigned)


def element_summary(current: Array, sums: Sums) -> ElementSummary:
    """Magnitudes and zeros of W_t; what is near zero is counted in another walk where the first one could not."""
    near_zeros = sums.near_zeros
    if near_zeros is None:
        near_zeros, threshold = 0, near_zero_threshold(sums.products.current, current.size)
        flat = current.reshape(-1)
        for piece in pieces(flat.size, flat.size):
            row, flags = piece.rows()[SCRATCH], piece.flags()[0]
            row[:] = piece.of(flat)
            near_zeros += int(np.count_nonzero(np.less(np.abs(row, out=row), threshold, out=flags)))
    return ElementSummary(current.size, sums.absolute, sums.largest, sums.zeros, near_zeros, sums.products.current)


def near_zero_threshold(squares: float, size: int) -> float:
    """The magnitude below which an element counts as near zero."""
    return NEAR_ZERO * sqrt(squares / size)


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
    live_rows, live_columns = live_lines(matrix)
    return DeadLines(matrix.shape[0] - live_rows, matrix.shape[1] - int(np.count_nonzero(live_columns)))


def live_lines(matrix: Array) -> tuple[int, Flags]:
    """How many rows of a matrix (rows, columns) are not entirely zero, and which columns, shape (columns,)."""
    live_columns = np.zeros(matrix.shape[1], dtype=bool)
    live_rows = 0
    rows = max(1, BLOCK * 4 // matrix.shape[1])
    for start in range(0, matrix.shape[0], rows):
        live = matrix[start : start + rows] != 0
        live_columns |= live.any(axis=0)
        live_rows += int(np.count_nonzero(live.any(axis=1)))
    return live_rows, live_columns
