"""The largest norms of a row and of a column of a matrix, which bound the noise of rounding."""

from __future__ import annotations

from math import ldexp, sqrt

import numpy as np

from analyzer.model.run import Array
from analyzer.numerics.gram import stored_blocks, widen


class LineNorms:
    """Accumulates the largest norm of a row and that of a column from blocks of rows (k, columns)."""

    def __init__(self, columns: int) -> None:
        self._row, self._columns = 0.0, np.zeros(columns)

    def add(self, rows: Array, exponent: int = 0) -> None:
        """Add a block of W·2^−exponent, in its stored dtype."""
        block = widen(rows, exponent)
        self._row = max(self._row, float(np.einsum("ij,ij->i", block, block).max()))
        self._columns += np.einsum("ij,ij->j", block, block)

    def largest(self) -> float:
        """Return the largest norm of a row plus the largest norm of a column."""
        return sqrt(self._row) + sqrt(float(self._columns.max()))


def largest_lines(matrix: Array, exponent: int = 0) -> float:
    """Return the largest norm of a row plus the largest norm of a column of a matrix (rows, columns).

    Args:
        matrix: W.
        exponent: of a power of two by which W is divided before it is squared.
    """
    norms = LineNorms(min(matrix.shape))
    for block in stored_blocks(matrix):
        norms.add(block, exponent)
    return ldexp(norms.largest(), exponent)
