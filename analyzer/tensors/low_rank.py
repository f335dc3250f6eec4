"""Tensors stored as two factors: ΔW = scale · B · A of an adapter, whose rank r is far below its size.

The elements are those of the product in float64. Its singular values come from the r × r core: with B = Q₁R₁ and
Aᵀ = Q₂R₂ they are those of R₁R₂ᵀ, since Q₁ and Q₂ have orthonormal columns (Golub & Van Loan, Matrix Computations,
sec. 5.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analyzer.model.observed import Spectrum
from analyzer.model.run import Product
from analyzer.numerics.gram import power_of_two
from analyzer.numerics.line_norms import largest_lines
from analyzer.numerics.rounding import rounding_noise, unit_roundoff
from analyzer.tensors.kinds import numpy_dtype, size_of
from analyzer.tensors.loading import SourceOf, load

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Factors:
    """The factors of ``scale`` · left · right in float64, of shapes (rows, r) and (r, columns).

    ``roundoff`` is the unit roundoff u of their stored dtype, the larger one if they have two.
    """

    left: Matrix
    right: Matrix
    scale: float
    roundoff: float


def load_factors(product: Product, source_of: SourceOf) -> Factors:
    """Load both factors into new memory; they are small.

    Raises:
        CheckpointError: a file is truncated.
    """
    left, right = (
        load(info, source_of, np.empty(size_of(info), np.uint8)).astype(np.float64)
        for info in (product.left, product.right)
    )
    roundoff = max(unit_roundoff(numpy_dtype(info.dtype)) for info in (product.left, product.right))
    return Factors(left, right, product.scale, roundoff)


def multiply(factors: Factors, shape: tuple[int, ...], memory: npt.NDArray[np.uint8]) -> Matrix:
    """Write the elements of the product into ``memory`` and return a read-only float64 view of it in this shape."""
    rows, columns = len(factors.left), factors.right.shape[1]
    matrix = memory[: 8 * rows * columns].view(np.float64).reshape(rows, columns)
    np.matmul(factors.left, factors.right, out=matrix)
    matrix *= factors.scale
    array = matrix.reshape(shape)
    array.setflags(write=False)
    return array


def product_spectrum(factors: Factors, product: Matrix) -> Spectrum:
    """Return the singular values that are not zero by construction: r of them, or all if r is at least the size.

    Args:
        factors: the factors.
        product: their product times the scale, (rows, columns), as :func:`multiply` returns it.

    Raises:
        numpy.linalg.LinAlgError: LAPACK's SVD did not converge.
    """
    left, right = (np.asarray(np.linalg.qr(factor, mode="r")) for factor in (factors.left, factors.right.T))
    values: Matrix = np.linalg.svd(left @ right.T, compute_uv=False).astype(np.float64)
    rows, columns = len(factors.left), factors.right.shape[1]
    noise = rounding_noise(factors.roundoff, largest_lines(product, power_of_two(product)))
    return Spectrum(abs(factors.scale) * values, rows, columns, noise)
