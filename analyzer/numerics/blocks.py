"""Cut tensors into blocks, so that a tall matrix need not be in memory as a whole, and blocks into chunks.

The cuts depend on the shape alone, so every walk over a tensor adds up the same numbers in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from analyzer.model.run import Array

# Elements that are widened at a time: enough to make the interpreter's overhead negligible, few enough that seven
# float64 rows of them stay in the processor's cache (measured: a quarter of it is a sixth slower, twice as many up to
# an eighth).
CHUNK = 1 << 17
# Elements in a block of a tall matrix: enough that its contribution to the Gram matrix, which has to be mirrored and
# added, runs at full speed (768 columns: a third of it is a tenth slower), few enough that its float64 copy takes 24 MB
# or as much as the Gram matrix.
MIN_BLOCK, MAX_BLOCK, BLOCK_HEIGHT = 1 << 20, 3 << 20, 6  # the last in units of the number of columns


@dataclass(frozen=True, slots=True)
class Chunk:
    """A range of ``length`` elements that begins at ``start``."""

    start: int
    length: int

    def of(self, flat: Array) -> Array:
        """Return the chunk of a flat array, shape (length,)."""
        return flat[self.start : self.start + self.length]


def block_size(shape: Sequence[int]) -> int:
    """Return the number of elements in a block: some rows of a tall matrix, otherwise the whole tensor.

    A block of a tall matrix has at least as many rows as the matrix has columns.
    """
    if len(shape) < 2 or shape[0] <= (columns := prod(shape[1:])):
        return prod(shape)
    return min(shape[0], block_rows(columns)) * columns


def block_rows(columns: int) -> int:
    """Return the number of rows in a block of a tall matrix."""
    return max(columns, min(max(BLOCK_HEIGHT * columns**2, MIN_BLOCK), MAX_BLOCK) // columns)


def chunks(size: int, block: int) -> Iterator[Chunk]:
    """Cut ``size`` elements into chunks, block by block: full chunks, then the remainder of the block."""
    for start in range(0, size, block):
        yield from chunks_between(start, min(start + block, size))


def chunks_between(start: int, end: int) -> Iterator[Chunk]:
    """Cut the elements of one block into chunks."""
    for first in range(start, end, CHUNK):
        yield Chunk(first, min(CHUNK, end - first))
