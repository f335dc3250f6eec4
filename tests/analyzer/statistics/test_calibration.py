"""Whether the p-values that the report prints hold what they promise, on simulated runs put through the real tables.

The rates count all pairs, those without a p-value too. Beside them stands what a plain Pearson p-value of the classic
pair would have said.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from builders import full_count
from curve_tables import correlations, tables_of

from analyzer.model.tables import Correlation, is_tested

MOST_FALSE = 0.07
SCORES, LAYERS = 12, 60
REPEATS = full_count(12, 2)
Curves = Callable[[np.random.Generator, int, int, bool], np.ndarray]


def walks(generator: np.random.Generator, count: int, n: int, is_score: bool) -> np.ndarray:
    return np.cumsum(generator.standard_normal((count, n)), axis=1)


def saturating(noise: float, persistence: float = 0.0, settling: bool = False) -> Curves:
    """Accuracies 1 − e^{−t/τ} and logarithms of f + e^{−t/τ}, with noise as a share of the accuracy's span.

    The metric's noise is ten times as large. ``settling`` noise shrinks as the curve saturates.
    """

    def curves(generator: np.random.Generator, count: int, n: int, is_score: bool) -> np.ndarray:
        times = generator.uniform(n / 20, n / 2, (count, 1))
        decay = np.exp(-np.arange(n) / times)
        rough = generator.standard_normal((count, n))
        for t in range(1, n):
            rough[:, t] = persistence * rough[:, t - 1] + np.sqrt(1 - persistence**2) * rough[:, t]
        rough *= noise * (0.1 + decay if settling else 1)
        floor = generator.uniform(0.01, 0.3, (count, 1))
        return 0.95 - 0.85 * decay + rough if is_score else np.log(floor + decay) + 10 * rough

    return curves


def jumping(noise: float) -> Curves:
    """One sharp rise at some time in the third to the seventh epoch, taking 0.2 to 1 epoch; noise as above."""

    def curves(generator: np.random.Generator, count: int, n: int, is_score: bool) -> np.ndarray:
        when, length = generator.uniform(3, 7, (count, 1)), generator.uniform(0.2, 1, (count, 1))
        risen = 1 / (1 + np.exp(np.clip((when - np.arange(n)) / length, -50, 50)))
        rough = noise * generator.standard_normal((count, n))
        return 0.1 + 0.85 * risen + rough if is_score else 2 * risen + 10 * rough

    return curves


FAMILIES: dict[str, tuple[Curves, Curves]] = {
    "random walks": (walks, walks),
    "walk beside saturation": (walks, saturating(0.01)),
    "saturation, noise 0.0003": (saturating(0.0003), saturating(0.0003)),
    "saturation, noise 0.003": (saturating(0.003), saturating(0.003)),
    "saturation, noise 0.03": (saturating(0.03), saturating(0.03)),
    "saturation, persistent noise": (saturating(0.01, persistence=0.9), saturating(0.01, persistence=0.9)),
    "saturation, settling noise": (saturating(0.02, settling=True), saturating(0.02, settling=True)),
    "early jumps, noise 0.0003": (jumping(0.0003), jumping(0.0003)),
    "early jumps, noise 0.001": (jumping(0.001), jumping(0.001)),
    "early jumps, noise 0.003": (jumping(0.003), jumping(0.003)),
}


def rows_of(
    scores: np.ndarray, states: np.ndarray, intervals: np.ndarray, axis: np.ndarray | None = None
) -> tuple[Correlation, ...]:
    """Rows of runs whose layers have these logarithms of condition numbers and of step distances."""
    curves = {("tensor", f"layer{i}", "condition_number"): np.exp(values) for i, values in enumerate(states)}
    curves |= {("tensor", f"layer{i}", "step_distance"): np.exp(values) for i, values in enumerate(intervals)}
    return correlations(tables_of(curves, {f"score{i}": values for i, values in enumerate(scores)}, axis=axis))


def naive_rate(rows: tuple[Correlation, ...]) -> float:
    """How often a plain p-value of Pearson's r of the curves as they are is below 5 %."""
    drawn = [one for one in rows if one.lag == 0 and one.method == "pearson" and "differences of" not in one.transform]
    r = np.array([one.coefficient for one in drawn], dtype=float)
    n = np.array([one.n for one in drawn])
    return float(np.mean(2 * scipy.stats.t.sf(np.abs(r) * np.sqrt((n - 2) / (1 - r**2)), n - 2) < 0.05))


@pytest.mark.parametrize("n", full_count([20, 50, 200], [20, 50]))
@pytest.mark.parametrize("family", FAMILIES)
def test_independent_drifting_curves_are_called_significant_no_more_often_than_promised(family, n):
    of_score, of_metric = FAMILIES[family]
    generator = np.random.default_rng([n, *family.encode()])
    rows: tuple[Correlation, ...] = ()
    naive = []
    for _ in range(REPEATS):
        its = rows_of(
            of_score(generator, SCORES, n, True),
            of_metric(generator, LAYERS, n, False),
            of_metric(generator, LAYERS, n, False),
        )
        naive.append(naive_rate(its))
        rows += tuple(one for one in its if is_tested(one))
    for metric in ("condition_number", "step_distance"):
        for method in ("pearson", "spearman"):
            its = [one for one in rows if (one.metric, one.method) == (metric, method)]
            assert len(its) == REPEATS * SCORES * LAYERS
            printed = [one for one in its if one.p_value is not None]
            false = sum(one.p_value < 0.05 for one in printed) / len(its)
            discovered = sum(one.q_value < 0.05 for one in printed) / len(its)
            outside = np.mean([one.low is not None and (one.low > 0 or one.high < 0) for one in printed])
            print(f"{family}, n = {n}, {metric}, {method}: {false:.1%} false, {len(printed) / len(its):.0%} printed")
            print(f"    {outside:.0%} of the intervals leave out zero")
            assert false <= MOST_FALSE
            assert discovered <= MOST_FALSE
            assert len(printed) >= 0.8 * len(its) or n == 20
            assert outside <= 0.3 or n == 20  # narrow, as bootstrap.py says and the page too
    print(f"{family}, n = {n}: plain Pearson {np.mean(naive):.0%} false")
    assert np.mean(naive) > 2 * MOST_FALSE


Run = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # axis, scores, states, intervals
NOISE = 0.003
SAMPLING = full_count(0.0, 0.02)  # error of a rate from two runs: their pairs share 24 scores and two schedules


def decays(generator: np.random.Generator, count: int, axis: np.ndarray) -> np.ndarray:
    return np.exp(-axis / generator.uniform(axis[-1] / 20, axis[-1] / 2, (count, 1)))


def scores_over(generator: np.random.Generator, axis: np.ndarray) -> np.ndarray:
    rough = NOISE * generator.standard_normal((SCORES, len(axis)))
    return 0.95 - 0.85 * decays(generator, SCORES, axis) + rough


def metrics_over(generator: np.random.Generator, axis: np.ndarray) -> np.ndarray:
    floor = generator.uniform(0.01, 0.3, (LAYERS, 1))
    rough = 10 * NOISE * generator.standard_normal((LAYERS, len(axis)))
    return np.log(floor + decays(generator, LAYERS, axis)) + rough


def spaced(gaps_of: Callable[[np.random.Generator, int], np.ndarray]) -> Callable[[np.random.Generator, int], Run]:
    """Saturating curves at checkpoints with these gaps; a step distance grows like a power of its gap."""

    def run(generator: np.random.Generator, n: int) -> Run:
        gaps = gaps_of(generator, n).astype(float)
        axis = np.concatenate([[0.0], np.cumsum(gaps)])
        powers = generator.uniform(0.5, 1, (LAYERS, 1)) * np.log(np.concatenate([[1.0], gaps]))
        metrics = metrics_over(generator, axis), metrics_over(generator, axis) + powers
        return axis, scores_over(generator, axis), *metrics

    return run


def spaced_walks(generator: np.random.Generator, n: int) -> Run:
    """Random walks, which spread further over longer gaps."""
    gaps = generator.integers(1, 7, n - 1).astype(float)
    steps = np.sqrt(np.concatenate([[1.0], gaps]))
    scores, states = (np.cumsum(steps * generator.standard_normal((count, n)), axis=1) for count in (SCORES, LAYERS))
    distances = np.log(steps) + 0.3 * generator.standard_normal((LAYERS, n))
    return np.concatenate([[0.0], np.cumsum(gaps)]), scores, states, distances


def patterned(
    pattern_of: Callable[[np.random.Generator, np.ndarray], np.ndarray],
) -> Callable[[np.random.Generator, int], Run]:
    """Saturating curves that a schedule moves together, each by 0.3 to 10 times its noise."""

    def run(generator: np.random.Generator, n: int) -> Run:
        axis = np.arange(float(n))
        pattern = pattern_of(generator, axis)
        sizes = [NOISE * np.exp(generator.uniform(np.log(0.3), np.log(10), (count, 1))) for count in (SCORES, LAYERS)]
        scores = scores_over(generator, axis) - sizes[0] * pattern
        return axis, scores, *(metrics_over(generator, axis) + 10 * sizes[1] * pattern for _ in range(2))

    return run


def triangle(period: int) -> Callable[[np.random.Generator, np.ndarray], np.ndarray]:
    def pattern(generator: np.random.Generator, axis: np.ndarray) -> np.ndarray:
        phase = (axis + generator.integers(period)) % period / period
        return 2 * np.abs(2 * phase - 1) - 1

    return pattern


SCHEDULES: dict[str, Callable[[np.random.Generator, int], Run]] = {
    "gaps of 1 to 6": spaced(lambda generator, n: generator.integers(1, 7, n - 1)),
    "every fifth gap six times as long": spaced(lambda _, n: np.where(np.arange(n - 1) % 5 == 4, 6, 1)),
    "random walks, gaps of 1 to 6": spaced_walks,
    **{f"cycle of {period}": patterned(triangle(period)) for period in (5, 10, 20, 30)},
    "restart every 10": patterned(lambda _, axis: 2 * np.exp(-(axis % 10) / 2)),
    "season of 7": patterned(lambda generator, axis: generator.standard_normal(7)[(axis % 7).astype(int)]),
}


@pytest.mark.parametrize("n", full_count([40, 60, 100], [60]))
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_uneven_spacing_and_cycles_call_independent_curves_significant_no_more_often_than_promised(schedule, n):
    generator = np.random.default_rng([n, *schedule.encode()])
    tested = [one for _ in range(REPEATS) for one in schedule_rows(schedule, generator, n)]
    for metric in ("condition_number", "step_distance"):
        for method in ("pearson", "spearman"):
            its = [one for one in tested if (one.metric, one.method) == (metric, method)]
            assert len(its) == REPEATS * SCORES * LAYERS
            printed = sum(one.p_value is not None for one in its) / len(its)
            false = sum(one.p_value is not None and one.p_value < 0.05 for one in its) / len(its)
            print(f"{schedule}, n = {n}, {metric}, {method}: {false:.1%} false, {printed:.0%} printed")
            assert false <= MOST_FALSE + SAMPLING


def schedule_rows(schedule: str, generator: np.random.Generator, n: int) -> list[Correlation]:
    axis, scores, states, intervals = SCHEDULES[schedule](generator, n)
    return [one for one in rows_of(scores, states, intervals, axis) if is_tested(one)]


def test_coupled_changes_are_found():
    """r = 0.6 between the changes of the score and of log κ, or between those of the score and the log distance."""
    generator = np.random.default_rng(6)
    n, repeats = 50, full_count(24, 4)
    found: dict[tuple[str, str], list[bool]] = {}
    for _ in range(repeats):
        changes = generator.standard_normal((SCORES, n))
        coupled = 0.6 * changes + 0.8 * generator.standard_normal((SCORES, n))  # layer i goes with score i
        for one in rows_of(np.cumsum(changes, axis=1), np.cumsum(coupled, axis=1), coupled):
            if is_tested(one) and one.tensor.removeprefix("layer") == one.scalar.removeprefix("score"):
                small = one.p_value is not None and one.p_value < 0.05
                found.setdefault((one.metric, one.method), []).append(small)
    assert len(found) == 4
    for kind, small in found.items():
        assert len(small) == repeats * SCORES
        print(f"{kind}: {np.mean(small):.0%} found")
        assert np.mean(small) > 0.8
