"""Singular values against float64 SVDs and mpmath, for planted condition numbers, shapes and dtypes."""

from __future__ import annotations

import ml_dtypes
import mpmath
import numpy as np
import pytest
from builders import full_count

from analyzer.numerics import singular_values as decomposition
from analyzer.numerics.blocks import block_rows
from analyzer.numerics.gram import gram
from analyzer.numerics.singular_values import spectrum

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
