"""Tensors stored as two factors: ΔW = scale · B · A of an adapter, whose rank r is far below its size.

The elements are those of the product in float64. Its singular values come from the r × r core: with B = Q₁R₁ and
Aᵀ = Q₂R₂ they are those of R₁R₂ᵀ, since Q₁ and Q₂ have orthonormal columns (Golub & Van Loan, Matrix Computations,
sec. 5.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from analyzer.model.observed import Spectrum
from analyzer.model.run import Product, TensorInfo
from analyzer.numerics.rounding import unit_roundoff
from analyzer.tensors.kinds import numpy_dtype
from analyzer.tensors.loading import SourceOf, load

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Factors:
    """The factors of ``scale`` · left · right in float64, of shapes (rows, r) and (r, columns)."""

    left: Matrix
    right: Matrix
    scale: float


def load_factors(product: Product, source_of: SourceOf) -> Factors:
    """Load both factors into new memory; they are small.

    Raises:
        CheckpointError: a file is truncated.
    """
    left, right = (_load(info, source_of) for info in (product.left, product.right))
    return Factors(left, right, product.scale)


def _load(info: TensorInfo, source_of: SourceOf) -> Matrix:
    memory = np.empty(prod(info.shape) * numpy_dtype(info.dtype).itemsize, np.uint8)
    return load(info, source_of, memory).astype(np.float64)


def multiply(factors: Factors, shape: tuple[int, ...], memory: npt.NDArray[np.uint8]) -> Matrix:
    """Write the elements of the product into ``memory`` and return a read-only float64 view of it in this shape."""
    rows, columns = len(factors.left), factors.right.shape[1]
    matrix = memory[: 8 * rows * columns].view(np.float64).reshape(rows, columns)
    np.matmul(factors.left, factors.right, out=matrix)
    matrix *= factors.scale
    array = matrix.reshape(shape)
    array.setflags(write=False)
    return array


def _triangle(matrix: Matrix) -> Matrix:
    """Return R of the QR decomposition."""
    return np.asarray(np.linalg.qr(matrix, mode="r"))


def product_spectrum(factors: Factors) -> Spectrum:
    """Return the singular values that are not zero by construction: r of them, or all if r is at least the size.

    Raises:
        numpy.linalg.LinAlgError: LAPACK's SVD did not converge.
    """
    left, right = (_triangle(factor) for factor in (factors.left, factors.right.T))
    values: Matrix = np.linalg.svd(left @ right.T, compute_uv=False).astype(np.float64)
    rows, columns = len(factors.left), factors.right.shape[1]
    return Spectrum(abs(factors.scale) * values, rows, columns, unit_roundoff(np.dtype(np.float64)))
