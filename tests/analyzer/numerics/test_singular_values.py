"""Singular values against float64 SVDs and mpmath, for planted condition numbers, shapes and dtypes."""

from __future__ import annotations

import ml_dtypes
import mpmath
import numpy as np
import pytest
from builders import full_count

from analyzer.numerics import gram as gram_module
from analyzer.numerics import singular_values as decomposition
from analyzer.numerics.blocks import block_rows
from analyzer.numerics.gram import gram, stored_blocks
from analyzer.numerics.singular_values import difference_values, spectrum, spectrum_of_blocks, values_from_gram

DTYPES = {"float64": np.float64, "float32": np.float32, "bfloat16": ml_dtypes.bfloat16}
SHAPES = full_count(
    [(2, 2), (40, 7), (7, 40), (90, 90), (300, 200), (200, 300), (700, 128)], [(2, 2), (7, 40), (150, 100), (90, 120)]
)
LARGE_SHAPES = [(2048, 512), (768, 768), (1024, 2048)]
ENDS = ("even", "one_small", "few_small")


def planted(shape, kappa, end, dtype, seed=0):
    """A matrix whose σ fall evenly on a log scale, or are of one size but for one or a few small ones."""
    generator = np.random.default_rng(seed)
    n = min(shape)
    left, right = (np.linalg.qr(generator.standard_normal((size, n)))[0] for size in shape)
    values = np.logspace(0, -np.log10(kappa), n) if end == "even" else np.linspace(1, 0.3, n)
    if end == "one_small":
        values[-1] = 1 / kappa
    if end == "few_small":
        few = min(5, n - 1)
        values[n - few :] = np.logspace(-np.log10(kappa) / 2, -np.log10(kappa), few)
    return ((left * values) @ right.T).astype(dtype)


def assert_agrees(matrix):
    found = spectrum(matrix).values
    true = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    assert (np.diff(found) <= 0).all()
    seen = true > 1e-8 * true[0]
    np.testing.assert_allclose(found[seen], true[seen], rtol=1e-6)
    if true[0] <= 1e8 * true[-1]:
        assert found[0] / found[-1] == pytest.approx(true[0] / true[-1], rel=1e-6)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    "kappa", full_count([1.0, 1e2, 3e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e10, 1e12], [1.0, 3e3, 1e5, 1e8, 1e12])
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_planted_spectra_agree_with_the_float64_svd(shape, dtype, kappa, end):
    for seed in range(full_count(5, 1)):
        assert_agrees(planted(shape, kappa, end, DTYPES[dtype], seed))


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kappa", full_count([1e3, 1e5, 1e7, 1e8, 1e11], [1e4, 1e8]))
@pytest.mark.parametrize("shape", full_count(LARGE_SHAPES, LARGE_SHAPES[:1]), ids=str)
def test_large_planted_spectra_agree_with_the_float64_svd(shape, kappa, end):
    assert_agrees(planted(shape, kappa, end, np.float32))


def test_the_small_end_is_better_than_a_float64_svd_of_the_gram_matrix_could_be():
    """κ = 1e7 squared is beyond float64: the mended value must not come from G. mpmath knows the true one."""
    matrix = planted((150, 60), 1e7, "one_small", np.float64)
    assert matrix.shape[0] * matrix.shape[1] ** 2 > decomposition.SMALL_WORK
    with mpmath.workdps(40):
        true = min(mpmath.svd_r(mpmath.matrix(matrix.tolist()), compute_uv=False))
    assert spectrum(matrix).values[-1] == pytest.approx(float(true), rel=1e-8)
    from_gram = np.sqrt(np.abs(np.linalg.eigvalsh(gram(matrix))[0]))
    assert abs(from_gram / float(true) - 1) > 1e-6


def test_the_mended_end_is_used_rather_than_the_svd(monkeypatch):
    def refuse(*_):
        raise AssertionError("fell back to the SVD")

    matrices = [planted((400, 256), kappa, "few_small", np.float32) for kappa in (1e4, 1e6, 1e8)]
    expected = [np.linalg.svd(matrix.astype(np.float64), compute_uv=False) for matrix in matrices]
    monkeypatch.setattr(decomposition, "_svd", refuse)
    for matrix, true in zip(matrices, expected, strict=True):
        np.testing.assert_allclose(spectrum(matrix).values, true, rtol=1e-6)


def test_the_bound_holds_and_grows_with_the_condition_number():
    bounds = []
    for kappa in (1e2, 1e7, 1e8, 1e11):
        matrix = planted((300, 200), kappa, "one_small", np.float64)
        found = spectrum(matrix)
        true = np.linalg.svd(matrix, compute_uv=False)
        bounds.append(found.bound or 0.0)
        assert abs(found.values[-1] / true[-1] - 1) <= max(2 * bounds[-1], 1e-9)
    assert bounds[0] == 0 < bounds[1] < bounds[3]


@pytest.mark.parametrize("scale", [1e-30, 1e20, 1e-140, 1e140])
def test_scaling_the_matrix_scales_the_spectrum(scale):
    matrix = np.random.default_rng(0).standard_normal((120, 90))
    np.testing.assert_allclose(spectrum(scale * matrix).values, scale * spectrum(matrix).values, rtol=1e-12)


def test_the_small_end_comes_from_all_blocks_of_a_tall_matrix(monkeypatch):
    """A tall matrix is multiplied block by block; the smallest σ needs the products with every one."""
    matrix = planted((2 * block_rows(48) + 5, 48), 1e6, "one_small", np.float64)
    monkeypatch.setattr(decomposition, "_svd", lambda _: pytest.fail("the Gram matrix suffices"))
    assert_agrees(matrix)


def test_transposing_changes_nothing_but_rounding():
    matrix = planted((300, 180), 1e6, "few_small", np.float64)
    np.testing.assert_allclose(spectrum(matrix).values, spectrum(matrix.T).values, rtol=1e-8)


def test_nothing_of_the_whole_matrix_is_held_in_float64():
    import tracemalloc

    matrix = np.random.default_rng(0).standard_normal((60_000, 64), dtype=np.float32)
    spectrum(matrix[:5000])  # imports and first use
    tracemalloc.start()
    spectrum(matrix)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.6 * 8 * matrix.size


def test_same_matrix_same_bits():
    matrix = planted((300, 200), 1e6, "few_small", np.float32)
    assert spectrum(matrix).values.tobytes() == spectrum(matrix.copy()).values.tobytes()


def with_smallest(share, seed):
    """A float64 matrix whose σ fall from 1 to 0.3, but for the smallest, which is ``share``."""
    return planted((300, 100), 1 / share, "one_small", np.float64, seed)


@pytest.mark.parametrize("share", [1 / 300, 1 / 499, 1 / 600, 1 / 2000, 1 / 5000, 1 / 9000])
def test_the_smallest_value_is_accurate_to_1e_9(share):
    """The Gram matrix alone is not: its error is up to 20 · eps · (σ₁/σ)², 1e-9 at σ₁/500."""
    errors, from_gram = [], []
    for seed in range(6):
        matrix = with_smallest(share, seed)
        true = np.linalg.svd(matrix, compute_uv=False)[-1]
        errors.append(abs(spectrum(matrix).values[-1] / true - 1))
        from_gram.append(abs(np.sqrt(np.linalg.eigvalsh(matrix.T @ matrix)[0]) / true - 1))
    assert max(errors) <= 1e-9
    if share < 1 / 3000:
        assert max(from_gram) > 1e-9  # so that the test fails if such a value comes from the Gram matrix


@pytest.mark.parametrize("share", [1 / 600, 1 / 3000, 1 / 9000])
def test_the_bound_of_a_dense_lower_end_is_that_of_the_gram_matrix(monkeypatch, share):
    """Where the smallest values do not converge one by one, those of G are used, with a bound that contains them."""
    monkeypatch.setattr(decomposition, "_smallest", lambda *_: None)
    for seed in range(3):
        matrix = planted((300, 100), 1 / share, "even", np.float64, seed)
        found, true = spectrum(matrix), np.linalg.svd(matrix, compute_uv=False)
        expected = 20 * 2.0**-52 / share**2
        assert found.bound == pytest.approx(expected, rel=1e-5)
        assert abs(found.values[-1] / true[-1] - 1) <= found.bound
    assert 1e-9 < expected < 4.4e-7


def test_the_gram_matrix_is_not_used_for_values_below_a_ten_thousandth(monkeypatch):
    monkeypatch.setattr(decomposition, "_smallest", lambda *_: None)
    for seed in range(3):
        matrix = planted((300, 100), 50_000, "even", np.float64, seed)
        found, true = spectrum(matrix), np.linalg.svd(matrix, compute_uv=False)[-1]
        assert found.values[-1] == pytest.approx(true, rel=1e-10)
        assert found.bound is None  # of the SVD: plain rounding


# ------------------------------------------------------------------------------- which method is used, and from where

EPSILON = 2.0**-52


def test_the_constants_of_the_method():
    assert (decomposition.SMALL_WORK, decomposition.GRAM_ERROR, decomposition.SVD_ERROR) == (
        300_000,
        40 * EPSILON,
        4 * EPSILON,
    )
    assert (decomposition.TRUSTED, decomposition.TRUSTED_SMALLEST, decomposition.RESIDUAL) == (1e-4, 2e-3, 1e-6)
    assert (decomposition.SPARE_DIRECTIONS, decomposition.KRYLOV_DEPTH, decomposition.MOST_ROUNDS) == (4, 8, 4)
    assert decomposition.PLAIN_ROUNDING == 1e-9


@pytest.mark.parametrize(
    ("shape", "by_gram"), [((3000, 10), False), ((3001, 10), True), ((10, 3000), False), ((10, 3001), True)]
)
def test_the_gram_matrix_is_used_above_300_000_operations(shape, by_gram, monkeypatch):
    matrix = np.zeros(shape, dtype=np.float32)
    matrix[0, 0] = 3
    asked = []

    def decompose(*arguments):
        asked.append(arguments)
        return np.array([5.0, 4.0]), 2e-9

    found = spectrum(matrix, decompose)
    assert (found.rows, found.columns) == shape
    assert found.noise == pytest.approx(0.424661 * 2**-24 * 6, rel=1e-6)
    if by_gram:
        assert [(one is matrix, exponent) for one, exponent in asked] == [(True, 0)]
        assert (found.values.tolist(), found.bound) == ([5, 4], 2e-9)
    else:
        assert asked == []
        assert (found.values.tolist(), found.bound) == ([3] + 9 * [0], None)
    squares = []
    monkeypatch.setattr(decomposition, "values_from_gram", lambda _: squares.append(1) or (np.array([5.0]), None))
    difference_values(matrix, np.zeros_like(matrix))
    monkeypatch.setattr(np.linalg, "eigvalsh", lambda product: squares.append(2) or np.ones(len(product)))
    difference_values(matrix, np.zeros_like(matrix))
    assert squares == ([2] if by_gram else [])
    if shape[0] > shape[1]:
        spectrum_of_blocks(np.eye(10), lambda: iter([matrix]), shape[0], 2**-24)
        assert squares == ([2, 1] if by_gram else [])


def test_the_values_are_scaled_back():
    matrix = np.ldexp(np.diag([4.0, 2.0]), 500)
    asked = []
    spectrum(np.ldexp(np.eye(70), 500), lambda _, exponent: asked.append(exponent) or (np.ones(1), None))
    assert asked == [501]
    assert spectrum(matrix).values.tolist() == [2.0**502, 2.0**501]
    assert spectrum(np.ldexp(np.eye(70), 500), lambda *_: (np.array([0.5]), None)).values.tolist() == [2.0**500]


@pytest.mark.parametrize(
    ("values", "bound", "expected"),
    [
        ([2.0, 1.0], None, None),
        ([2.0, 1.0], 0.0, None),
        ([2.0, 1.0], 1e-9, None),
        ([2.0, 1.0], 1.001e-9, 1.001e-9),
        (None, 5.0, "of the SVD"),
    ],
)
def test_a_bound_above_plain_rounding_is_reported(values, bound, expected):
    wide = [np.diag([2.0, 2e-8])]
    given = None if values is None else np.array(values)
    found, reported = decomposition._with_svd_fallback(given, bound, lambda: iter(wide))
    assert found.tolist() == pytest.approx([2.0, 2e-8] if values is None else values)
    assert reported == (pytest.approx(4 * EPSILON * 1e8) if expected == "of the SVD" else expected)


@pytest.mark.parametrize(("smallest", "has_bound"), [(0.0, False), (1e-6, False), (8e-7, True), (1e-300, True)])
def test_the_bound_of_an_svd_is_four_epsilon_of_the_largest_over_the_smallest(smallest, has_bound):
    found = spectrum(np.diag([1.0, smallest]))
    assert found.values.tolist() == [1.0, smallest]
    assert found.bound == (pytest.approx(4 * EPSILON / smallest) if has_bound else None)


def test_the_svd_of_several_blocks_is_that_of_all_rows(monkeypatch):
    monkeypatch.setattr(gram_module, "block_rows", lambda columns: 2 * columns)
    matrix = np.random.default_rng(0).standard_normal((23, 4)).astype(np.float32)
    expected = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(spectrum(matrix).values, expected, rtol=1e-13)
    plain = np.linalg.svd

    def fail(*_, **__):
        raise np.linalg.LinAlgError

    monkeypatch.setattr(np.linalg, "svd", fail)
    found = spectrum(matrix).values
    monkeypatch.setattr(np.linalg, "svd", plain)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert found.shape == (4,)


class Diagonal:
    """A backend of W = diag(values) in ascending order; ``solvable`` says for which shifts there is a factor."""

    def __init__(self, values, solvable=lambda shift: True):
        self.values, self.solvable = np.array(values), solvable
        self.shifts, self.solved, self.factored = [], [], []

    def eigenvalues(self):
        return self.values**2

    def solver(self, shift):
        self.shifts.append(shift)

        def solve(right):
            self.solved.append(right.shape)
            return right / (self.values**2 + shift)[:, None]

        return solve if self.solvable(shift) else None

    def triangle(self, right):
        self.factored.append(right.shape)
        return np.linalg.qr(self.values[:, None] * right, mode="r")

    def norms_and_gram_product(self, right):
        images = self.values[:, None] * right
        return (images**2).sum(axis=0), self.values[:, None] * images


def graded(n, small):
    """n values in ascending order: ``small``, then some from 0.3 to 1."""
    return np.r_[small, np.linspace(0.3, 1, n - len(small))]


@pytest.mark.parametrize(("smallest", "trusted"), [(1 / 499, True), (1 / 501, False), (1e-3, False)])
def test_all_values_are_those_of_the_gram_matrix_if_the_smallest_is_above_a_five_hundredth(smallest, trusted):
    backend = Diagonal(graded(20, [smallest]))
    values, bound = values_from_gram(backend)
    np.testing.assert_allclose(values, backend.values[::-1], rtol=1e-12)
    assert (bound is None, backend.shifts) == (trusted, [] if trusted else [0.0])


@pytest.mark.parametrize("squares", [[0.0, 0.0], [-1.0, -1e-20], [np.nan, np.nan]])
def test_a_gram_matrix_without_a_positive_eigenvalue_determines_nothing(squares):
    backend = Diagonal([1.0, 1.0])
    backend.eigenvalues = lambda: np.array(squares)
    assert values_from_gram(backend) == (None, None)


@pytest.mark.parametrize(
    ("n", "doubtful", "asked"),
    [
        (20, 0, 1),
        (20, 1, 1),
        (20, 2, 2),
        (20, 8, 8),
        (20, 9, None),
        (143, 9, None),
        (144, 9, 9),
        (160, 10, 10),
        (160, 11, None),
    ],
)
def test_up_to_eight_values_or_a_sixteenth_are_computed_again(n, doubtful, asked, monkeypatch):
    values = graded(n, [1e-3] if not doubtful else np.linspace(1e-6, 0.99e-4, doubtful))
    calls = []
    monkeypatch.setattr(decomposition, "_smallest", lambda *arguments: calls.append(arguments))
    backend = Diagonal(values)
    found, bound = values_from_gram(backend)
    assert calls == ([] if asked is None else [(backend, n, 1.0, asked)])
    if doubtful:
        assert (found, bound) == (None, None)
    else:
        np.testing.assert_allclose(found, values[::-1])
        assert bound == pytest.approx(20 * EPSILON * 1e6)


def test_values_just_above_a_ten_thousandth_are_not_doubtful(monkeypatch):
    asked = []
    monkeypatch.setattr(decomposition, "_smallest", lambda *arguments: asked.append(arguments[3]))
    values_from_gram(Diagonal(graded(20, [0.9e-4, 0.99e-4, 1.01e-4, 1.1e-4])))
    assert asked == [2]


def test_the_values_that_were_computed_again_replace_the_last_ones_in_their_order(monkeypatch):
    monkeypatch.setattr(decomposition, "_smallest", lambda *_: (np.array([0.35, 5e-5]), 3e-8))
    values, bound = values_from_gram(Diagonal([1e-5, 2e-5, 0.3, 0.5, 1.0]))
    assert (values.tolist(), bound) == ([1.0, 0.5, 0.35, 0.3, 5e-5], 3e-8)


def test_negative_eigenvalues_count_as_zero(monkeypatch):
    backend = Diagonal([0.0, 0.3, 1.0])
    backend.eigenvalues = lambda: np.array([-1e-17, 0.09, 1.0])
    monkeypatch.setattr(decomposition, "_smallest", lambda *_: (np.array([1e-9]), 0.0))
    assert values_from_gram(backend)[0].tolist() == [1.0, 0.3, 1e-9]


@pytest.mark.parametrize("first", [0, 1, 2, 3, 4])
def test_the_smallest_shift_that_allows_a_factor_is_used(first):
    largest, n = 4.0, 100
    shifts = [0.0, EPSILON * largest, 10 * EPSILON * largest, n * EPSILON * largest]
    backend = Diagonal(2 * graded(n, [1e-6]), lambda shift: first < 4 and shift >= shifts[first])
    found = decomposition._smallest(backend, n, largest, 1)
    assert backend.shifts == shifts[: first + 1]
    if first == 4:
        assert found is None
    else:
        assert found[0].tolist() == pytest.approx([2e-6], rel=1e-9)


@pytest.mark.parametrize("n", [4, 5, 6])
def test_the_space_is_no_wider_than_the_matrix(n):
    backend = Diagonal(graded(n, [1e-5]))
    decomposition._smallest(backend, n, 1.0, 1)
    assert backend.solved[:8] == [(n, min(n, 5))] * 8


@pytest.mark.parametrize(("n", "count", "width"), [(200, 1, 5), (200, 3, 7), (100, 8, 12)])
def test_the_space_is_of_the_smallest_values_and_four_more(n, count, width):
    backend = Diagonal(graded(n, np.linspace(1e-5, 3e-5, count)))
    values, error = decomposition._smallest(backend, n, 1.0, count)
    assert backend.solved[:8] == [(n, width)] * 8
    assert backend.solved[8:] == [(n, count)] * len(backend.factored)
    assert backend.factored[0] == (n, 8 * width)
    np.testing.assert_allclose(values, np.linspace(1e-5, 3e-5, count)[::-1], rtol=1e-12)
    assert 0 <= error <= 1e-6


class Residual(Diagonal):
    """A backend with the same squares and residual for each vector, whose solver changes nothing."""

    def __init__(self, square, residual, n=4):
        super().__init__(np.ones(n))
        self.square, self.residual = square, residual

    def solver(self, shift):
        return lambda right: right

    def norms_and_gram_product(self, right):
        back = right * self.square
        back[0] += self.residual
        return np.full(right.shape[1], self.square), back


@pytest.mark.parametrize(
    ("square", "residual", "rounds"),
    [
        (1.0, 0.99e-6, 1),
        (1.0, 1.01e-6, None),
        (4.0, 1.98e-6, 1),
        (4.0, 2.02e-6, None),
        (0.25, 0.51e-6, None),
        (0.0, 0.0, 0),
    ],
)
def test_a_residual_relative_to_its_value_of_a_millionth_has_converged(square, residual, rounds):
    backend = Residual(square, residual)
    found = decomposition._smallest(backend, 4, 1.0, 1)
    if rounds == 1:
        assert found[0].tolist() == [square**0.5]
        assert found[1] == pytest.approx(residual / square**0.5, rel=1e-6)
    else:
        assert found is None
    assert len(backend.factored) == (4 if rounds is None else 1)


def test_the_found_values_fall_and_the_largest_error_counts():
    backend = Residual(1.0, 0.0)
    backend.norms_and_gram_product = lambda right: (
        np.array([1.0, 9.0, 4.0]),
        right * [1.0, 9.0, 4.0] + np.eye(4)[:, :3] * [1e-7, 9e-7, 4e-7],
    )
    values, error = decomposition._smallest(backend, 4, 1.0, 3)
    assert values.tolist() == [3.0, 2.0, 1.0]
    assert error == pytest.approx(3e-7, rel=1e-6)


def test_a_basis_is_orthonormal_and_orthogonal_to_the_space_even_if_it_nearly_lies_in_it():
    generator = np.random.default_rng(0)
    space = np.linalg.qr(generator.standard_normal((20, 3)))[0]
    block = space @ generator.standard_normal((3, 2)) + 1e-10 * generator.standard_normal((20, 2))
    basis = decomposition._orthonormal(space, block)
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-14)
    assert np.abs(space.T @ basis).max() < 1e-14
    rest = block - space @ (space.T @ block)
    assert np.abs(rest - basis @ (basis.T @ rest)).max() < 1e-15


def test_the_numpy_backend_solves_with_a_shift_and_restores_the_diagonal(monkeypatch):
    monkeypatch.setattr(gram_module, "block_rows", lambda columns: columns)
    matrix = np.random.default_rng(0).standard_normal((11, 4))
    total, right = matrix.T @ matrix, np.arange(12.0).reshape(4, 3)
    backend = decomposition._NumpyBackend(total.copy(), lambda: stored_blocks(matrix))
    np.testing.assert_allclose(backend.eigenvalues(), np.linalg.eigvalsh(total), rtol=1e-13)
    np.testing.assert_allclose(backend.solver(0.5)(right), np.linalg.solve(total + 0.5 * np.eye(4), right), rtol=1e-10)
    assert backend.solver(-1e3) is None
    np.testing.assert_array_equal(backend.gram, total)
    triangle = backend.triangle(right)
    np.testing.assert_allclose(triangle.T @ triangle, right.T @ total @ right, rtol=1e-10)
    squares, back = backend.norms_and_gram_product(right)
    np.testing.assert_allclose(squares, ((matrix @ right) ** 2).sum(axis=0), rtol=1e-13)
    np.testing.assert_allclose(back, total @ right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kappa", [10.0, 1e3, 1e5, 1e12])
@pytest.mark.parametrize("shape", [(40, 5), (300, 60)])
def test_a_matrix_in_blocks_has_the_same_bits_as_the_whole(shape, kappa, monkeypatch):
    monkeypatch.setattr(gram_module, "block_rows", lambda columns: columns)
    for end, dtype in (("one_small", np.float32), ("even", ml_dtypes.bfloat16)):
        matrix = planted(shape, kappa, end, dtype)
        expected = spectrum(matrix)
        found = spectrum_of_blocks(gram(matrix), lambda matrix=matrix: stored_blocks(matrix), len(matrix), 0.25)
        assert found.values.tobytes() == expected.values.tobytes()
        assert (found.rows, found.columns, found.noise) == (*shape, 0.25)
        assert found.bound == expected.bound


@pytest.mark.parametrize("exponent", [-900, -150, 0, 420])
@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (5, 5), (90, 70), (70, 90)])
def test_the_spectrum_of_a_difference_is_that_of_the_subtracted_matrix(shape, exponent, monkeypatch):
    monkeypatch.setattr(gram_module, "block_rows", lambda columns: columns)
    current, previous = np.random.default_rng(1).standard_normal((2, *shape))
    exact = np.linalg.svd(current - previous, compute_uv=False)
    found = difference_values(np.ldexp(current, exponent), np.ldexp(previous, exponent))
    np.testing.assert_allclose(np.ldexp(found, -exponent), exact, rtol=1e-10)


@pytest.mark.parametrize(("share", "factored"), [(1 / 9900, False), (1 / 10_100, True)])
def test_a_difference_is_factored_if_its_smallest_value_is_below_a_ten_thousandth(share, factored, monkeypatch):
    calls, plain = [], decomposition.triangular_factor
    monkeypatch.setattr(decomposition, "triangular_factor", lambda *some: calls.append(some[1]) or plain(*some))
    step = with_smallest(share, 0)
    found = difference_values(step, np.zeros_like(step))
    assert found[-1] == pytest.approx(share, rel=1e-6)
    assert found[0] == pytest.approx(1, rel=1e-12)
    assert calls == ([100] if factored else [])
