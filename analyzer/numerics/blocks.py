"""How tensors are cut: into slabs, so that a tall matrix need not be held as a whole, and these into pieces.

The cuts depend on the shape alone, so every way of walking over a tensor adds up the same numbers in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy.typing as npt

# Elements that are widened at a time: so many that the interpreter's share does not count, so few that seven float64
# rows of them stay near the processor (measured: a quarter of it is a sixth slower, twice as many up to an eighth).
PIECE = 1 << 17
# Elements of a slab of a tall matrix: so many that its part of the Gram matrix, which has to be mirrored and added, is
# taken at full speed (768 columns: a third of it is a tenth slower), so few that its float64 is 24 MB, or as large as
# the Gram matrix.
LEAST_SLAB, MOST_SLAB, SLAB_HEIGHT = 1 << 20, 3 << 20, 6  # the last in units of the number of columns


@dataclass(frozen=True, slots=True)
class Piece:
    """``length`` elements from ``start`` on."""

    start: int
    length: int

    def of(self, flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The piece of a flat array, shape (length,)."""
        return flat[self.start : self.start + self.length]


def slab_of(shape: Sequence[int]) -> int:
    """How many elements make a slab: some rows of a tall matrix, at least as many as it has columns; else all."""
    if len(shape) < 2 or shape[0] <= (columns := prod(shape[1:])):
        return prod(shape)
    return min(shape[0], slab_rows(columns)) * columns


def slab_rows(columns: int) -> int:
    """How many rows make a slab of a tall matrix."""
    return max(columns, min(max(SLAB_HEIGHT * columns**2, LEAST_SLAB), MOST_SLAB) // columns)


def pieces(size: int, slab: int) -> Iterator[Piece]:
    """``size`` elements in pieces, slab by slab: whole pieces, then what is left over of the slab."""
    for start in range(0, size, slab):
        yield from pieces_between(start, min(start + slab, size))


def pieces_between(start: int, end: int) -> Iterator[Piece]:
    """The elements of a slab in pieces."""
    for piece in range(start, end, PIECE):
        yield Piece(piece, min(PIECE, end - piece))
