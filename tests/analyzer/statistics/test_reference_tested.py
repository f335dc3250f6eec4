"""r, the effective number, p and power of tested rows beside an implementation that shares no code with ours.

One pair at a time, by least squares on written-out columns, sums over single lags, and scipy's distributions.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from curve_tables import correlations, tables_of

from analyzer.model.tables import is_tested

N = 80
GENERATOR = np.random.default_rng(17)
GAPS = np.concatenate([[0.0], np.cumsum(GENERATOR.integers(1, 7, N - 1))])
AXES = {
    "even": np.arange(float(N)),
    "even, in steps": 500.0 * np.arange(N) + 1000,
    "steps rounded": np.round(468.75 * np.arange(N)),
    "gaps": GAPS,
    "gaps, in fractions of an epoch": GAPS / 8,
    "periodic": np.arange(float(N)),
    "gaps and periodic": GAPS,
}


def curves_on(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A score, log rms and log step distance that saturate over the axis, coupled weakly."""
    generator = np.random.default_rng([11, *name.encode()])
    axis = AXES[name] - AXES[name][0]
    decay = np.exp(-4 * axis / axis[-1])
    shared, *own = generator.standard_normal((4, N))
    season = np.tile(generator.standard_normal(7), N)[:N] if "periodic" in name else np.zeros(N)
    length = np.log(np.diff(axis, prepend=-1)) if "gaps" in name else np.zeros(N)
    score = 1 - decay + 0.01 * own[0] + 0.006 * shared + 0.03 * season
    log_rms = decay + 0.1 * own[1] + 0.08 * shared + 0.3 * season
    log_distance = decay + 0.8 * length + 0.3 * own[2] + 0.3 * np.diff(shared, prepend=0) + 0.5 * season
    return score, log_rms, log_distance


def spline_columns(place: np.ndarray, degree: int, spacing: float) -> list[np.ndarray]:
    pieces = max(round(place[-1] / spacing), 1)
    knots = [k * place[-1] / pieces for k in range(1, pieces)]
    return [place**k for k in range(degree + 1)] + [np.where(place > k, place - k, 0) ** degree for k in knots]


def trend_columns(axis: np.ndarray, of_intervals: bool) -> np.ndarray:
    gaps = np.diff(axis)
    time = (axis - axis[0]) / min(gaps)
    ends = time[2:] if of_intervals else time[1:]
    columns = spline_columns(np.log2(1 + ends - ends[0]), 2, 0.7)
    if max(gaps) > 1.02 * min(gaps):
        levels = spline_columns(np.log2(1 + time), 3, 2.1 if of_intervals else 0.7)[1:]
        if not of_intervals:
            columns = [np.diff(level) for level in levels]
        else:
            columns += [np.diff(np.log(gaps)), *(np.diff(level, n=2) for level in levels)]
    return np.column_stack(columns)


def without(columns: np.ndarray, series: np.ndarray) -> np.ndarray:
    scaled = columns / np.linalg.norm(columns, axis=0)
    return series - scaled @ np.linalg.lstsq(scaled, series, rcond=1e-9)[0]


def leverages(columns: np.ndarray) -> np.ndarray:
    return 1 - np.diag(without(columns, np.eye(len(columns))))


def past(z: np.ndarray, lag: int) -> float:
    return sum(z[i] * z[i + lag] for i in range(len(z) - lag)) / len(z)


def common_period(x: np.ndarray, y: np.ndarray, kept: np.ndarray) -> int:
    """The period at which both repeat most clearly; points of large leverage are zero, leading ones are left out."""
    first = np.flatnonzero(kept)[0]
    x, y = (np.where(kept, (z - z[kept].mean()) / z[kept].std(), 0)[first:] for z in (x, y))
    n = len(x)
    best, period = 0.0, 0
    for length in range(2, (n + 1) // 2):
        multiples = range(length, n, length)
        pairs = sum(n - lag for lag in multiples)
        shares = [n * sum(past(z, lag) for lag in multiples) / pairs for z in (x, y)]
        if min(shares) <= 0:
            continue
        mean = np.sqrt(shares[0] * shares[1])
        errors = mean * np.sqrt(pairs)
        if mean > 1.2 / np.sqrt(n) and errors > 2.2 + min(2.5 * np.mean(x * y) ** 2, 2) and errors > best:
            best, period = errors, length
    return period


def common_wave(x: np.ndarray, y: np.ndarray, kept: np.ndarray) -> int:
    """The period of the wave, by least squares, that explains most of both, as common_period() sees them."""
    first = np.flatnonzero(kept)[0]
    x, y = (np.where(kept, (z - z[kept].mean()) / z[kept].std(), 0)[first:] for z in (x, y))
    n = len(x)
    best, period = 3.3 * 2 / n, 0
    for length in range(6, n // 2 + 1):
        angle = 2 * np.pi * np.arange(n) / length
        columns = np.column_stack([np.cos(angle), np.sin(angle)])
        columns -= columns.mean(axis=0)
        shares = [np.sum((z - without(columns, z)) ** 2) / n for z in (x, y)]
        if np.sqrt(shares[0] * shares[1]) > best:
            best, period = np.sqrt(shares[0] * shares[1]), length
    return period


def reference(
    score: np.ndarray, curve: np.ndarray, axis: np.ndarray, of_intervals: bool
) -> dict[str, tuple[float | None, ...]]:
    """(r, n_effective, p, power at 0.5 and 0.7, n, period, wave) by method, from a score and a logarithm."""
    changes = np.diff(score)
    x, y = (np.diff(curve[1:]), np.diff(changes)) if of_intervals else (np.diff(curve), changes)
    columns = trend_columns(axis, of_intervals)
    kept = leverages(columns) <= 0.5
    period = common_period(without(columns, x), without(columns, y), kept)
    if period:
        phases = [(np.arange(len(x)) % period == phase).astype(float) for phase in range(period)]
        columns = np.column_stack([columns, *phases])
    wave = 0 if period else common_wave(without(columns, x), without(columns, y), kept)
    if wave:
        angle = 2 * np.pi * np.arange(len(x)) / wave
        columns = np.column_stack([columns, np.cos(angle), np.sin(angle)])
    kept = leverages(columns) <= 0.5
    parameters = np.linalg.matrix_rank(columns / np.linalg.norm(columns, axis=0), tol=1e-8)
    x, y, leverage = without(columns, x)[kept], without(columns, y)[kept], leverages(columns)[kept]
    n, found = len(x), {}
    for method in ("pearson", "spearman"):
        if method == "spearman":
            x, y = scipy.stats.rankdata(x), scipy.stats.rankdata(y)
        a, b = scipy.stats.zscore(x), scipy.stats.zscore(y)
        r = float(np.mean(a * b))
        inverse = 1 / n
        for lag in range(1, n // 2 + 1):
            inverse += 2 / n * (1 - lag / n) * (past(a, lag) * past(b, lag) - r**2 / n)
        effective = min(1 / inverse, n)
        errors = []
        for u, v in ((a, b), (b, a)):
            share = u**2 / n / (1 - leverage)
            errors.append(np.sqrt(np.sum(u**2 * ((v - r * u) / (1 - share)) ** 2 / (1 - leverage))) / n)
        freedom = effective - 1 - parameters
        p = 2 * scipy.stats.t.sf(abs(r) / max(errors) * np.sqrt(effective / n), freedom)
        limit = scipy.stats.t.ppf(0.975, freedom)
        powers = []
        for size in (0.5, 0.7):
            shift = size * np.sqrt(effective * np.mean(1 - leverage) / (1 - size**2) / (1 + 6 / n))
            powers.append(scipy.stats.nct.sf(limit, freedom, shift) + scipy.stats.nct.cdf(-limit, freedom, shift))
        if np.isnan(p) or (period and n - parameters < 12):
            p, powers = None, [None, None]
        found[method] = (r, effective, p, *powers, n, period, wave)
    return found


@pytest.mark.parametrize("name", AXES)
def test_tested_rows_are_those_of_the_reference(name):
    axis = AXES[name]
    score, log_rms, log_distance = curves_on(name)
    curves = {("tensor", "w", "rms"): np.exp(log_rms), ("tensor", "w", "step_distance"): np.exp(log_distance)}
    rows = [row for row in correlations(tables_of(curves, {"test_accuracy": score}, axis=axis)) if is_tested(row)]
    assert len(rows) == 4
    for row in rows:
        of_intervals = row.metric == "step_distance"
        expected = reference(score, log_distance if of_intervals else log_rms, axis, of_intervals)[row.method]
        r, effective, p, weak, strong, n, period, wave = expected
        assert period in (7, 14, 21) or "periodic" not in name
        removed = f"trend and period of {period}" if period else f"trend and wave of {wave}" if wave else "trend"
        assert row.transform.endswith(f", {removed} removed")
        assert row.n == n
        assert row.coefficient == pytest.approx(r, rel=1e-7)
        assert row.n_effective == pytest.approx(effective, rel=1e-7)
        assert (row.p_value is None) == (p is None) and row.status == ("too_few" if p is None else "ok")
        if p is not None:
            assert row.p_value == pytest.approx(p, rel=1e-6)
            assert (row.power_05, row.power_07) == pytest.approx((weak, strong), abs=5e-3)


def test_the_unit_of_the_axis_does_not_matter():
    score, log_rms, _ = curves_on("gaps")
    found = []
    for unit, start in ((1.0, 0.0), (1000.0, 3e6), (1 / 3, 1.0)):
        tables = tables_of({("total", "", "rms"): np.exp(log_rms)}, {"loss": score}, axis=unit * GAPS + start)
        found.append([row.p_value for row in correlations(tables) if is_tested(row)])
    assert len(found[0]) == 2
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-6)
