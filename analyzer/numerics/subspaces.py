"""Leading singular subspaces of a matrix, for metrics on request."""

from __future__ import annotations

from math import ldexp

import numpy as np

from analyzer.model.observed import LeadingSubspaces
from analyzer.model.run import Array, FloatArray
from analyzer.numerics.gram import gram, power_of_two, triangular_factor, widened_blocks
from analyzer.numerics.line_norms import largest_lines
from analyzer.numerics.rounding import EPSILON, rounding_noise, unit_roundoff
from analyzer.numerics.singular_values import TRUSTED_SMALLEST


def leading_subspaces(matrix: Array, count: int) -> LeadingSubspaces | None:
    """Return the spaces of the ``count`` leading left and right singular vectors; None if there are no more σ.

    The vectors of the short side come from the Gram matrix, of which only these are computed. Its rounding turns the
    space by up to :data:`GRAM_ERROR` of :mod:`.singular_values` · λ₁ / (λ_k − λ_{k+1}) (Davis & Kahan 1970): below 1e-6
    if σ_k is above :data:`TRUSTED_SMALLEST` · σ₁ and separated by 1e-3. If σ_k is smaller, they come from the
    triangular factor of W.

    Args:
        matrix: W, shape (rows, columns).
        count: k.

    Raises:
        numpy.linalg.LinAlgError: LAPACK did not converge.
    """
    from scipy.linalg import eigh

    rows, columns = matrix.shape
    n = min(rows, columns)
    if n <= count:
        return None
    exponent = power_of_two(matrix)
    product = gram(matrix, exponent)
    squares, vectors = eigh(product, subset_by_index=[n - count - 1, n - 1], overwrite_a=True, check_finite=False)
    values, short = np.sqrt(np.maximum(squares[::-1], 0.0)), vectors[:, :0:-1]
    if values[count - 1] < TRUSTED_SMALLEST * values[0]:
        factor = triangular_factor(widened_blocks(matrix, exponent), n)
        _, values, rotation = np.linalg.svd(factor)
        short = rotation[:count].T
    long = np.linalg.qr(_times(matrix, exponent, short))[0]
    smallest = float(values[count - 1])
    left, right = (long, short) if rows >= columns else (short, long)
    if smallest <= max(rows, columns) * EPSILON * float(values[0]):
        return LeadingSubspaces(left, right, 0.0, 0.0)
    noise = rounding_noise(unit_roundoff(matrix.dtype), ldexp(largest_lines(matrix, exponent), -exponent))
    return LeadingSubspaces(left, right, (smallest - float(values[count])) / smallest, noise / smallest)


def _times(matrix: Array, exponent: int, right: FloatArray) -> FloatArray:
    """Return W·X, shape (m, k), for X of shape (n, k)."""
    return np.concatenate([block @ right for block in widened_blocks(matrix, exponent)])
