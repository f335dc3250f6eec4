"""Gram matrices and triangular factors of dense matrices, computed in float64 one block of rows at a time.

No array of rows × columns in float64 is ever allocated.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from math import frexp

import numpy as np

from analyzer.model.run import Array, FloatArray
from analyzer.numerics.blocks import block_rows

# Beyond 2^±400 the squares of float64 numbers, and sums of many of them, leave the range of float64 (2^±1022).
UNSCALED_EXPONENT = 400
TRIANGLE_BLOCK = 64  # columns of a triangle that are inverted together

Solve = Callable[[FloatArray], FloatArray]


def gram(matrix: Array, exponent: int = 0, out: FloatArray | None = None) -> FloatArray:
    """Return WᵀW, or WWᵀ if W has more columns than rows, of W·2^−exponent in float64.

    Args:
        matrix: W.
        exponent: of the power of two to divide by.
        out: memory for the result, shape (n, n); allocated by default.
    """
    n = min(matrix.shape)
    total = Gram(np.empty((n, n)) if out is None else out)
    for block in stored_blocks(matrix):
        total.add(block, exponent)
    return total.matrix


class Gram:
    """WᵀW in float64, accumulated in ``memory`` (n, n) from blocks of rows (k, n) in their order.

    numpy passes ``B.T @ B`` to BLAS's syrk, which does half the work of a general product and, unlike scipy's wrapper,
    releases the interpreter's lock.
    """

    def __init__(self, memory: FloatArray) -> None:
        self.matrix = memory
        self._is_empty = True

    def add(self, rows: Array, exponent: int = 0) -> None:
        """Add a block of W·2^−exponent."""
        block = widen(rows, exponent)
        if self._is_empty:
            np.dot(block.T, block, out=self.matrix)
        else:
            self.matrix += np.dot(block.T, block, out=workspace.square("product", block.shape[1]))
        self._is_empty = False


class _Workspace(threading.local):
    """Reused memory of one thread: to allocate a block and squares for each matrix costs more than to fill them."""

    def __init__(self) -> None:
        self.block = np.empty(0)
        self.squares: dict[str, FloatArray] = {}

    def square(self, use: str, n: int) -> FloatArray:
        """Return memory of shape (n, n), valid until the next call for the same use."""
        if len(self.squares.get(use, ())) != n:
            self.squares.pop(use, None)  # free the old one before the new one is allocated
            self.squares[use] = np.empty((n, n))
        return self.squares[use]


workspace = _Workspace()


def widen(rows: Array, exponent: int) -> FloatArray:
    """Return rows in float64, times 2^−exponent, in the same memory order; valid until this thread's next call."""
    if len(workspace.block) < rows.size:
        workspace.block = np.empty(rows.size)
    flat = workspace.block[: rows.size]
    wide = flat.reshape(rows.shape) if rows.flags.c_contiguous else flat.reshape(rows.shape[::-1]).T
    wide[...] = rows
    return np.ldexp(wide, -exponent, out=wide) if exponent else wide


def widened_blocks(matrix: Array, exponent: int) -> Iterator[FloatArray]:
    """Yield the blocks of the matrix as tall, in float64; each block is valid until the next one is requested."""
    return (widen(block, exponent) for block in stored_blocks(matrix))


def stored_blocks(matrix: Array) -> Iterator[Array]:
    """Yield the matrix as tall, (m, n), in its stored dtype, one block of rows at a time."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    step = block_rows(tall.shape[1])
    return (tall[start : start + step] for start in range(0, len(tall), step))


def power_of_two(matrix: Array) -> int:
    """Return the exponent of a power of two to divide by, so that squares neither overflow nor underflow.

    It is 0 unless the matrix is float64 with a largest magnitude beyond 2^±400: only float64 has such a range.
    """
    if matrix.dtype != np.float64:
        return 0
    return scaling_exponent(max(float(matrix.max()), -float(matrix.min())))


def scaling_exponent(largest: float) -> int:
    """Return the exponent to divide by for a matrix with this largest magnitude; 0 if no scaling is needed."""
    exponent = frexp(largest)[1]
    return exponent if abs(exponent) > UNSCALED_EXPONENT else 0


def triangular_factor(blocks: Iterator[FloatArray], n: int) -> FloatArray:
    """Return R of W = QR, shape (n, n), from blocks of rows (k, n); it has the singular values of W.

    Blocks are factored one after the other, without their rows of zeros. (Demmel, Grigori, Hoemmen & Langou,
    Communication-optimal QR, SISC 2012.)
    """
    factor = np.zeros((0, n))
    for block in blocks:
        factor = np.asarray(np.linalg.qr(np.vstack([factor, block[block.any(axis=1)]]), mode="r"), dtype=np.float64)
    return np.vstack([factor, np.zeros((n - len(factor), n))])


def solver_by(factor: FloatArray) -> Solve:
    """Return X ↦ (L·Lᵀ)⁻¹·X for a lower triangular L, (n, n), by block substitution.

    Importing scipy for it would take longer than measuring a small run. (Golub & Van Loan, FloatArray Computations,
    sec. 3.1.4.)
    """
    n = len(factor)
    blocks = [slice(start, min(start + TRIANGLE_BLOCK, n)) for start in range(0, n, TRIANGLE_BLOCK)]
    inverses = [np.linalg.inv(factor[block, block]) for block in blocks]

    def solve(right: FloatArray) -> FloatArray:
        found = np.empty(right.shape)
        for block, inverse in zip(blocks, inverses, strict=True):
            found[block] = inverse @ (right[block] - factor[block, : block.start] @ found[: block.start])
        for block, inverse in zip(reversed(blocks), reversed(inverses), strict=True):
            found[block] = inverse.T @ (found[block] - factor[block.stop :, block].T @ found[block.stop :])
        return found

    return solve
