"""The swap test: does a run's accuracy go with its own weights better than with those of other runs?

Runs of the same schedule share its drift, and the accuracy of one run correlates with the weights of another just as
much. What only matched pairs have is theirs. This stays valid when both series drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from math import factorial
from typing import TYPE_CHECKING

import numpy as np

from analyzer.model.run import Status
from analyzer.statistics.coefficients import coefficients, ranks, z_scores

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzer.model.run import FloatArray

FEWEST_RUNS = 6  # 720 arrangements; of five, or fewer, only the rank is told
MOST_ARRANGEMENTS = 10_000
SEED = 1935  # as in bootstrap: any number that stays the same


@dataclass(frozen=True, slots=True)
class SwapTest:
    """The mean coefficient of matched pairs, beside that of other arrangements of the same runs.

    ``rank`` counts from 1, the arrangement with the largest mean coefficient, and ties count against the matched one.
    ``p_value`` is two-sided, None below six runs. Where ``status`` is ``undefined`` there are no numbers.
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
    """Compare each run's score with its own weights and with those of the others.

    Args:
        scores: (runs, n) one score (or its changes) of each run at n checkpoints that all of them have.
        weights: (runs, n) one metric of the same runs at the same checkpoints.
        method: ``pearson`` or ``spearman``.

    Only checkpoints at which every number is there are used.
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
    matched, centre = float(means[0]), float(table.mean())
    rounding = 1e-12
    rank = int(np.count_nonzero(means >= matched - rounding))
    extreme = np.count_nonzero(np.abs(means - centre) >= abs(matched - centre) - rounding)
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


def _arrangements(count: int) -> npt.NDArray[np.intp]:
    """Which run's weights go to each run's score, (arrangements, runs), the matched one first.

    All of them where they are few, else a sample that is the same each time.
    """
    if factorial(count) <= MOST_ARRANGEMENTS:
        return np.array(list(permutations(range(count))), dtype=np.intp)
    generator = np.random.default_rng((SEED, count))
    drawn = generator.permuted(np.tile(np.arange(count), (MOST_ARRANGEMENTS - 1, 1)), axis=1)
    return np.vstack([np.arange(count), drawn])
