"""Gram matrices and triangular factors against plain numpy, over several blocks and at the edges of float64's range."""

from __future__ import annotations

from math import ldexp

import numpy as np
import pytest

from analyzer.numerics import gram as module
from analyzer.numerics.blocks import block_rows
from analyzer.numerics.gram import (
    Gram,
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


# ------------------------------------------------------------------------------------------ the smallest cases


@pytest.mark.parametrize("shape", [(3, 2), (2, 3)])
def test_the_gram_matrix_is_written_into_the_given_memory(shape):
    matrix, memory = np.arange(1.0, 7).reshape(shape), np.full((2, 2), 7.0)
    found = gram(matrix, 1, memory)
    assert found is memory
    tall = matrix if shape == (3, 2) else matrix.T
    np.testing.assert_array_equal(memory, tall.T @ tall / 4)


def test_blocks_are_added_up_whatever_was_in_the_memory_before():
    total = Gram(np.full((2, 2), np.nan))
    total.add(np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(total.matrix, [[1, 2], [2, 4]])
    total.add(np.array([[4.0, 0.0], [0.0, 8.0]]), exponent=1)
    np.testing.assert_array_equal(total.matrix, [[5, 2], [2, 20]])
    total.add(np.array([[4.0, 0.0]]), exponent=-1)
    np.testing.assert_array_equal(total.matrix, [[69, 2], [2, 20]])


def test_a_square_of_the_workspace_is_reused_only_at_its_size_and_for_its_use():
    first = workspace.square("one", 3)
    assert first.shape == (3, 3)
    assert workspace.square("one", 3) is first
    assert workspace.square("other", 3) is not first
    assert workspace.square("one", 4).shape == (4, 4)
    assert workspace.square("one", 2).shape == (2, 2)
    assert workspace.square("one", 0).shape == (0, 0)


@pytest.mark.parametrize("exponent", [0, 3, -3])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_are_widened_and_scaled_in_their_memory_order(dtype, order, exponent):
    for shape in ((2, 3), (40, 50), (3, 2), (1, 1)):  # the memory grows, and is then longer than the rows
        rows = np.asarray(np.arange(np.prod(shape)).reshape(shape), dtype=dtype, order=order)
        found = widen(rows, exponent)
        assert (found.dtype, found.flags.c_contiguous) == (np.float64, rows.flags.c_contiguous)
        assert found.flags.f_contiguous == rows.flags.f_contiguous
        np.testing.assert_array_equal(found, rows.astype(np.float64) * 2.0**-exponent)
    assert np.shares_memory(widen(np.ones((5, 5)), 0), widen(np.ones((2, 2)), 0))


@pytest.mark.parametrize("shape", [(7, 2), (2, 7)])
def test_a_tall_or_wide_matrix_is_cut_into_blocks_of_rows_of_the_tall_one(shape, monkeypatch):
    monkeypatch.setattr(module, "block_rows", lambda columns: {2: 3}[columns])
    matrix = np.arange(14.0).reshape(shape)
    tall = matrix if shape == (7, 2) else matrix.T
    assert [len(block) for block in stored_blocks(matrix)] == [3, 3, 1]
    np.testing.assert_array_equal(np.vstack(list(stored_blocks(matrix))), tall)
    np.testing.assert_array_equal(np.vstack([block.copy() for block in widened_blocks(matrix, 2)]), tall / 4)


def test_the_blocks_of_a_square_matrix_are_its_own_rows():
    matrix = np.array([[1.0, 2.0], [3.0, 4.0]])
    (block,) = stored_blocks(matrix)
    np.testing.assert_array_equal(block, matrix)


@pytest.mark.parametrize(
    ("largest", "exponent"),
    [(0.0, 0), (1.0, 0), (2.0**399, 0), (2.0**400, 401), (1.5 * 2.0**400, 401), (2.0**-401, 0), (2.0**-402, -401)],
)
def test_the_largest_magnitude_decides_the_scale(largest, exponent):
    assert scaling_exponent(largest) == exponent


@pytest.mark.parametrize(("rows", "n"), [(0, 3), (1, 3), (2, 3), (3, 3), (5, 3), (1, 1)])
def test_a_triangular_factor_is_square_upper_triangular_and_has_the_gram_matrix_of_its_blocks(rows, n):
    matrix = np.random.default_rng(rows).standard_normal((rows, n))
    factor = triangular_factor(iter([matrix[:2], np.zeros((2, n)), matrix[2:]]), n)
    assert factor.shape == (n, n)
    np.testing.assert_array_equal(np.tril(factor, -1), 0)
    np.testing.assert_allclose(factor.T @ factor, matrix.T @ matrix, atol=1e-13)
    assert not factor[rows:].any()


@pytest.mark.parametrize(
    ("n", "inverted"), [(1, [1]), (2, [2]), (63, [63]), (64, [64]), (65, [64, 1]), (130, [64, 64, 2])]
)
def test_a_triangle_is_solved_by_blocks_of_64(n, inverted, monkeypatch):
    generator = np.random.default_rng(n)
    factor = np.tril(generator.standard_normal((n, n)) / n, -1) + np.diag(1 + generator.random(n))
    right = generator.standard_normal((n, 3))
    expected = np.linalg.solve(factor @ factor.T, right)
    sizes, plain = [], np.linalg.inv
    monkeypatch.setattr(np.linalg, "inv", lambda block: sizes.append(len(block)) or plain(block))
    kept = right.copy()
    np.testing.assert_allclose(solver_by(factor)(right), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(right, kept)
    assert sizes == inverted
