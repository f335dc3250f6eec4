"""Random matrix theory beside simulated noise: the bulk, its edge, what stands out, and condition numbers."""

from __future__ import annotations

from math import exp, pi, sqrt

import numpy as np
import pytest
from builders import save_weights, weightlapse_metadata
from commands import measured, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from threadpoolctl import threadpool_limits

from analyzer.metrics import METRICS, random_matrix
from analyzer.metrics.random_matrix import marchenko_pastur_median
from analyzer.model.observed import Spectrum
from analyzer.model.run import Value
from analyzer.numerics.singular_values import spectrum

FAMILY = ("mp_scale", "mp_edge", "mp_outlier_count", "mp_soft_rank")


@pytest.fixture(autouse=True, scope="module")
def one_thread_for_small_matrices():
    with threadpool_limits(1):
        yield


def values_of(its_spectrum) -> dict[str, Value]:
    return {name: METRICS[name].function(its_spectrum) for name in FAMILY}


def value(name, matrix) -> float:
    return METRICS[name].function(spectrum(matrix)).value


def noise(seed, m, n):
    return np.random.default_rng(seed).standard_normal((m, n))


@pytest.mark.parametrize("ratio", [1.0, 0.75, 0.5, 0.25, 0.1, 1e-3, 1e-6])
def test_the_median_halves_the_law_of_marchenko_and_pastur(ratio):
    median = marchenko_pastur_median(ratio)
    low, high = (1 - sqrt(ratio)) ** 2, (1 + sqrt(ratio)) ** 2

    def density(x):
        return sqrt(max(0.0, (high - x) * (x - low))) / (2 * pi * ratio * x)

    assert low < median < high
    assert quad(density, median, high, epsabs=1e-12)[0] == pytest.approx(0.5, abs=1e-10)


def test_the_median_gives_the_threshold_that_gavish_and_donoho_print():
    """ω(β) = λ*(β)/√μ_β: 2.858 for square matrices, 4/√3 being λ*; 2.1711 for β = 0.5 (their table IV)."""
    assert 4 / sqrt(3) / sqrt(marchenko_pastur_median(1.0)) == pytest.approx(2.858, abs=5e-4)
    beta = 0.5
    best = sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + sqrt(beta**2 + 14 * beta + 1)))
    assert best / sqrt(marchenko_pastur_median(beta)) == pytest.approx(2.1711, abs=5e-4)


@pytest.mark.parametrize("shape", [(400, 400), (600, 300), (200, 800)], ids=str)
@pytest.mark.parametrize("scale", [1.0, 0.02, 1e-160])
def test_scale_and_edge_of_noise_are_those_of_the_theory(shape, scale):
    found = values_of(spectrum(noise(1, *shape) * scale))
    assert found["mp_scale"].value == pytest.approx(scale, rel=0.02)
    assert found["mp_edge"].value == pytest.approx(scale * (sqrt(shape[0]) + sqrt(shape[1])), rel=0.02)
    assert found["mp_soft_rank"].value == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(("multiple", "is_zero"), [(3, True), (100, True), (101, False)])
def test_a_median_is_zero_up_to_the_larger_side_times_epsilon(multiple, is_zero):
    values = np.array([1.0, multiple * np.finfo(np.float64).eps, 0.0])
    found = values_of(Spectrum(values, rows=3, columns=100, noise=0.0))
    assert {one.status for one in found.values()} == {"undefined" if is_zero else "ok"}


def shares_with_outliers(m, n, count):
    counts = [value("mp_outlier_count", noise(seed, m, n)) for seed in range(count)]
    assert max(counts) <= 3
    return np.mean(np.array(counts) > 0)


@pytest.mark.parametrize(("m", "n", "count"), [(100, 100, 400), (240, 60, 400), (40, 500, 400)])
def test_pure_noise_has_an_outlier_about_once_in_twenty(m, n, count):
    assert 0.02 <= shares_with_outliers(m, n, count) <= 0.11


@pytest.mark.parametrize(("m", "n"), [(200, 200), (500, 100), (60, 400)])
def test_planted_spikes_are_counted(m, n):
    spikes = np.array([4.0, 3.0, 2.0]) * (sqrt(m) + sqrt(n))
    left, right = (np.linalg.qr(noise(2, side, 3))[0] for side in (m, n))
    spiked = [noise(100 + seed, m, n) + left * spikes @ right.T for seed in range(9)]
    counts = [value("mp_outlier_count", matrix) for matrix in spiked]
    assert np.median(counts) == 3
    assert set(counts) <= {3, 4}  # one more by chance
    assert value("mp_soft_rank", spiked[0]) == pytest.approx(1 / 16, rel=0.1)


@pytest.mark.parametrize(("m", "n"), [(300, 300), (900, 100), (37, 20)])
def test_an_outlier_lies_beyond_the_edge_and_the_tracy_widom_margin(m, n):
    values = np.linspace(1.05, 0.95, n)
    scale = np.median(values) / sqrt(m * marchenko_pastur_median(n / m))
    centre = (sqrt(m - 1) + sqrt(n)) ** 2
    width = (sqrt(m - 1) + sqrt(n)) * (1 / sqrt(m - 1) + 1 / sqrt(n)) ** (1 / 3)
    limit = scale * sqrt(centre + 0.9793161 * width)
    for factor, count in ((1 - 1e-6, 0), (1 + 1e-6, 1)):
        values[0] = limit * factor
        for shape in ((m, n), (n, m)):
            found = values_of(Spectrum(values, *shape, 2**-24))
            assert found["mp_outlier_count"].value == count
            assert found["mp_scale"].value == pytest.approx(scale, rel=1e-14)
            assert found["mp_edge"].value == pytest.approx(scale * (sqrt(m) + sqrt(n)), rel=1e-14)
            assert found["mp_soft_rank"].value == pytest.approx((found["mp_edge"].value / values[0]) ** 2, rel=1e-13)


@given(st.integers(0, 2**32 - 1), st.integers(3, 30), st.integers(3, 30), st.integers(-300, 300))
@settings(max_examples=40, deadline=None)
def test_scale_and_transposition(seed, m, n, exponent):
    matrix = noise(seed, m, n)
    one = values_of(spectrum(matrix))
    turned, scaled = values_of(spectrum(matrix.T)), values_of(spectrum(np.ldexp(matrix, exponent)))
    for name in ("mp_outlier_count", "mp_soft_rank"):
        assert turned[name].value == pytest.approx(one[name].value, rel=1e-9)
        assert scaled[name].value == pytest.approx(one[name].value, rel=1e-9)
    for name in ("mp_scale", "mp_edge"):
        assert scaled[name].value == pytest.approx(np.ldexp(one[name].value, exponent), rel=1e-9)


@pytest.mark.parametrize(
    "matrix",
    [np.zeros((8, 6)), np.outer(np.arange(1.0, 9), np.arange(1.0, 7)), noise(3, 90, 30) @ noise(4, 30, 90)],
    ids=["zero", "rank one", "a third of full rank"],
)
def test_where_half_of_the_singular_values_are_zero_there_is_no_bulk(matrix):
    assert set(values_of(spectrum(matrix)).values()) == {Value(None, "undefined")}


@pytest.mark.parametrize(
    ("values", "median"),
    [([5.0], 5.0), ([5.0, 2.0], 3.5), ([5.0, 2.0, 1.0], 2.0), ([5.0, 4.0, 2.0, 1.0], 3.0), ([9.0, 7, 3, 2, 1], 3.0)],
)
def test_the_scale_comes_from_the_middle_value_or_the_mean_of_the_middle_two(values, median):
    n, m = len(values), 8
    for shape in ((m, n), (n, m)):
        its_spectrum = Spectrum(np.array(values), *shape, 2**-24)
        expected = median / sqrt(m * marchenko_pastur_median(n / m))
        assert METRICS["mp_scale"].function(its_spectrum) == Value(pytest.approx(expected, rel=1e-14), "ok")


def test_the_spectrum_of_a_product_has_no_bulk():
    """A product of rank 2 has two singular values only, though min(rows, columns) is three."""
    for columns, status in ((3, "undefined"), (2, "ok")):
        found = values_of(Spectrum(np.array([2.0, 1.0]), 5, columns, 2**-24))
        assert {one.status for one in found.values()} == {status}


def test_a_value_at_the_limit_is_no_outlier():
    values = np.array([2.0, 1.0, 1.0, 0.5])
    first = Spectrum(values, 4, 9, 2**-24)
    bulk = random_matrix._bulk(first)
    root = sqrt(8) + 2
    limit = bulk.scale * sqrt(root**2 + 0.9793161 * root * (1 / sqrt(8) + 1 / 2) ** (1 / 3))
    assert bulk.outliers_from == pytest.approx(limit, rel=1e-15)
    assert bulk.edge == pytest.approx(bulk.scale * 5, rel=1e-15)
    for top, count in ((bulk.outliers_from, 0), (np.nextafter(bulk.outliers_from, 9), 1), (100.0, 1)):
        values[0] = top
        assert METRICS["mp_outlier_count"].function(Spectrum(values, 4, 9, 2**-24)).value == count


@pytest.mark.parametrize(
    ("ratio", "median"), [(1.0, 0.65277594163357), (0.5, 0.830465881581364), (0.1, 0.966565147402822), (1e-12, 1.0)]
)
def test_the_median_as_a_number(ratio, median):
    """By mpmath with 25 digits."""
    assert marchenko_pastur_median(ratio) == pytest.approx(median, abs=1e-12)
    assert (random_matrix.QUADRATURE_NODES, random_matrix.HALVINGS) == (80, 60)


# ----------------------------------------------------------------------------------- condition numbers of noise


@pytest.mark.parametrize(("m", "n"), [(1600, 400), (800, 400), (800, 600)])
def test_the_condition_number_follows_the_edges_of_marchenko_and_pastur(m, n):
    r = n / m
    assert value("condition_number", noise(5, m, n)) == pytest.approx((1 + sqrt(r)) / (1 - sqrt(r)), rel=0.06)


@pytest.mark.parametrize(("n", "count"), [(24, 2000), (72, 400)])  # by LAPACK's SVD, and by the Gram matrix
def test_square_noise_has_edelmans_condition_numbers(n, count):
    """κ/n has the distribution exp(−2/x − 2/x²), median 3.6713; the Kolmogorov bound is that of 1 %."""
    found = np.sort([value("condition_number", noise(seed, n, n)) / n for seed in range(count)])
    law = np.array([exp(-2 / x - 2 / x**2) for x in found])
    steps = np.arange(count + 1) / count
    distance = max(np.abs(law - steps[1:]).max(), np.abs(law - steps[:-1]).max())
    assert distance < 1.63 / sqrt(count)
    assert np.median(found) == pytest.approx(3.671317723800, abs=3 * 4.363 / sqrt(count))


def test_the_family_is_measured_by_default(tmp_path):
    weights = {
        "fc.weight": noise(6, 40, 25).astype(np.float32),
        "mlp.experts.weight": noise(7, 2, 120).reshape(2, 12, 10).astype(np.float32),
        "fc.bias": noise(8, 1, 40)[0].astype(np.float32),
    }
    for epoch in range(2):
        save_weights(tmp_path / "run" / f"epoch_{epoch}.safetensors", weights, weightlapse_metadata(epoch))
    rows = rows_of(measured(tmp_path / "run"))
    matrices = {"fc.weight": weights["fc.weight"]}
    matrices |= {f"mlp.experts.weight[{e}]": weights["mlp.experts.weight"][e] for e in range(2)}
    for name, matrix in matrices.items():
        expected = values_of(spectrum(matrix))
        for metric in FAMILY:
            row = rows["epoch_1.safetensors", "tensor", name, metric]
            assert (row["value"], row["status"]) == (expected[metric].value, "ok")
    assert {tensor for _, scope, tensor, metric in rows if (scope, metric) == ("tensor", "mp_edge")} == set(matrices)
