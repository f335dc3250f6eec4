"""Singular values of dense matrices in float64, by the cheapest way that holds the accuracy, with its error known.

The Gram matrix G = WᵀW (or WWᵀ, whichever is smaller) costs a fraction of an SVD but squares the condition number:
σ is lost below about √eps·σ₁. So the large end is taken from G, and only what lies below :data:`TRUSTED` · σ₁ is mended
from W itself; where that does not converge, LAPACK's SVD decides. This is written once, over :class:`Products`: the few
operations that cost time, done here by numpy and in ``gpu.py`` on a graphics card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import numpy as np

from analyzer.model.observed import Spectrum
from analyzer.numerics.gram import (
    Array,
    Matrix,
    blocks_of,
    gram,
    lent,
    power_of_two,
    triangular_factor,
    widened_into_lent,
)
from analyzer.numerics.rounding import unit_roundoff

Solve = Callable[[Matrix], Matrix]
Blocks = Callable[[], Iterator[Matrix]]  # W from its first row to its last, some rows at a time, each time anew
FromGram = Callable[[Array, int], "tuple[Matrix | None, float | None]"]

EPSILON = float(np.finfo(np.float64).eps)
# Up to this m·n² LAPACK's SVD takes less than a fifth of a millisecond and the Gram matrix gains nothing.
SMALL_WORK = 300_000
# λ(G) is wrong by up to this times λ₁ (measured up to 4096 columns), hence σ relatively by half of it times (σ₁/σ)².
GRAM_ERROR = 40 * EPSILON
# Every σ below this share of σ₁, where that comes to 4e-7, is taken from W instead; and the smallest one, which makes
# the condition number, already below the second share, where it is 1e-9.
TRUSTED = 1 / 10_000
TRUSTED_SMALLEST = 1 / 500
SPARE_DIRECTIONS = 4
KRYLOV_DEPTH = 8
TRIANGLE_BLOCK = 64  # columns of a triangle that are inverted together
# Relative residual at which a σ taken from W counts as found. The true error is far smaller: it goes with the square.
RESIDUAL = 1e-6
MOST_ROUNDS = 4
# An SVD's absolute error is a small multiple of eps·σ₁ (Golub & Van Loan, Matrix Computations, sec. 8.6).
SVD_ERROR = 4 * EPSILON
PLAIN_ROUNDING = 1e-9  # a relative error below this is not worth a word beside the value


class Products(Protocol):
    """W·2^−exponent the tall way round, (m, n), on some device; what goes in and comes out are small numpy arrays."""

    def eigenvalues(self) -> Matrix:
        """Those of G = WᵀW, rising, shape (n,)."""

    def solver(self, shift: float) -> Solve | None:
        """X ↦ (G + shift·I)⁻¹·X, shape (n, k), by Cholesky's factor; None where that does not exist."""

    def triangle(self, right: Matrix) -> Matrix:
        """R of the QR decomposition of W·X, shape (k, k), for X of shape (n, k)."""

    def there_and_back(self, right: Matrix) -> tuple[Matrix, Matrix]:
        """‖W·x‖² for each column x of X, shape (k,), and Wᵀ·(W·X), shape (n, k)."""


def by_numpy(matrix: Array, exponent: int) -> tuple[Matrix | None, float | None]:
    """The spectrum of W·2^−exponent and its bound by way of the Gram matrix; None where that way does not hold."""
    total = gram(matrix, exponent, lent.square("total", min(matrix.shape)))
    return from_gram(_NumpyProducts(total, partial(blocks_of, matrix, exponent)))


def spectrum(matrix: Array, by_gram: FromGram = by_numpy) -> Spectrum:
    """All singular values of a finite matrix (rows, columns) of any floating-point dtype, falling, in float64.

    Nothing of rows × columns is held in float64 unless the SVD has to decide.

    Args:
        matrix: W.
        by_gram: the way by the Gram matrix, :func:`by_numpy` or the same on another device.

    Returns:
        the values; ``bound`` on the relative error of the smallest one is None where that is plain rounding.

    Raises:
        numpy.linalg.LinAlgError: neither of LAPACK's two SVD algorithms converged.
    """
    rows, columns = matrix.shape
    n = min(rows, columns)
    exponent = power_of_two(matrix)
    found = by_gram(matrix, exponent) if rows * columns * n > SMALL_WORK else (None, None)
    values, bound = _or_by_svd(*found, partial(blocks_of, matrix, exponent))
    return Spectrum(np.ldexp(values, exponent), rows, columns, unit_roundoff(matrix.dtype), bound)


def spectrum_of_blocks(total: Matrix, blocks: Callable[[], Iterator[Array]], rows: int, roundoff: float) -> Spectrum:
    """The same bits as :func:`spectrum` for a tall matrix (rows, columns) that is nowhere as a whole.

    Args:
        total: its :class:`Gram` matrix, shape (columns, columns), added up from the blocks.
        blocks: gives the blocks of :func:`slabs_of` as stored, each time anew; called where G is not enough.
        rows: rows of W, more than it has columns.
        roundoff: unit roundoff u of the stored dtype, which is not float64: no scaling.
    """

    def widened() -> Iterator[Matrix]:
        return (widened_into_lent(block, 0) for block in blocks())

    columns = len(total)
    found = from_gram(_NumpyProducts(total, widened)) if rows * columns**2 > SMALL_WORK else (None, None)
    values, bound = _or_by_svd(*found, widened)
    return Spectrum(values, rows, columns, roundoff, bound)


def _or_by_svd(values: Matrix | None, bound: float | None, blocks: Blocks) -> tuple[Matrix, float | None]:
    """What the Gram matrix gave, or else LAPACK's SVD; with the bound where it is worth a word."""
    if values is None:
        values = _svd(blocks())
        bound = SVD_ERROR * float(values[0]) / float(values[-1]) if values[-1] > 0 else None
    return values, bound if bound and bound > PLAIN_ROUNDING else None


def _svd(blocks: Iterator[Matrix]) -> Matrix:
    """LAPACK's gesdd, and gesvd where that does not converge, of W or, where that comes in several blocks, of its R."""
    factor = next(blocks).copy()  # the next block takes its place
    for block in blocks:
        factor = np.asarray(np.linalg.qr(np.vstack([factor, block]), mode="r"), dtype=np.float64)
    try:
        values = np.linalg.svd(factor, compute_uv=False)
    except np.linalg.LinAlgError:
        from scipy.linalg import svd

        values = svd(factor, compute_uv=False, lapack_driver="gesvd")
    return np.asarray(values, dtype=np.float64)


def from_gram(products: Products) -> tuple[Matrix | None, float | None]:
    """The spectrum by way of the Gram matrix and the error bound of its end, or None where that way does not hold."""
    squares = products.eigenvalues()
    largest = float(squares[-1])
    if not largest > 0:
        return None, None
    n = len(squares)
    values = np.sqrt(np.maximum(squares[::-1], 0.0))
    if squares[0] > TRUSTED_SMALLEST**2 * largest:
        return values, None
    doubtful = int(np.searchsorted(squares, TRUSTED**2 * largest))
    mended = _smallest(products, n, largest, max(1, doubtful)) if doubtful <= max(8, n // 16) else None
    if mended is not None:
        smallest, bound = mended
        values[n - len(smallest) :] = smallest
        return np.sort(values)[::-1], bound
    if doubtful:
        return None, None
    # A dense lower end, in which single vectors converge slowly; G's own values are still good to this bound.
    return values, GRAM_ERROR / 2 * largest / float(squares[0])


def _smallest(products: Products, n: int, largest: float, count: int) -> tuple[Matrix, float] | None:
    """The ``count`` smallest of n singular values, falling, from products with W itself.

    A block Krylov space of (G + shift·I)⁻¹ holds their right singular vectors as well as G knows them. The singular
    values of the thin product W·X are free of G's squaring, and so is the residual r = Wᵀ(W·x) − σ²x; each round adds
    the residuals, preconditioned with G's Cholesky factor, to the space (block Davidson; Golub & Van Loan, sec. 10.6).
    ‖r‖ in the norm of G⁻¹, over σ, bounds the relative distance to the nearest singular value (Mathias & Veselić,
    A relative perturbation bound for positive definite matrices, LAA 1998); the plain norm would say eps·κ².

    Returns:
        the values and the largest relative residual; None where it does not become small.
    """
    # The smallest shift that rounding in G allows.
    shifts = (0.0, EPSILON * largest, 10 * EPSILON * largest, n * EPSILON * largest)
    solve = next((found for found in map(products.solver, shifts) if found), None)
    if solve is None:
        return None
    basis = np.random.default_rng(0).standard_normal((n, min(n, count + SPARE_DIRECTIONS)))
    space = np.empty((n, 0))
    for _ in range(KRYLOV_DEPTH):
        basis = _orthonormal(space, solve(basis))
        space = np.hstack([space, basis])
    for _ in range(MOST_ROUNDS):
        turn = np.linalg.svd(products.triangle(space))[2][-count:]
        found = space @ turn.T
        # Anew rather than turned: a turned column keeps rounding of the size of the largest one.
        squares, back = products.there_and_back(found)
        if not squares.min() > 0:
            return None
        residual = back - found * squares
        correction = solve(residual)
        error = float(np.sqrt(np.maximum((residual * correction).sum(axis=0), 0.0) / squares).max())
        if error <= RESIDUAL:
            return np.sort(np.sqrt(squares))[::-1], error
        space = np.hstack([space, _orthonormal(space, correction)])
    return None


def _orthonormal(space: Matrix, block: Matrix) -> Matrix:
    """An orthonormal basis of ``block`` (n, k) without what lies in ``space``; twice is enough (Kahan)."""
    for _ in range(2):
        block = np.linalg.qr(block - space @ (space.T @ block))[0]
    return block


class _NumpyProducts:
    """:class:`Products` by numpy's BLAS and LAPACK, which let other threads run."""

    def __init__(self, total: Matrix, blocks: Blocks) -> None:
        self.gram, self.blocks = total, blocks

    def eigenvalues(self) -> Matrix:
        # G.T is G, but for LAPACK it lies in memory the way it wants it: nothing has to be transposed.
        return np.asarray(np.linalg.eigvalsh(self.gram.T), dtype=np.float64)

    def solver(self, shift: float) -> Solve | None:
        diagonal = self.gram.diagonal().copy()
        np.fill_diagonal(self.gram, diagonal + shift)
        try:
            factor = np.asarray(np.linalg.cholesky(self.gram.T), dtype=np.float64)
        except np.linalg.LinAlgError:
            return None
        finally:
            np.fill_diagonal(self.gram, diagonal)
        return _solver_by(factor)

    def triangle(self, right: Matrix) -> Matrix:
        images = (block @ right for block in self.blocks())
        return triangular_factor(images, right.shape[1])

    def there_and_back(self, right: Matrix) -> tuple[Matrix, Matrix]:
        squares, back = np.zeros(right.shape[1]), np.zeros(right.shape)
        for block in self.blocks():
            image = block @ right
            squares += (image**2).sum(axis=0)
            back += block.T @ image
        return squares, back


def _solver_by(factor: Matrix) -> Solve:
    """X ↦ (L·Lᵀ)⁻¹·X for a lower triangular L, (n, n), by substitution of blocks.

    What scipy has for it would take longer to import than a small run to measure. (Golub & Van Loan, Matrix
    Computations, sec. 3.1.4.)
    """
    n = len(factor)
    blocks = [slice(start, min(start + TRIANGLE_BLOCK, n)) for start in range(0, n, TRIANGLE_BLOCK)]
    inverses = [np.linalg.inv(factor[block, block]) for block in blocks]

    def solve(right: Matrix) -> Matrix:
        found = np.empty(right.shape)
        for block, inverse in zip(blocks, inverses, strict=True):
            found[block] = inverse @ (right[block] - factor[block, : block.start] @ found[: block.start])
        for block, inverse in zip(reversed(blocks), reversed(inverses), strict=True):
            found[block] = inverse.T @ (found[block] - factor[block.stop :, block].T @ found[block.stop :])
        return found

    return solve
