"""Answer whether the difference between groups or runs mattered for accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from analyzer.comparing.answers.sides import (
    Side,
    described,
    difference_of,
    interval,
    is_significant,
    sides_of,
    verdict,
)
from analyzer.comparing.answers.wording import (
    MOST_LISTED,
    at_end,
    both,
    continuation,
    continuing_runs,
    first_few,
    probability,
)
from analyzer.model.comparison import Comparison, GroupDifference, Quantity
from analyzer.model.names import listed, printable
from analyzer.model.run import Finding
from analyzer.model.score_names import accuracies


def effect_on_accuracy(comparison: Comparison) -> Finding:
    """Compare the first accuracy that two groups (or runs) have at the end."""
    scores = {one.name: one for one in comparison.quantities if one.is_score}
    for name in accuracies(scores):
        sides = sides_of(comparison, scores[name])
        if len(sides) > 1:
            return _compared(comparison, scores[name], sides)
    known = {run.name: accuracies(run.tables.scalars) for run in comparison.runs}
    names = [f"{printable(run, 60)} has {listed(found) if found else 'none'}" for run, found in known.items()]
    if not any(known.values()):
        names = ["no run has a score whose name is known as an accuracy"]
    return Finding(
        "mattered_for_accuracy",
        "info",
        f"Unknown: no two of them have an accuracy of the same name {at_end(comparison)}; "
        f"{first_few(names, ', ')}. report --scalars FILE adds scores under names of your choice.",
        evidence={"accuracies": known},
    )


def _compared(comparison: Comparison, accuracy: Quantity, sides: Sequence[Side]) -> Finding:
    ordered = sides[::-1]
    pairs = [one for one in comparison.differences if one.quantity == accuracy.name]
    widest = difference_of(comparison, accuracy.name, ordered[0].name, ordered[-1].name)
    opening, conclusion = _judged(comparison, pairs, widest)
    final = "" if continuing_runs(comparison) else "final "
    values = f"{final}{accuracy.title.lower()} {at_end(comparison)} is {described(ordered)}"
    return Finding(
        "mattered_for_accuracy",
        "info",
        f"{opening}: {values}.{continuation(comparison)}{conclusion}",
        evidence={
            "quantity": accuracy.name,
            "order": [asdict(side) for side in ordered],
            "differences": [asdict(one) for one in pairs],
        },
        figure="compared_scores",
    )


def _judged(
    comparison: Comparison, pairs: Sequence[GroupDifference], widest: GroupDifference | None
) -> tuple[str, str]:
    """Return the opening of the answer and its conclusion, a sentence."""
    if len(comparison.groups) == 1:
        return "The runs differ only in their seed", verdict(comparison, widest)
    tested = [one for one in pairs if one.p_value is not None]
    if not tested:
        return "Too few runs to test", verdict(comparison, widest)
    significant = [one for one in tested if is_significant(one)]
    if not significant:
        return "Unclear", f" No difference exceeds chance variation between seeds.{verdict(comparison, widest)}"
    described_pairs = [
        f"{both(one.first, one.second)} (by {interval(one)}, q = {probability(one.q_value)})" for one in significant
    ]
    unclear = [both(one.first, one.second) for one in tested if one not in significant]
    rest = f" It is unclear for {'; '.join(unclear[:MOST_LISTED])}." if unclear else ""
    pairs_named = "; ".join(described_pairs[:MOST_LISTED])
    return "Yes", f" The difference exceeds chance variation between seeds for {pairs_named}.{rest}"
