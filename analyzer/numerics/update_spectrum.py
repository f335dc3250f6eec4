"""Singular values of the difference of two matrices, for metrics on request."""

from __future__ import annotations

from collections.abc import Iterator
from math import frexp

import numpy as np

from analyzer.model.observed import Spectrum
from analyzer.numerics.gram import Array, Matrix, blocks_of, slabs_of, triangular_factor
from analyzer.numerics.rounding import unit_roundoff
from analyzer.numerics.singular_values import SMALL_WORK, TRUSTED


def difference_spectrum(current: Array, previous: Array) -> Spectrum:
    """All singular values of W_t − W_{t−1}, both (rows, columns) of any floating-point dtype, falling, in float64.

    The difference is taken in float64 by blocks and never held as a whole. Where the Gram matrix does not hold every
    singular value, those of the triangular factor of Δ are taken: an update of few rows, say, has many that are zero.

    Raises:
        numpy.linalg.LinAlgError: LAPACK did not converge.
    """
    rows, columns = current.shape
    n = min(rows, columns)
    exponent = frexp(max(float(np.abs(block).max()) for block in _difference_blocks(current, previous)))[1]
    exponent = exponent if abs(exponent) > 400 else 0
    values = None
    if rows * columns * n > SMALL_WORK:
        product = np.zeros((n, n))
        for block in _difference_blocks(current, previous, exponent):
            product += block.T @ block
        squares = np.linalg.eigvalsh(product)[::-1]
        values = np.sqrt(squares) if squares[-1] > TRUSTED**2 * squares[0] else None
    if values is None:
        factor = triangular_factor(_difference_blocks(current, previous, exponent), n)
        values = np.linalg.svd(factor, compute_uv=False)
    return Spectrum(np.ldexp(values, exponent), rows, columns, unit_roundoff(current.dtype))


def _difference_blocks(current: Array, previous: Array, exponent: int = 0) -> Iterator[Matrix]:
    """(W_t − W_{t−1})·2^−exponent the tall way round, a few rows at a time in float64."""
    for piece, block in zip(slabs_of(current), blocks_of(previous, 0), strict=True):
        step = np.subtract(piece.astype(np.float64), block, out=block)
        yield np.ldexp(step, -exponent, out=step) if exponent else step
