"""Test whether two groups of independent runs differ: permutations, Welch's test, an interval for the difference."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from analyzer.model.run import BoolArray, FloatArray, Status
from analyzer.statistics.coefficients import CONSTANT
from analyzer.statistics.swap import FEWEST_RUNS, MOST_ARRANGEMENTS, SEED

LEVEL = 0.95
_ROUNDING = 1e-9  # arrangements whose statistics differ by less count as equal


@dataclass(frozen=True, slots=True)
class GroupTest:
    """The difference of two means with its 95 % interval and p-value; with status ``too_few`` the difference alone."""

    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    status: Status


def compare_groups(first: FloatArray, second: FloatArray) -> GroupTest:
    """Test whether two groups (n,) and (m,) of independent numbers have the same mean.

    The p-value is two-sided and the larger of two. The first is the permutation p-value of Welch's t over all
    arrangements of the numbers into groups of these sizes (a fixed sample if there are more than 10 000), which is
    valid for any distribution. The second is that of Welch's own test, which is valid where one group spreads more
    than the other: with six numbers in each group, the first alone would call 8 % instead of 5 % different where one
    spreads four times as far. The interval is Welch's.

    With fewer than six numbers in a group there is no p-value and no interval (``too_few``); with a non-finite number
    there is no result (``missing``). Numbers that are all equal are ``undefined``.

    Source: Janssen, Studentized permutation tests for non-i.i.d. hypotheses (1997); Welch (1947).
    """
    numbers = np.concatenate([first, second])
    if not len(first) or not len(second) or not np.isfinite(numbers).all():
        return GroupTest(None, None, None, None, "missing")
    difference = float(second.mean() - first.mean())
    if min(len(first), len(second)) < FEWEST_RUNS:
        return GroupTest(difference, None, None, None, "too_few")
    if np.ptp(numbers) <= CONSTANT * np.abs(numbers).max():
        return GroupTest(difference, None, None, None, "undefined")
    margin, p_value = _welch(first, second, difference)
    t = np.abs(_welch_t(numbers, _arrangements(len(first), len(second))))
    p_value = max(p_value, float(np.mean(t >= t[0] * (1 - _ROUNDING))))
    return GroupTest(difference, difference - margin, difference + margin, p_value, "ok")


def least_p_value(n: int, m: int) -> float:
    """Return the least possible p-value for these group sizes; of equal groups, each arrangement has a mirror image."""
    return max((2 if n == m else 1) / comb(n + m, n), 1 / MOST_ARRANGEMENTS)


def _arrangements(n: int, m: int) -> BoolArray:
    """Return masks of the numbers in the first group, (arrangements, n + m), the actual arrangement first."""
    if comb(n + m, n) <= MOST_ARRANGEMENTS:
        chosen = np.array(list(combinations(range(n + m), n)), dtype=np.intp)
    else:
        generator = np.random.default_rng((SEED, n, m))
        drawn = generator.permuted(np.tile(np.arange(n + m), (MOST_ARRANGEMENTS - 1, 1)), axis=1)
        chosen = np.vstack([np.arange(n), drawn[:, :n]])
    members = np.zeros((len(chosen), n + m), dtype=bool)
    np.put_along_axis(members, chosen, True, axis=1)
    return members


def _welch_t(numbers: FloatArray, members: BoolArray) -> FloatArray:
    """Return Welch's t of each arrangement; infinite where neither group varies and the means differ."""
    centered = numbers - numbers.mean()
    sides = []
    for side in (members, ~members):
        count = side.sum(axis=1)
        mean = (side @ centered) / count
        variance = (side * (centered - mean[:, None]) ** 2).sum(axis=1) / (count - 1)
        sides.append((mean, variance / count))
    (first, first_error), (second, second_error) = sides
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (second - first) / np.sqrt(first_error + second_error)
    return np.where(np.isnan(t), 0.0, t)


def _welch(first: FloatArray, second: FloatArray, difference: float) -> tuple[float, float]:
    """Return half the width of Welch's interval, and the p-value of Welch's test."""
    from scipy.special import stdtr, stdtrit

    errors = [group.var(ddof=1) / len(group) for group in (first, second)]
    spread = float(np.sqrt(sum(errors)))
    if spread == 0:
        return 0.0, 0.0
    degrees = (len(first) - 1, len(second) - 1)
    freedom = sum(errors) ** 2 / sum(error**2 / degree for error, degree in zip(errors, degrees, strict=True))
    return float(stdtrit(freedom, (1 + LEVEL) / 2)) * spread, float(2 * stdtr(freedom, -abs(difference) / spread))
