"""Singular values against float64 SVDs and mpmath, for planted condition numbers, shapes and dtypes."""

from __future__ import annotations

import ml_dtypes
import mpmath
import numpy as np
import pytest
from builders import full_count

from analyzer.numerics import singular_values as decomposition
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
