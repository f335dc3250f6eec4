"""The power law of the eigenvalues, beside the package ``powerlaw`` and beside the definition written out."""

from __future__ import annotations

import tracemalloc
import warnings
from math import inf, log, log10

import numpy as np
import pytest
from builders import save_weights, weightlapse_metadata
from commands import measured, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.metrics import METRICS
from analyzer.model.observed import PowerLaw, Spectrum
from analyzer.model.run import UNDEFINED, Value
from analyzer.numerics import power_law
from analyzer.numerics.power_law import fit_power_law
from analyzer.numerics.singular_values import spectrum

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the package's own
    import powerlaw

FAMILY = ("alpha", "alpha_xmin", "alpha_ks_distance", "alpha_tail_count", "alpha_weighted")


def gaussian(generator, m, n):
    return generator.standard_normal((m, n))


def heavy(generator, m, n):
    return generator.standard_t(2, (m, n))


def trained(generator, m, n):
    """Noise, and an eighth of the directions grown by a power law."""
    left = np.linalg.qr(generator.standard_normal((m, n // 8)))[0]
    right = np.linalg.qr(generator.standard_normal((n, n // 8)))[0]
    return generator.standard_normal((m, n)) / np.sqrt(n) + left * 4 * np.arange(1, n // 8 + 1) ** -0.7 @ right.T


def pareto(generator, m, n):
    return generator.pareto(1.5, (m, n))


KINDS = [gaussian, heavy, trained, pareto]
SHAPES = [(24, 10), (64, 200), (160, 160), (400, 150)]


def of_eigenvalues(eigenvalues, rows=None) -> Spectrum:
    values = np.sqrt(np.sort(np.asarray(eigenvalues, dtype=np.float64)))[::-1]
    return Spectrum(values, rows or len(values), len(values), 2**-53)


def written_out(eigenvalues) -> tuple[float, float, float, int]:
    """(alpha, xmin, distance, count) by the definition, one xmin after the other; the smallest xmin of equals."""
    x = np.sort(eigenvalues)
    fits = []
    for xmin in np.unique(x)[:-2]:
        above = x[x >= xmin]
        alpha = 1 + len(above) / np.log(above / xmin).sum()
        below = np.searchsorted(above, above, side="left") / len(above)  # the share strictly below
        distance = np.abs(1 - (above / xmin) ** (1 - alpha) - below).max()
        fits.append((alpha, xmin, distance, len(above)))
    return min(fits, key=lambda fit: fit[2])


def by_the_package(eigenvalues, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return powerlaw.Fit(eigenvalues, verbose=0, **options)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("make", KINDS)
def test_alpha_and_xmin_agree_with_the_package(make, shape):
    its_spectrum = spectrum(make(np.random.default_rng(sum(shape)), *shape).astype(np.float32))
    eigenvalues = np.square(its_spectrum.values)
    ours = fit_power_law(its_spectrum)
    theirs = by_the_package(eigenvalues, parameter_ranges={"alpha": [1, None]})
    assert ours.alpha == pytest.approx(theirs.alpha, rel=1e-9)
    assert ours.xmin == pytest.approx(theirs.xmin, rel=1e-9)
    assert ours.ks_distance == pytest.approx(theirs.D, abs=1e-9)
    assert ours.tail_count == theirs.n_tail
    # Left to itself, version 2 of the package drops every tail with alpha of 3 and more.
    theirs = by_the_package(eigenvalues)
    if ours.alpha < 2.98:
        assert (ours.alpha, ours.xmin) == pytest.approx((theirs.alpha, theirs.xmin), rel=1e-9)
    else:
        assert theirs.alpha < 3
        assert ours.ks_distance <= theirs.D


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("make", KINDS)
def test_the_fit_is_its_definition(make, shape):
    eigenvalues = np.square(spectrum(make(np.random.default_rng(7), *shape)).values)
    fit = fit_power_law(of_eigenvalues(eigenvalues, max(shape)))
    found = (fit.alpha, fit.xmin, fit.ks_distance, fit.tail_count)
    assert found == pytest.approx(written_out(eigenvalues), rel=1e-9)


@pytest.mark.parametrize("make", KINDS)
def test_no_tail_is_passed_over_that_could_be_the_best(make, monkeypatch):
    """With bounds from two points and one candidate at a time, the best is rarely the first to be looked at."""
    spectra = [spectrum(make(np.random.default_rng(seed), 64, 40)) for seed in range(12)]
    fits = [fit_power_law(one) for one in spectra]
    monkeypatch.setattr(power_law, "SAMPLES", 2)
    monkeypatch.setattr(power_law, "CANDIDATES", 1)
    assert [fit_power_law(one) for one in spectra] == fits


@given(st.lists(st.integers(1, 30), min_size=4, max_size=60).filter(lambda some: len(set(some)) >= 4))
@settings(max_examples=150, deadline=None)
def test_equal_eigenvalues_count_each(some):
    eigenvalues = np.array(some, dtype=np.float64)
    fit = fit_power_law(of_eigenvalues(eigenvalues))
    _, _, distance, _ = written_out(eigenvalues)
    # The square of a rounded root: where two tails are equally far, rounding may choose the other.
    assert fit.ks_distance == pytest.approx(distance, abs=1e-12)
    above = eigenvalues[eigenvalues >= fit.xmin * (1 - 1e-12)]
    assert fit.tail_count == len(above)
    assert fit.alpha == pytest.approx(1 + len(above) / np.log(above / above.min()).sum(), rel=1e-12)


@pytest.mark.parametrize("exponent", [1.5, 2.5, 4.0, 8.0])
def test_the_exponent_of_a_pareto_sample_is_found_within_its_standard_error(exponent):
    eigenvalues = np.random.default_rng(1).pareto(exponent - 1, 3000) + 1
    fit = fit_power_law(of_eigenvalues(eigenvalues))
    assert abs(fit.alpha - exponent) < 3 * (exponent - 1) / np.sqrt(fit.tail_count)
    assert fit.ks_distance < 1.6 / np.sqrt(fit.tail_count)


@given(st.integers(0, 2**32 - 1), st.floats(1e-60, 1e60))
@settings(max_examples=30, deadline=None)
def test_alpha_ignores_scale(seed, factor):
    values = np.sort(np.random.default_rng(seed).pareto(2.0, 50))[::-1]
    one, other = (fit_power_law(Spectrum(values * by, 50, 50, 2**-53)) for by in (1.0, factor))
    assert one.alpha == pytest.approx(other.alpha, rel=1e-9)
    assert one.tail_count == other.tail_count
    assert one.xmin * factor**2 == pytest.approx(other.xmin, rel=1e-9)


def test_eigenvalues_of_zero_and_of_rounding_are_left_out():
    values = np.sort(np.random.default_rng(2).pareto(2.0, 80))[::-1]
    clean = fit_power_law(Spectrum(values, 200, 80, 2**-24))
    padded = np.concatenate([values, values[0] * 200 * 2**-52 * np.array([1.0, 0.5, 1e-3, 1e-9]), np.zeros(6)])
    assert fit_power_law(Spectrum(padded, 200, 90, 2**-24)) == clean
    # One that is just above counts: in a flat spectrum it does not make the tail, but two of them are distinct.
    few = np.array([4.0, 3.0, 2.0, 200 * 2**-52 * 4.0])
    assert fit_power_law(Spectrum(few, 200, 4, 2**-24)) is None
    assert fit_power_law(Spectrum(few * [1, 1, 1, 1.01], 200, 4, 2**-24)) is not None


def values_of(its_spectrum) -> dict[str, Value]:
    fit = fit_power_law(its_spectrum)
    needs = {"power_law": fit, "spectrum": its_spectrum}
    return {name: METRICS[name].function(*(needs[need.name] for need in METRICS[name].needs)) for name in FAMILY}


NOISE = np.linalg.qr(np.random.default_rng(3).standard_normal((60, 60)))[0]


@pytest.mark.parametrize(
    "its_spectrum",
    [
        of_eigenvalues([3.0, 2.0, 1.0]),
        of_eigenvalues([3.0, 3.0, 2.0, 2.0, 1.0, 1.0]),
        of_eigenvalues([0.0, 0.0, 0.0, 0.0, 0.0]),
        of_eigenvalues([5.0, 4.0, 3.0, 0.0, 0.0, 0.0, 0.0]),
        spectrum(np.eye(50)),
        spectrum(NOISE),
        spectrum(np.hstack([NOISE] * 2000)),
    ],
    ids=["three", "three distinct", "zero", "rank three", "identity", "orthogonal", "orthogonal rows"],
)
def test_too_few_distinct_eigenvalues_are_undefined(its_spectrum):
    assert set(values_of(its_spectrum).values()) == {Value(None, "undefined")}


def test_four_distinct_eigenvalues_are_enough():
    assert {one.status for one in values_of(of_eigenvalues([8.0, 4.0, 2.0, 1.0])).values()} == {"ok"}


def test_a_group_of_eigenvalues_that_differ_by_rounding_is_no_tail():
    """Half of the σ are 1 but for rounding: a tail among them would have an alpha of 10¹⁵."""
    values = np.concatenate([1 + 2**-52 * np.arange(30)[::-1], np.geomspace(0.9, 0.1, 30)])
    fit = fit_power_law(Spectrum(values, 60, 60, 2**-53))
    assert fit.alpha < 100


def test_the_metrics_are_the_fit_and_the_weighted_alpha_takes_the_largest_eigenvalue():
    its_spectrum = of_eigenvalues(np.random.default_rng(4).pareto(2.0, 300) * 7)
    fit, found = fit_power_law(its_spectrum), values_of(its_spectrum)
    assert [found[name].value for name in FAMILY[:4]] == [fit.alpha, fit.xmin, fit.ks_distance, fit.tail_count]
    largest = its_spectrum.values[0] ** 2
    assert found["alpha_weighted"].value == pytest.approx(fit.alpha * log10(largest), rel=1e-12)
    for power in (-200, 150):
        scaled = values_of(Spectrum(its_spectrum.values * 10.0**power, 300, 300, 2**-53))
        assert scaled["alpha_weighted"].value == pytest.approx(fit.alpha * (log10(largest) + 2 * power), rel=1e-9)
        assert scaled["alpha_xmin"].status == ("undefined" if power < 0 else "ok")


def test_memory_grows_with_the_eigenvalues_not_with_their_square():
    its_spectrum = of_eigenvalues(np.random.default_rng(5).pareto(1.0, 4096))
    tracemalloc.start()
    fit_power_law(its_spectrum)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4096 * 4096 * 8 / 8


def test_the_family_is_measured_by_default_for_matrices_only(tmp_path):
    generator = np.random.default_rng(6)
    states = [
        {
            "fc.weight": heavy(generator, 40, 20).astype(np.float32),
            "conv.weight": generator.standard_normal((12, 3, 2, 2)).astype(np.float32),
            "tiny.weight": generator.standard_normal((3, 9)).astype(np.float32),
            "fc.bias": generator.standard_normal(40).astype(np.float32),
        }
        for _ in range(2)
    ]
    for epoch, weights in enumerate(states):
        save_weights(tmp_path / "run" / f"epoch_{epoch}.safetensors", weights, weightlapse_metadata(epoch))
    rows = rows_of(measured(tmp_path / "run"))
    for epoch, weights in enumerate(states):
        checkpoint = f"epoch_{epoch}.safetensors"
        for name, array in weights.items():
            found = {metric: rows.get((checkpoint, "tensor", name, metric)) for metric in FAMILY}
            if name == "fc.bias":
                assert set(found.values()) == {None}
            elif name == "tiny.weight":
                assert {(row["value"], row["status"]) for row in found.values()} == {(None, "undefined")}
            else:
                wide = array.astype(np.float64).reshape(len(array), -1)
                eigenvalues = np.square(np.linalg.svd(wide, compute_uv=False))
                expected = written_out(eigenvalues)
                assert [found[metric]["value"] for metric in FAMILY[:4]] == pytest.approx(expected, rel=1e-8)
                weighted = expected[0] * log10(eigenvalues.max())
                assert found["alpha_weighted"]["value"] == pytest.approx(weighted, rel=1e-8)
        assert rows[checkpoint, "mean", "", "alpha"]["status"] == "undefined"


# ------------------------------------------------------------------------------------------------ as numbers


def test_the_constants_of_the_fit():
    assert (power_law.SHORTEST_TAIL, power_law.FEWEST_CANDIDATES) == (3, 2)
    assert (power_law.SAMPLES, power_law.CANDIDATES) == (48, 16)


def test_the_tails_of_a_few_numbers():
    """The logarithms 0, 1, 1, 3, 4: Σ over the tails 9, 5 (from 1) and, too short to count, 1 (from 3)."""
    tail = power_law._Tail(np.array([0.0, 1.0, 1.0, 3.0, 4.0]))
    assert (tail.size, tail.logs.tolist(), tail.below.tolist()) == (5, [0, 1, 3, 4], [0, 1, 3, 4])
    assert tail.exponents.tolist() == pytest.approx([5 / 9, 4 / 5], rel=1e-15)
    law = [1 - np.exp(-5 / 9 * np.array([0, 1, 3, 4])), 1 - np.exp(-4 / 5 * np.array([0, 2, 3]))]
    distances = [np.abs(law[0] - [0, 0.2, 0.6, 0.8]).max(), np.abs(law[1] - [0, 0.5, 0.75]).max()]
    assert tail._distances(np.array([0, 1]), np.arange(4)[None, :]).tolist() == pytest.approx(distances, rel=1e-14)
    assert tail._distances(np.array([1]), np.array([[3]])).tolist() == pytest.approx([law[1][2] - 0.75], rel=1e-12)
    best = int(np.argmin(distances))
    assert tail.least_distance(np.array([True, True])) == (best, pytest.approx(distances[best], rel=1e-14))
    for only in (0, 1):
        found = tail.least_distance(np.arange(2) == only)
        assert found == (only, pytest.approx(distances[only], rel=1e-14))
    assert tail.least_distance(np.array([False, False]))[1] == inf


@pytest.mark.parametrize("eigenvalues", [[8, 4, 2, 1], [16, 9, 4, 1, 1], [100, 9, 9, 4, 1, 0.25], [1e6, 1e4, 4, 1, 1]])
def test_the_fit_of_a_few_eigenvalues(eigenvalues):
    fit = fit_power_law(of_eigenvalues(eigenvalues))
    expected = written_out(np.array(eigenvalues, dtype=np.float64))
    assert (fit.alpha, fit.xmin, fit.ks_distance, fit.tail_count) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("rows", "columns"), [(200, 4), (4, 200)])
def test_an_eigenvalue_of_rounding_size_is_left_out_on_either_side(rows, columns):
    for multiple, exists in ((200, False), (201, True)):
        values = np.array([4.0, 3.0, 2.0, multiple * 2**-52 * 4.0])
        assert (fit_power_law(Spectrum(values, rows, columns, 2**-24)) is not None) == exists


@pytest.mark.parametrize(("multiple", "exists"), [(0.5, False), (4.0, True)])
def test_a_spread_of_rounding_size_is_no_tail(multiple, exists):
    """The mean of ln(λ/xmin) must exceed max(rows, columns) · ε in a tail; here the longest spreads by 1.5 times d."""
    d = multiple * 100_000 * 2**-52
    values = np.sqrt(np.exp(np.array([3 * d, 2 * d, d, 0.0])))
    assert (fit_power_law(Spectrum(values, 100_000, 4, 2**-24)) is not None) == exists


FIT = PowerLaw(alpha=2.5, xmin=0.25, ks_distance=0.125, tail_count=7)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("alpha", 2.5), ("alpha_xmin", 0.25), ("alpha_ks_distance", 0.125), ("alpha_tail_count", 7.0)],
)
def test_a_metric_is_its_part_of_the_fit(name, expected):
    assert METRICS[name].function(FIT) == Value(expected, "ok")
    assert METRICS[name].function(None) == Value(None, "undefined")


def test_the_weighted_alpha_is_alpha_times_the_logarithm_of_the_largest_eigenvalue():
    its_spectrum = Spectrum(np.array([100.0, 1.0]), 2, 2, 2**-24)
    assert METRICS["alpha_weighted"].function(FIT, its_spectrum) == Value(pytest.approx(2.5 * 4, rel=1e-15), "ok")
    assert METRICS["alpha_weighted"].function(None, its_spectrum) == Value(None, "undefined")


def test_an_xmin_that_underflows_is_undefined_and_a_tiny_one_is_not():
    for xmin, expected in ((0.0, Value(None, "undefined")), (5e-324, Value(5e-324, "ok"))):
        assert METRICS["alpha_xmin"].function(PowerLaw(2.5, xmin, 0.1, 7)) == expected
    assert METRICS["alpha"].function(PowerLaw(2.5, 0.0, 0.1, 7)) == Value(2.5, "ok")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_hill_exponent_is_that_of_the_upper_half(kind, shape):
    matrix = kind(np.random.default_rng(5), *shape)
    eigenvalues = sorted(float(one) ** 2 for one in np.linalg.svd(matrix, compute_uv=False))
    count = len(eigenvalues) // 2
    threshold = eigenvalues[-count - 1]
    exact = 1 + count / sum(log(one / threshold) for one in eigenvalues[-count:])
    assert METRICS["alpha_hill"].function(spectrum(matrix)).value == pytest.approx(exact, rel=1e-9)


def test_the_hill_exponent_of_a_few_eigenvalues():
    """Of 16, 4, 2, 1 the upper half is 16 and 4 above 2: 1 + 2/(ln 8 + ln 2); zeros do not count."""
    expected = pytest.approx(1 + 2 / log(16), rel=1e-14)
    hill = METRICS["alpha_hill"].function
    assert hill(of_eigenvalues([1, 2, 4, 16])).value == expected
    assert hill(of_eigenvalues([0.5, 1, 2, 4, 16])).value == expected
    assert hill(of_eigenvalues([0, 0, 1e-40, 1, 2, 4, 16])).value == expected
    assert hill(of_eigenvalues([0, 2, 4, 16])) == hill(of_eigenvalues([3, 3, 3, 3])) == UNDEFINED
    assert hill(of_eigenvalues([0, 0, 0, 0])) == UNDEFINED
