"""Answer how certain the other answers are, and whether accuracy is tied to a run's own weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from analyzer.comparing.answers.sides import LEVEL, is_significant
from analyzer.comparing.answers.wording import coefficient, first_few, probability
from analyzer.comparing.quantities import by_name
from analyzer.model.comparison import Comparison, SwapRow
from analyzer.model.names import printable
from analyzer.model.run import Finding
from analyzer.statistics.two_groups import least_p_value


def certainty(comparison: Comparison) -> Finding:
    """State how many differences are significant, or how many runs a test would need."""
    groups = comparison.groups
    counts = sorted({len(group.independent) for group in groups})
    each = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    runs = "1 run" if each == "1" else f"{each} runs"
    tested = [one for one in comparison.differences if one.p_value is not None]
    if len(groups) < 2:
        sentence = f"There is one group of {runs}, so no differences are tested; the ranges cover its runs."
    elif not tested:
        sentence = (
            f"The {len(groups)} groups have {runs} each: the numbers describe these runs only, and other seeds may "
            "reverse them. A test needs at least six runs in both groups; with fewer, no p-value is given."
        )
    else:
        significant = sum(is_significant(one) for one in tested)
        least = min(least_p_value(one.first_n, one.second_n) for one in tested)
        sentence = (
            f"As sure as {each} runs per group allow (ranges are from the smallest to the largest run): {significant} "
            f"of {len(tested)} tested differences are significant at a false discovery rate of {LEVEL:.0%} "
            f"(q ≤ {LEVEL}). p is from permutations with Welch’s t and cannot be below {probability(least)} with so "
            "few runs. It separates differences from variation between seeds; it does not predict the result for "
            "another network, data set or learning rate."
        ).replace("%", " %")
    return Finding("how_sure", "info", sentence, evidence={"runs": counts, "tested": len(tested)}, figure=None)


def own_weights(comparison: Comparison) -> Iterator[Finding]:
    """Yield the result of the swap tests within groups, if there are p-values."""
    rows = [row for row in comparison.swaps if row.group is not None and row.p_value is not None]
    if not rows:
        return
    significant = [row for row in rows if row.q_value is not None and row.q_value <= LEVEL]
    if significant:
        tests = [_described(comparison, row) for row in significant]
        sentence = f"Yes, in {len(significant)} of {len(rows)} swap tests. {first_few(tests, '; ')}."
    else:
        least = min(row.q_value for row in rows if row.q_value is not None)
        sentence = (
            f"No, in none of {len(rows)} swap tests: changes in a run’s score correlate with its own weights no better "
            f"than with those of other seeds of the same group (least q = {probability(least)})."
        )
    yield Finding(
        "own_weights", "info", sentence, evidence={"tests": [asdict(row) for row in rows]}, figure="accuracy_along_path"
    )


def _described(comparison: Comparison, row: SwapRow) -> str:
    score = by_name(comparison.quantities)[row.score].title.lower()
    weights = "the condition number" if row.quantity == "condition_number" else "the path length"
    return (
        f"{printable(str(row.group), 60)}: changes in {score} against changes in {weights} "
        f"(r = {coefficient(row.coefficient)} with its own, {coefficient(row.unmatched)} with others’, "
        f"q = {probability(row.q_value)})"
    )
