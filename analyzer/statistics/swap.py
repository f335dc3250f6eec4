"""The swap test: does a run's accuracy correlate more with its own weights than with those of other runs?

Runs of the same schedule share its drift, so the accuracy of one run correlates with the weights of another just as
much. What only matched pairs show is specific to the run. The test stays valid when both series drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from math import factorial

import numpy as np

from analyzer.model.run import FloatArray, IntArray, Status
from analyzer.statistics.coefficients import coefficients, ranks, z_scores

FEWEST_RUNS = 6  # 720 arrangements; with five runs or fewer only the rank is reported
MOST_ARRANGEMENTS = 10_000
SEED = 1935  # arbitrary but fixed, as in bootstrap


@dataclass(frozen=True, slots=True)
class SwapTest:
    """The mean coefficient of matched pairs, compared with other arrangements of the same runs.

    ``unmatched`` is the mean coefficient over all unmatched pairs. ``rank`` counts from 1, the arrangement with the
    largest mean coefficient; ties count against the matched one. ``p_value`` is two-sided, None below six runs. If
    ``status`` is ``undefined``, there are no numbers.
    """

    coefficient: float | None
    unmatched: float | None
    rank: int | None
    arrangements: int
    p_value: float | None
    runs: int
    n: int
    status: Status


def swap_test(scores: FloatArray, weights: FloatArray, method: str = "pearson") -> SwapTest:
    """Correlate each run's score with its own weights and with those of the other runs.

    Only checkpoints at which all numbers are finite are used.

    Args:
        scores: (runs, n) one score (or its changes) of each run at n common checkpoints.
        weights: (runs, n) one metric of the same runs at the same checkpoints.
        method: ``pearson`` or ``spearman``.
    """
    complete = np.isfinite(scores).all(axis=0) & np.isfinite(weights).all(axis=0)
    count, n = len(scores), int(np.count_nonzero(complete))
    first, second = scores[:, complete], weights[:, complete]
    if method == "spearman":
        first, second = ranks(first), ranks(second)
    table = coefficients(z_scores(first), z_scores(second))
    if count < 2 or not np.isfinite(table).all():
        return SwapTest(None, None, None, 0, None, count, n, "undefined")
    means = table[np.arange(count), _arrangements(count)].mean(axis=1)
    matched, center = float(means[0]), float(table.mean())
    rounding = 1e-12
    rank = int(np.count_nonzero(means >= matched - rounding))
    extreme = np.count_nonzero(np.abs(means - center) >= abs(matched - center) - rounding)
    enough = count >= FEWEST_RUNS
    others = (table.sum() - np.trace(table)) / (count * (count - 1))
    return SwapTest(
        coefficient=matched,
        unmatched=float(others),
        rank=rank,
        arrangements=len(means),
        p_value=float(extreme / len(means)) if enough else None,
        runs=count,
        n=n,
        status="ok" if enough else "too_few",
    )


def _arrangements(count: int) -> IntArray:
    """Return the run whose weights are paired with each run's score, (arrangements, runs), the matched one first.

    All arrangements if there are at most :data:`MOST_ARRANGEMENTS`, else a reproducible sample.
    """
    if factorial(count) <= MOST_ARRANGEMENTS:
        return np.array(list(permutations(range(count))), dtype=np.intp)
    generator = np.random.default_rng((SEED, count))
    drawn = generator.permuted(np.tile(np.arange(count), (MOST_ARRANGEMENTS - 1, 1)), axis=1)
    return np.vstack([np.arange(count), drawn])
