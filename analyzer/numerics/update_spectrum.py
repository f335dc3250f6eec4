"""Singular values of the difference of two matrices, for metrics on request."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyzer.model.observed import Spectrum
from analyzer.model.run import Array, FloatArray
from analyzer.numerics.gram import scaling_exponent, stored_blocks, triangular_factor, widened_blocks
from analyzer.numerics.rounding import unit_roundoff
from analyzer.numerics.singular_values import SMALL_WORK, TRUSTED


def difference_spectrum(current: Array, previous: Array) -> Spectrum:
    """Return all singular values of W_t − W_{t−1} in descending order, in float64.

    The difference is computed in float64 by blocks and never stored as a whole. If the Gram matrix does not determine
    every singular value, they are those of the triangular factor of Δ: an update of few rows, for example, has many
    that are zero.

    Args:
        current: W_t, shape (rows, columns), any floating-point dtype.
        previous: W_{t−1}, the same shape.

    Raises:
        numpy.linalg.LinAlgError: LAPACK did not converge.
    """
    rows, columns = current.shape
    n = min(rows, columns)
    exponent = scaling_exponent(max(float(np.abs(block).max()) for block in _difference_blocks(current, previous)))
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


def _difference_blocks(current: Array, previous: Array, exponent: int = 0) -> Iterator[FloatArray]:
    """Yield (W_t − W_{t−1})·2^−exponent as a tall matrix, in blocks of rows in float64."""
    for rows, block in zip(stored_blocks(current), widened_blocks(previous, 0), strict=True):
        step = np.subtract(rows.astype(np.float64), block, out=block)
        yield np.ldexp(step, -exponent, out=step) if exponent else step
