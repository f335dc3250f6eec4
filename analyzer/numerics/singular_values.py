"""Singular values of dense matrices in float64, by the cheapest method that is accurate enough, with an error bound.

The Gram matrix G = WᵀW (or WWᵀ, whichever is smaller) costs a fraction of an SVD but squares the condition number:
σ is lost below about √eps·σ₁. So the large end comes from G, and only values below :data:`TRUSTED` · σ₁ are recomputed
from W itself; if that does not converge, LAPACK's SVD is used. The method is written once, for a :class:`GramBackend`:
the few expensive operations, done here by numpy and in :mod:`.torch_backend` on a graphics card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import numpy as np

from analyzer.model.observed import Spectrum
from analyzer.model.run import Array, FloatArray
from analyzer.numerics.gram import (
    Solve,
    gram,
    power_of_two,
    scaling_exponent,
    solver_by,
    stored_blocks,
    triangular_factor,
    widen,
    widened_blocks,
    workspace,
)
from analyzer.numerics.line_norms import largest_lines
from analyzer.numerics.rounding import EPSILON, rounding_noise, unit_roundoff

Blocks = Callable[[], Iterator[FloatArray]]  # each call yields W from its first row to its last, in blocks of rows
Decompose = Callable[[Array, int], "tuple[FloatArray | None, float | None]"]

# Up to this m·n² LAPACK's SVD takes less than a fifth of a millisecond, and the Gram matrix gains nothing.
SMALL_WORK = 300_000
# The error of λ(G) is up to this times λ₁ (measured up to 4096 columns); the relative error of σ is half of it times
# (σ₁/σ)².
GRAM_ERROR = 40 * EPSILON
# Every σ below this share of σ₁, where that error is 4e-7, is computed from W instead. The smallest σ, which determines
# the condition number, is computed from W already below the second share, where the error is 1e-9.
TRUSTED = 1 / 10_000
TRUSTED_SMALLEST = 1 / 500
SPARE_DIRECTIONS = 4
KRYLOV_DEPTH = 8
# Relative residual at which a σ computed from W has converged. The true error is far smaller: it is quadratic in it.
RESIDUAL = 1e-6
MOST_ROUNDS = 4
# An SVD's absolute error is a small multiple of eps·σ₁ (Golub & Van Loan, FloatArray Computations, sec. 8.6).
SVD_ERROR = 4 * EPSILON
PLAIN_ROUNDING = 1e-9  # a relative error below this is not reported


class GramBackend(Protocol):
    """Operations on W·2^−exponent as a tall matrix (m, n) on some device; arguments and results are numpy arrays."""

    def eigenvalues(self) -> FloatArray:
        """Return the eigenvalues of G = WᵀW in ascending order, shape (n,)."""

    def solver(self, shift: float) -> Solve | None:
        """Return X ↦ (G + shift·I)⁻¹·X, shape (n, k), by a Cholesky factor; None if that does not exist."""

    def triangle(self, right: FloatArray) -> FloatArray:
        """Return R of the QR decomposition of W·X, shape (k, k), for X of shape (n, k)."""

    def norms_and_gram_product(self, right: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return ‖W·x‖² for each column x of X, shape (k,), and Wᵀ·(W·X), shape (n, k)."""


def decompose_with_numpy(matrix: Array, exponent: int) -> tuple[FloatArray | None, float | None]:
    """Return the spectrum of W·2^−exponent and its error bound from the Gram matrix; None if that is not accurate."""
    total = gram(matrix, exponent, workspace.square("total", min(matrix.shape)))
    return values_from_gram(_NumpyBackend(total, partial(widened_blocks, matrix, exponent)))


def spectrum(matrix: Array, decompose: Decompose = decompose_with_numpy) -> Spectrum:
    """Return all singular values of a finite matrix in descending order, in float64.

    No array of rows × columns in float64 is allocated unless the SVD is needed.

    Args:
        matrix: W, shape (rows, columns), any floating-point dtype.
        decompose: the method by the Gram matrix: :func:`decompose_with_numpy` or the same on another device.

    Returns:
        the values; ``bound`` on the relative error of the smallest one is None if that is plain rounding.

    Raises:
        numpy.linalg.LinAlgError: neither of LAPACK's two SVD algorithms converged.
    """
    rows, columns = matrix.shape
    n = min(rows, columns)
    exponent = power_of_two(matrix)
    found = decompose(matrix, exponent) if rows * columns * n > SMALL_WORK else (None, None)
    values, bound = _with_svd_fallback(*found, partial(widened_blocks, matrix, exponent))
    noise = rounding_noise(unit_roundoff(matrix.dtype), largest_lines(matrix, exponent))
    return Spectrum(np.ldexp(values, exponent), rows, columns, noise, bound)


def spectrum_of_blocks(total: FloatArray, blocks: Callable[[], Iterator[Array]], rows: int, noise: float) -> Spectrum:
    """Return the spectrum of a tall matrix (rows, columns) that is nowhere in memory as a whole.

    The result has the same bits as that of :func:`spectrum`.

    Args:
        total: its :class:`Gram` matrix, shape (columns, columns), accumulated from the blocks.
        blocks: yields the blocks of :func:`stored_blocks` on each call; called if G is not accurate enough.
        rows: number of rows of W, greater than its number of columns.
        noise: its :func:`.rounding.rounding_noise`. The stored dtype must not be float64: there is no scaling.
    """

    def widened() -> Iterator[FloatArray]:
        return (widen(block, 0) for block in blocks())

    columns = len(total)
    found = values_from_gram(_NumpyBackend(total, widened)) if rows * columns**2 > SMALL_WORK else (None, None)
    values, bound = _with_svd_fallback(*found, widened)
    return Spectrum(values, rows, columns, noise, bound)


def difference_values(current: Array, previous: Array) -> FloatArray:
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
    return np.asarray(np.ldexp(values, exponent), dtype=np.float64)


def _difference_blocks(current: Array, previous: Array, exponent: int = 0) -> Iterator[FloatArray]:
    """Yield (W_t − W_{t−1})·2^−exponent as a tall matrix, in blocks of rows in float64."""
    for rows, block in zip(stored_blocks(current), widened_blocks(previous, 0), strict=True):
        step = np.subtract(rows.astype(np.float64), block, out=block)
        yield np.ldexp(step, -exponent, out=step) if exponent else step


def _with_svd_fallback(
    values: FloatArray | None, bound: float | None, blocks: Blocks
) -> tuple[FloatArray, float | None]:
    """Return the values from the Gram matrix or else those of LAPACK's SVD, with the bound if it is worth reporting."""
    if values is None:
        values = _svd(blocks())
        bound = SVD_ERROR * float(values[0]) / float(values[-1]) if values[-1] > 0 else None
    return values, bound if bound and bound > PLAIN_ROUNDING else None


def _svd(blocks: Iterator[FloatArray]) -> FloatArray:
    """Return the singular values by LAPACK's gesdd, or gesvd if that does not converge, of W, or of R if in blocks."""
    factor = next(blocks).copy()  # the next block overwrites it
    for block in blocks:
        factor = np.asarray(np.linalg.qr(np.vstack([factor, block]), mode="r"), dtype=np.float64)
    try:
        values = np.linalg.svd(factor, compute_uv=False)
    except np.linalg.LinAlgError:
        from scipy.linalg import svd

        values = svd(factor, compute_uv=False, lapack_driver="gesvd")
    return np.asarray(values, dtype=np.float64)


def values_from_gram(backend: GramBackend) -> tuple[FloatArray | None, float | None]:
    """Return the singular values from the Gram matrix and the error bound of the smallest; None if not accurate."""
    squares = backend.eigenvalues()
    largest = float(squares[-1])
    if not largest > 0:
        return None, None
    n = len(squares)
    values = np.sqrt(np.maximum(squares[::-1], 0.0))
    if squares[0] > TRUSTED_SMALLEST**2 * largest:
        return values, None
    doubtful = int(np.searchsorted(squares, TRUSTED**2 * largest))
    refined = _smallest(backend, n, largest, max(1, doubtful)) if doubtful <= max(8, n // 16) else None
    if refined is not None:
        smallest, bound = refined
        values[n - len(smallest) :] = smallest
        return np.sort(values)[::-1], bound
    if doubtful:
        return None, None
    # The lower end is dense, so single vectors converge slowly; the values from G are still accurate to this bound.
    return values, GRAM_ERROR / 2 * largest / float(squares[0])


def _smallest(backend: GramBackend, n: int, largest: float, count: int) -> tuple[FloatArray, float] | None:
    """Compute the ``count`` smallest of n singular values, in descending order, from products with W itself.

    A block Krylov space of (G + shift·I)⁻¹ contains their right singular vectors as accurately as G determines them.
    The singular values of the thin product W·X are free of G's squaring, and so is the residual r = Wᵀ(W·x) − σ²x; each
    round adds the residuals, preconditioned with G's Cholesky factor, to the space (block Davidson; Golub & Van Loan,
    sec. 10.6). ‖r‖ in the norm of G⁻¹, over σ, bounds the relative distance to the nearest singular value (Mathias &
    Veselić, A relative perturbation bound for positive definite matrices, LAA 1998); the plain norm would give eps·κ².

    Returns:
        the values and the largest relative residual; None if it does not become small.
    """
    # The smallest shift that rounding in G allows.
    shifts = (0.0, EPSILON * largest, 10 * EPSILON * largest, n * EPSILON * largest)
    solve = next((found for found in map(backend.solver, shifts) if found), None)
    if solve is None:
        return None
    basis = np.random.default_rng(0).standard_normal((n, min(n, count + SPARE_DIRECTIONS)))
    space = np.empty((n, 0))
    for _ in range(KRYLOV_DEPTH):
        basis = _orthonormal(space, solve(basis))
        space = np.hstack([space, basis])
    for _ in range(MOST_ROUNDS):
        rotation = np.linalg.svd(backend.triangle(space))[2][-count:]
        found = space @ rotation.T
        # Recomputed rather than rotated: a rotated column keeps rounding of the size of the largest one.
        squares, back = backend.norms_and_gram_product(found)
        if not squares.min() > 0:
            return None
        residual = back - found * squares
        correction = solve(residual)
        error = float(np.sqrt(np.maximum((residual * correction).sum(axis=0), 0.0) / squares).max())
        if error <= RESIDUAL:
            return np.sort(np.sqrt(squares))[::-1], error
        space = np.hstack([space, _orthonormal(space, correction)])
    return None


def _orthonormal(space: FloatArray, block: FloatArray) -> FloatArray:
    """Return an orthonormal basis of ``block`` (n, k) orthogonal to ``space``; twice is enough (Kahan)."""
    for _ in range(2):
        block = np.linalg.qr(block - space @ (space.T @ block))[0]
    return block


class _NumpyBackend:
    """:class:`GramBackend` by numpy's BLAS and LAPACK, which release the interpreter's lock."""

    def __init__(self, total: FloatArray, blocks: Blocks) -> None:
        self.gram, self.blocks = total, blocks

    def eigenvalues(self) -> FloatArray:
        # G.T equals G, but has the memory order that LAPACK expects: nothing has to be transposed.
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
        return solver_by(factor)

    def triangle(self, right: FloatArray) -> FloatArray:
        images = (block @ right for block in self.blocks())
        return triangular_factor(images, right.shape[1])

    def norms_and_gram_product(self, right: FloatArray) -> tuple[FloatArray, FloatArray]:
        squares, back = np.zeros(right.shape[1]), np.zeros(right.shape)
        for block in self.blocks():
            image = block @ right
            squares += (image**2).sum(axis=0)
            back += block.T @ image
        return squares, back
