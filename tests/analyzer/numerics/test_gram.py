"""Gram matrices and triangular factors against plain numpy, over several blocks and at the edges of float64's range."""

from __future__ import annotations

from math import ldexp

import numpy as np
import pytest

from analyzer.numerics.blocks import block_rows
from analyzer.numerics.gram import gram, power_of_two, stored_blocks, triangular_factor
from analyzer.numerics.singular_values import spectrum


def planted(values, shape=(120, 60), seed=0):
    """A matrix with these singular values."""
    generator = np.random.default_rng(seed)
    left, right = (np.linalg.qr(generator.standard_normal((size, len(values))))[0] for size in shape)
    return (left * values) @ right.T


SEVERAL_BLOCKS = (2 * block_rows(3) + 5, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), SEVERAL_BLOCKS, SEVERAL_BLOCKS[::-1]])
def test_the_gram_matrix_is_that_of_the_smaller_side(shape, dtype):
    matrix = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    tall = matrix.astype(np.float64) if shape[0] >= shape[1] else matrix.astype(np.float64).T
    np.testing.assert_allclose(gram(matrix), tall.T @ tall, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(gram(matrix, exponent=3), tall.T @ tall / 64, rtol=1e-12, atol=1e-9)
    np.testing.assert_array_equal(np.vstack(list(stored_blocks(matrix))), matrix if tall.shape == shape else matrix.T)


def test_the_triangular_factor_has_the_singular_values_of_all_blocks():
    blocks = list(np.random.default_rng(0).standard_normal((4, 6, 3)))
    blocks[1][2] = 0
    factor = triangular_factor(iter(blocks), 3)
    expected = np.linalg.svd(np.vstack(blocks), compute_uv=False)
    np.testing.assert_allclose(np.linalg.svd(factor, compute_uv=False), expected, rtol=1e-13)
    assert factor.shape == triangular_factor(iter([np.zeros((4, 3))]), 3).shape == (3, 3)


def test_a_triangular_factor_leaves_out_only_rows_that_are_entirely_zero():
    block = np.array([[3.0, 0.0], [0.0, 0.0], [0.0, 4.0]])
    factor = triangular_factor(iter([block]), 2)
    assert np.linalg.svd(factor, compute_uv=False) == pytest.approx([4.0, 3.0])


@pytest.mark.parametrize(
    ("largest", "exponent"),
    [
        (1.0, 0),
        (ldexp(1, 399), 0),
        (ldexp(1, 400), 401),
        (-ldexp(1, 450), 451),
        (ldexp(1, -401), 0),
        (ldexp(1, -402), -401),
        (-ldexp(1, -450), -449),
    ],
)
def test_only_magnitudes_beyond_two_to_the_400_are_scaled(largest, exponent):
    matrix = np.zeros((3, 4))
    matrix[1, 2] = largest
    assert power_of_two(matrix) == exponent
    if abs(largest) < 3e38:
        assert power_of_two(matrix.astype(np.float32)) == 0


@pytest.mark.parametrize("exponent", [-1000, -520, -450, -399, 399, 450, 520, 1000])
def test_the_scale_of_float64_weights_does_not_change_their_spectrum(exponent):
    """Squares of 2^±520 are outside of float64; those of 2^±450 and of 2^±399 are inside, as are their sums."""
    values = np.append(np.linspace(1, 0.3, 59), 1e-6)
    matrix = planted(values)
    assert matrix.shape[0] * matrix.shape[1] ** 2 > 300_000  # large enough to use the Gram matrix
    found = spectrum(np.ldexp(matrix, exponent))
    np.testing.assert_allclose(np.ldexp(found.values, -exponent), values, rtol=1e-9)
