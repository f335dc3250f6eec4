"""P-values against a heteroskedasticity-robust regression with all of its matrices written out."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from analyzer.statistics import significance
from analyzer.statistics.coefficients import coefficients, z_scores
from analyzer.statistics.significance import (
    autocorrelations,
    benjamini_hochberg,
    effective_counts,
    effective_counts_of,
    p_values,
    slope_p_values,
)
from analyzer.statistics.trends import Trend

N = 40


def line_and_constant(n: int = N) -> Trend:
    """A trend of two parameters, no place of which has a large leverage."""
    basis, _ = np.linalg.qr(np.column_stack([np.ones(n), np.arange(n)]))
    return Trend(basis)


def robust(x: np.ndarray, y: np.ndarray, trend: Trend) -> tuple[float, float]:
    """The coefficient of x and its robust standard error in the regression of y on the trend and x.

    The sandwich (X'X)⁻¹ X' diag(u²) X (X'X)⁻¹ of MacKinnon & White (1985), one regressor after the other: what the
    trend leaves of the hat matrix's diagonal is corrected as in HC2, what x adds to it as in HC3.
    """
    design = np.column_stack([trend.basis, x])
    inverse = np.linalg.inv(design.T @ design)
    found = inverse @ design.T @ y
    hat, of_trend = np.diag(design @ inverse @ design.T), np.diag(trend.basis @ trend.basis.T)
    errors = y - design @ found
    squares = errors**2 / (1 - of_trend) / ((1 - hat) / (1 - of_trend)) ** 2
    covariance = inverse @ design.T @ np.diag(squares) @ design @ inverse
    return float(found[-1]), float(np.sqrt(covariance[-1, -1]))


def reference(x: np.ndarray, y: np.ndarray, trend: Trend, n_effective: float) -> float:
    """The larger p of both directions, of Student's t with as many degrees of freedom as are left."""
    n = len(x)
    count = n_effective
    found = []
    for first, second in ((x, y), (y, x)):
        slope, error = robust(first, second, trend)
        t = abs(slope) / error * np.sqrt(count / n)
        found.append(2 * scipy.stats.t.sf(t, count - trend.parameters - 1))
    return max(found)


@pytest.fixture(scope="module")
def pairs():
    """Series without their trend, whose noise grows over time, in x more than in y."""
    generator = np.random.default_rng(20)
    trend = line_and_constant()
    grown = np.linspace(0.2, 2.0, N)
    x = generator.standard_normal((3, N)) * grown**2
    y = 0.4 * x[[0, 1, 0, 2]] + generator.standard_normal((4, N)) * grown
    return trend, z_scores(trend.removed(x)), z_scores(trend.removed(y))


@pytest.mark.parametrize("n_effective", [10.0, 13.7, 25.0, float(N), 1.4 * N])
def test_p_values_are_those_of_the_regression_with_hc3_errors_in_the_weaker_direction(pairs, n_effective):
    trend, x, y = pairs
    counts = np.full((len(x), len(y)), n_effective)
    found = p_values(x, y, coefficients(x, y), counts, trend.leverage, trend.parameters)
    expected = np.array([[reference(a, b, trend, n_effective) for b in y] for a in x])
    assert found == pytest.approx(expected, rel=1e-9)
    assert found.min() < 0.2 < 0.5 < found.max()


def test_both_directions_matter(pairs):
    """Either direction has the larger error in some pair, so that the maximum is not one of the two by chance."""
    trend, x, y = pairs
    errors = np.array([[[robust(a, b, trend)[1], robust(b, a, trend)[1]] for b in y] for a in x])
    wider = errors[..., 0] > errors[..., 1]
    assert wider.any() and not wider.all()
    assert (np.abs(np.log(errors[..., 0] / errors[..., 1])).max()) > 0.05


def test_below_ten_effective_pairs_there_is_no_p_value(pairs):
    trend, x, y = pairs
    counts = np.full((len(x), len(y)), 10.0)
    counts[0, 0] = np.nextafter(10.0, 0)
    r = coefficients(x, y)
    r[1, 2] = np.nan
    found = p_values(x, y, r, counts, trend.leverage, trend.parameters)
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 0], [1, 2]]


def test_pairs_in_batches_have_the_same_p_values(pairs, monkeypatch):
    trend, x, y = pairs
    counts = np.full((len(x), len(y)), 20.0)
    arguments = x, y, coefficients(x, y), counts, trend.leverage, trend.parameters
    whole = p_values(*arguments)
    monkeypatch.setattr(significance, "PAIRS_AT_ONCE", 5)
    assert p_values(*arguments) == pytest.approx(whole, rel=1e-12)


def test_a_perfect_fit_has_the_p_value_zero():
    generator = np.random.default_rng(1)
    trend = line_and_constant(20)
    x = z_scores(trend.removed(generator.standard_normal((1, 20))))
    found = p_values(x, x, np.ones((1, 1)), np.full((1, 1), 20.0), trend.leverage, trend.parameters)
    assert found[0, 0] == pytest.approx(0.0, abs=1e-30)


def test_a_place_that_decides_the_slope_alone_counts_with_a_leverage_of_at_most_99_percent():
    n, leverage = 5, 0.2
    x = np.array([[2.0, -0.5, -0.5, -0.5, -0.5]])  # x²/n = 1 − leverage in the first place
    y = np.array([[1.9, -0.7, -0.2, -0.6, -0.4]])
    slope = np.array([0.9])
    errors = []
    for first, second in ((x[0], y[0]), (y[0], x[0])):
        share = [min(value**2 / n / (1 - leverage), 0.99) for value in first]
        residuals = [(b - 0.9 * a) / (1 - h) / np.sqrt(0.8) for a, b, h in zip(first, second, share, strict=True)]
        errors.append(np.sqrt(sum((a * e) ** 2 for a, e in zip(first, residuals, strict=True))) / n)
    expected = 2 * scipy.stats.t.sf(0.9 / max(errors) * np.sqrt(4.5 / 5), 4.5 - 2)
    found = slope_p_values(x, y, slope, np.array([4.5]), np.array([n]), np.full((1, n), leverage), 1)
    assert found[0] == pytest.approx(expected, rel=1e-12)


def test_q_values_of_a_textbook_family():
    """Benjamini & Hochberg (1995), table 1's idea on five numbers: p·m/rank, made monotone from the largest down."""
    p = np.array([[0.04], [0.01], [0.5], [0.03], [0.02]])
    assert benjamini_hochberg(p)[:, 0] == pytest.approx([0.05, 0.05, 0.5, 0.05, 0.05])
    p = np.array([[0.001], [0.9], [0.04], [0.03], [1.0]])
    assert benjamini_hochberg(p)[:, 0] == pytest.approx([0.005, 1.0, 0.2 / 3, 0.2 / 3, 1.0])


def test_q_values_of_each_column_are_its_own():
    p = np.array([[[0.04, 0.2]], [[0.01, 0.1]]])
    assert benjamini_hochberg(p).ravel() == pytest.approx([0.04, 0.2, 0.02, 0.2])


def past(values, lag):
    """The autocorrelation of numbers that sum to zero, term by term."""
    return sum(values[t] * values[t + lag] for t in range(len(values) - lag)) / len(values)


def effective(x, y, n, coefficient, lags):
    """Pyper & Peterman's number, less what a coupled pair shares by chance, and at most n."""
    products = [past(x, lag) * past(y, lag) * (len(x) / n) ** 2 for lag in range(1, lags + 1)]
    inverse = 1 / n
    for lag, product in enumerate(products, start=1):
        inverse += 2 / n * (1 - lag / n) * (product - coefficient**2 / n)
    return 1 / max(inverse, 1 / n)


@pytest.mark.parametrize("memory", [-0.5, 0.0, 0.5, 0.9])
@pytest.mark.parametrize("n", [10, 41])
def test_effective_counts_are_from_all_lags_and_at_most_the_number(n, memory):
    generator = np.random.default_rng(n)
    series = generator.standard_normal((5, n))
    for t in range(1, n):
        series[:, t] += memory * series[:, t - 1]
    x, y = z_scores(series[:2]), z_scores(series[2:])
    lags = n // 2
    r = coefficients(x, y)
    found = effective_counts(n, autocorrelations(x, lags), autocorrelations(y, lags), r)
    expected = [[effective(a, b, n, r[i, j], lags) for j, b in enumerate(y)] for i, a in enumerate(x)]
    assert found == pytest.approx(np.array(expected), rel=1e-9)
    assert (found <= n).all()
    pairs = effective_counts_of(x, y[:2], np.full(2, n), r[[0, 1], [0, 1]])
    assert pairs == pytest.approx(found[[0, 1], [0, 1]], rel=1e-9)


def test_points_that_are_left_out_count_neither_in_a_product_nor_in_the_number():
    x = np.array([1.0, -1.2, 0.0, 0.7, 0.9, -0.5, 0.0, 0.6, -1.0, -0.5, 1.1, -1.1])
    y = np.array([0.3, -0.8, 0.0, 1.1, 0.2, -1.5, 0.0, 1.2, 0.4, -0.9, 0.5, -0.5])
    found = effective_counts_of(x[None], y[None], np.array([10]), np.array([0.4]))
    assert found[0] == pytest.approx(effective(x, y, 10, 0.4, 6), rel=1e-9)


@pytest.mark.parametrize("values", [[2.0], [1.0, 2.0, -3.0], [1.0, -2.0, 4.0, 0.5]])
def test_an_autocorrelation_is_the_sum_of_products_over_the_number_of_points(values):
    expected = [past(values, lag) for lag in range(1, 4)]
    assert autocorrelations(np.array([values, values]), 3) == pytest.approx(np.array([expected] * 2), abs=1e-12)


def test_of_few_tests_without_numbers_only_the_numbers_count():
    p = np.array([np.nan, 0.02, np.nan, 0.01])
    assert benjamini_hochberg(p) == pytest.approx([np.nan, 0.02, np.nan, 0.02], nan_ok=True)
    assert benjamini_hochberg(np.array([0.7, 0.9, 0.8])) == pytest.approx([0.9] * 3)
    assert benjamini_hochberg(np.array([[0.01, 0.3], [0.02, 0.2], [0.9, 0.1]])) == pytest.approx(
        np.array([[0.03, 0.3], [0.03, 0.3], [0.9, 0.3]])
    )


@pytest.mark.parametrize("n_effective", [3.5, 5.0, 6.0])
def test_the_degrees_of_freedom_are_the_effective_pairs_less_the_trend_and_the_slope(n_effective):
    """Beside a slope and an error by hand: all numbers are of one magnitude, so that both directions agree."""
    x = np.array([[1.0, -1.0, 1.0, -1.0, 1.0, -1.0]])
    y = np.array([[1.0, -1.0, 1.0, 1.0, -1.0, -1.0]])
    slope, n, leverage = 1 / 3, 6, 0.1
    share = 1 / n / (1 - leverage)
    squares = sum((a * (b - slope * a) / (1 - share)) ** 2 / (1 - leverage) for a, b in zip(x[0], y[0], strict=True))
    count = n_effective
    t = slope / (np.sqrt(squares) / n) * np.sqrt(count / n)
    numbers = np.array([slope]), np.array([n_effective]), np.array([n]), np.full((1, n), leverage)
    expected = 2 * scipy.stats.t.sf(t, count - 1 - 2)
    assert slope_p_values(x, y, *numbers, 2)[0] == pytest.approx(expected, rel=1e-12)
    negative = (-numbers[0], *numbers[1:])
    assert slope_p_values(x, -y, *negative, 2)[0] == pytest.approx(expected, rel=1e-12)
