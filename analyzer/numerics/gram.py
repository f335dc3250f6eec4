"""Dense matrices in float64 a slab of rows at a time: their Gram matrices, and the triangular factors of their QR.

Nothing of rows × columns is ever held in float64.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from math import frexp
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.numerics.blocks import slab_rows

Array = npt.NDArray[Any]
Matrix = npt.NDArray[np.float64]


def gram(matrix: Array, exponent: int = 0, memory: Matrix | None = None) -> Matrix:
    """WᵀW, or WWᵀ where W has more columns than rows, of W·2^−exponent, in float64 by blocks.

    It is put into ``memory``, shape (n, n), or into new memory.
    """
    n = min(matrix.shape)
    total = Gram(np.empty((n, n)) if memory is None else memory)
    for piece in slabs_of(matrix):
        total.add(piece, exponent)
    return total.matrix


class Gram:
    """WᵀW in float64, added up in ``memory`` (n, n) from blocks of rows (k, n) in their order.

    numpy hands ``B.T @ B`` to BLAS's syrk, which does half the work of a general product and, unlike scipy's wrapper,
    lets other threads run.
    """

    def __init__(self, memory: Matrix) -> None:
        self.matrix = memory
        self._is_empty = True

    def add(self, rows: Array, exponent: int = 0) -> None:
        """Take in a block of W·2^−exponent."""
        block = widened_into_lent(rows, exponent)
        if self._is_empty:
            np.dot(block.T, block, out=self.matrix)
        else:
            self.matrix += np.dot(block.T, block, out=lent.square("product", block.shape[1]))
        self._is_empty = False


class _Lent(threading.local):
    """One thread's block and squares: fresh memory for each would cost more than to fill it."""

    def __init__(self) -> None:
        self.block = np.empty(0)
        self.squares: dict[str, Matrix] = {}

    def square(self, use: str, n: int) -> Matrix:
        """Memory of shape (n, n), which holds until it is asked for again for the same use."""
        if len(self.squares.get(use, ())) != n:
            self.squares.pop(use, None)  # the old one goes before the new one comes
            self.squares[use] = np.empty((n, n))
        return self.squares[use]


lent = _Lent()


def widened_into_lent(piece: Array, exponent: int) -> Matrix:
    """A piece in float64, in its own order of elements; it holds until this thread asks for the next one."""
    if len(lent.block) < piece.size:
        lent.block = np.empty(piece.size)
    flat = lent.block[: piece.size]
    wide = flat.reshape(piece.shape) if piece.flags.c_contiguous else flat.reshape(piece.shape[::-1]).T
    wide[...] = piece
    return np.ldexp(wide, -exponent, out=wide) if exponent else wide


def blocks_of(matrix: Array, exponent: int) -> Iterator[Matrix]:
    """The matrix the tall way round, in float64; each block holds until the next one is asked for."""
    return (widened_into_lent(piece, exponent) for piece in slabs_of(matrix))


def slabs_of(matrix: Array) -> Iterator[Array]:
    """The matrix the tall way round, (m, n), as it is stored, a slab of rows at a time."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    step = slab_rows(tall.shape[1])
    return (tall[start : start + step] for start in range(0, len(tall), step))


def power_of_two(matrix: Array) -> int:
    """A power of two to divide by, so that squares neither overflow nor vanish; only float64 has such a range."""
    if matrix.dtype != np.float64:
        return 0
    exponent = frexp(max(float(matrix.max()), -float(matrix.min())))[1]
    return exponent if abs(exponent) > 400 else 0


def triangular_factor(blocks: Iterator[Matrix], n: int) -> Matrix:
    """R of W = QR, shape (n, n), from blocks of rows (k, n), which are taken in one by one; it has the σ of W.

    Rows of zeros are passed over. (Demmel, Grigori, Hoemmen & Langou, Communication-optimal QR, SISC 2012.)
    """
    factor = np.zeros((0, n))
    for block in blocks:
        factor = np.asarray(np.linalg.qr(np.vstack([factor, block[block.any(axis=1)]]), mode="r"), dtype=np.float64)
    return np.vstack([factor, np.zeros((n - len(factor), n))])
