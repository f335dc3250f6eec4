"""Adds up sums over the elements of a tensor in float64, piece by piece, with buffers that are used again.

``numpy.linalg.norm`` of a float32 vector of 10⁸ elements was seen off by 1.4 %: each piece is widened to float64 before
anything is subtracted or squared, and is small enough to stay in the processor's cache meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import nan, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.model.observed import ChangedBits, InnerProducts, SignFlips
from analyzer.numerics.blocks import PIECE, Piece
from analyzer.numerics.rounding import ROUNDING_DISPLACEMENT, unit_roundoff

Array = npt.NDArray[Any]
Row = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NEAR_ZERO = 1e-3  # of the tensor's rms
LEAST_SQUARE = 1e-280  # a sum of squares below it has lost digits; only weights of float64 can come to that
# While the rms is not known yet, magnitudes up to so many times the threshold of the first elements are kept; where
# that is not enough, or keeps more than this share of all, another walk counts.
KEPT_MARGIN, MOST_KEPT = 4.0, 1 / 64


class _Buffers(threading.local):
    """One thread's rows: to allocate them anew for each tensor costs more than to fill them."""

    def __init__(self) -> None:
        self.rows = np.zeros((7, PIECE))
        self.flags = np.empty((5, PIECE), dtype=bool)


_buffers = _Buffers()


class Room:
    """This thread's memory for a piece, each row (length,); two checkpoints can take turns (``is_odd``) in it.

    ``beside`` (4, length) are Δ_t, Δ_{t−1}, W_t − W_0, W_{t−1}, if odd W_{t−1}, Δ_{t−1}, Δ_t, W_t − W_0: four rows that
    lie one after the other, for BLAS multiplies so many by Δ_t in the time that two single products take.
    """

    def __init__(self, piece: Piece, is_odd: bool = False) -> None:
        rows, flags = _buffers.rows[:, : piece.length], _buffers.flags[:, : piece.length]
        even, even_step, odd_step, self.drift, odd, self.initial, self.scratch = rows
        self.is_odd = is_odd
        if is_odd:
            self.current, self.previous, self.step, self.earlier_step = odd, even, odd_step, even_step
            self.signs, self.previous_signs, self.beside = flags[2:4], flags[:2], rows[:4]
        else:
            self.current, self.previous, self.step, self.earlier_step = even, odd, even_step, odd_step
            self.signs, self.previous_signs, self.beside = flags[:2], flags[2:4], rows[1:5]
        self.flags = flags[4]

    def step_products(self) -> tuple[float, float, float]:
        """⟨Δ_t, W_{t−1}⟩, ⟨Δ_t, Δ_t⟩ and ⟨Δ_t, Δ_{t−1}⟩."""
        first, second, third, fourth = np.dot(self.beside, self.step).tolist()
        return (first, third, second) if self.is_odd else (fourth, first, second)

    def earlier_squares(self) -> float:
        """⟨Δ_{t−1}, Δ_{t−1}⟩, to the bits of ⟨Δ_t, Δ_t⟩ of the checkpoint before."""
        return float(np.dot(self.beside, self.earlier_step)[1])


@dataclass(slots=True)
class Rows:
    """A piece of the states and displacements in float64, each (length,); None where a state is missing."""

    room: Room
    current: Row
    previous: Row | None = None
    initial: Row | None = None
    step: Row | None = None
    earlier_step: Row | None = None
    drift: Row | None = None

    def squares(self, name: str) -> float:
        """Σ a² over a row; NaN where there is none. Of Δ_{t−1} it has the bits that it had at the checkpoint before."""
        row: Row | None = getattr(self, name)
        if row is None:
            return nan
        return self.room.earlier_squares() if name == "earlier_step" else float(np.dot(row, row))


def fill_signs(stored: Array, widened: Row, signs: Flags) -> Flags:
    """Where a state (length,) is negative and where it is positive; zero is neither."""
    values = stored if stored.dtype.type in (np.float32, np.float64) else widened  # a half would be slow to compare
    np.less(values, 0.0, out=signs[0])
    np.greater(values, 0.0, out=signs[1])
    return signs


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

    def seen_from(self, roles: Collection[str]) -> Sums:
        """The same as if no states had been there but those in these roles."""
        products = self.products
        if "initial" not in roles:
            products = replace(products, initial=nan, drift=nan, current_initial=nan)
        if "previous" not in roles:
            products = replace(products, previous=nan, step=nan, step_previous=nan)
        if "before_previous" not in roles:
            products = replace(products, earlier_step=nan, step_earlier_step=nan)
        return replace(self, products=products)


class Tally:
    """Adds up the sums of one tensor at one checkpoint, piece by piece.

    Args:
        size: elements of the tensor.
        dtype: as it is stored.
        previous_dtype: that of W_{t−1}; None where there is no W_{t−1}.
        wanted: of the needs ``elements``, ``sign_flips`` and ``changed_bits``, those to be taken besides the products.
    """

    def __init__(
        self, size: int, dtype: np.dtype[Any], previous_dtype: np.dtype[Any] | None, wanted: Collection[str]
    ) -> None:
        self.size, self.roundoff = size, unit_roundoff(dtype)
        self.count_flips = "sign_flips" in wanted and previous_dtype is not None
        self.count_changed = "changed_bits" in wanted and previous_dtype == dtype
        self.summarise = "elements" in wanted
        self.current, self.step, self.step_earlier_step, self.step_previous = 0.0, 0.0, 0.0, 0.0
        self.drift = 0.0
        self.absolute, self.largest = 0.0, 0.0
        self.zeros, self.flipped, self.changed = 0, 0, 0
        self.near_zeros = _NearZeros(size)

    def add(self, rows: Rows, bits: Array, previous_bits: Array | None) -> None:
        """Add a piece; with its stored bits and those of W_{t−1} as unsigned integers, (length,)."""
        room, current = rows.room, rows.squares("current")
        self.current += current
        with_previous, with_step, with_earlier = (nan, nan, nan) if rows.step is None else room.step_products()
        self.step_previous += with_previous
        self.step += with_step
        self.step_earlier_step += nan if rows.earlier_step is None else with_earlier
        self.drift += rows.squares("drift")
        if self.count_flips:
            for now, before in ((0, 1), (1, 0)):
                np.logical_and(room.signs[now], room.previous_signs[before], out=room.flags)
                self.flipped += int(np.count_nonzero(room.flags))
        if self.count_changed and previous_bits is not None:
            self.changed += int(np.count_nonzero(np.not_equal(bits, previous_bits, out=room.flags)))
        if self.summarise:
            magnitudes = np.abs(rows.current, out=room.scratch)
            self.absolute += float(magnitudes.sum())
            self.largest = max(self.largest, float(magnitudes.max()))
            self.near_zeros.add(magnitudes, current, room.flags)
            if self.count_flips:  # NaN is neither, too, but then nothing that is counted here has a value
                self.zeros += rows.current.size - int(np.count_nonzero(room.signs))
            else:
                self.zeros += int(np.count_nonzero(np.equal(rows.current, 0.0, out=room.flags)))

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
    """Small magnitudes, kept until the rms of all elements, and with it the threshold, is known.

    There is no ``room`` any more where they were too many to be kept.
    """

    def __init__(self, size: int) -> None:
        self.room = int(MOST_KEPT * size)
        self.bound = 0.0
        self.kept: list[Row] = []

    def add(self, magnitudes: Row, squares: float, flags: Flags) -> None:
        """Keep the small ones of a piece, the zeros aside, which are counted anyway."""
        if self.bound == 0:
            self.bound = KEPT_MARGIN * near_zero_threshold(squares, magnitudes.size)
            if self.bound == 0 and magnitudes.any():  # their squares vanished: another walk counts
                self.room = -1
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
        room = Room(piece)
        room.current[:] = piece.of(self.current)
        rows = Rows(room, room.current)
        if self.previous is not None:
            room.previous[:] = piece.of(self.previous)
            rows.previous, rows.step = room.previous, np.subtract(room.current, room.previous, out=room.step)
            if with_signs:
                fill_signs(piece.of(self.current), room.current, room.signs)
                fill_signs(piece.of(self.previous), room.previous, room.previous_signs)
        if self.before_previous is not None:
            room.earlier_step[:] = piece.of(self.before_previous)
            rows.earlier_step = np.subtract(room.previous, room.earlier_step, out=room.earlier_step)
        if self.initial is not None:
            room.initial[:] = piece.of(self.initial)
            rows.initial, rows.drift = room.initial, np.subtract(room.current, room.initial, out=room.drift)
        return rows

    def stored(self, piece: Piece) -> tuple[Array, Array | None]:
        """A piece of W_t and of W_{t−1} as unsigned integers; the latter None where the dtype is another one."""
        current = piece.of(self.current).view(self.unsigned)
        if self.previous is None or self.previous.dtype != self.current.dtype:
            return current, None
        return current, piece.of(self.previous).view(self.unsigned)


def near_zero_threshold(squares: float, size: int) -> float:
    """The magnitude below which an element counts as near zero."""
    return NEAR_ZERO * sqrt(squares / size)
