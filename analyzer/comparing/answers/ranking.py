"""Answer which group or run moved most, which is best conditioned, and whether the difference mattered for accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from analyzer.comparing.answers.sides import (
    Side,
    described,
    difference_of,
    interval,
    is_significant,
    left_out,
    left_out_words,
    sides_of,
    verdict,
)
from analyzer.comparing.answers.wording import (
    MOST_LISTED,
    at_end,
    both,
    continuing_runs,
    first_few,
    probability,
    shared_tensors,
)
from analyzer.comparing.quantities import by_name
from analyzer.model.comparison import Comparison, GroupDifference, Quantity
from analyzer.model.names import listed, printable
from analyzer.model.run import Finding
from analyzer.model.score_names import accuracies

_PREDICATES = {  # at the end of the runs, and before the end of some run
    "moved_most": ("moved most", "had moved most"),
    "best_conditioned": ("ended best conditioned", "was best conditioned"),
}
_FIGURES = {"moved_most": "compared_motion", "best_conditioned": "compared_shape"}
_MEASURES = {
    "moved_most": "‖W−W₀‖ of all parameters",
    "best_conditioned": "κ (geometric mean over the weight matrices)",
}


def extreme(comparison: Comparison, rule: str, quantity: Quantity, *, largest: bool) -> Iterator[Finding]:
    """Yield which group (or run) is largest or smallest, and whether chance alone may explain it."""
    sides = sides_of(comparison, quantity)
    missing = left_out(comparison, quantity)
    if len(sides) == 1 and missing:
        yield _only(comparison, rule, quantity, sides[0])
    if len(sides) < 2:
        return
    ordered = sides[::-1] if largest else sides
    best, second = ordered[:2]
    difference = difference_of(comparison, quantity.name, best.name, second.name)
    shared = shared_tensors(comparison)
    caveat = f"{shared}, so this compares different networks. " if shared else ""
    values = f"{_MEASURES[rule]} {at_end(comparison)} is {described(ordered)}"
    sentence = (
        f"{caveat}{_opening(comparison, rule, best, second, difference)}: {values}.{verdict(comparison, difference)}"
    )
    if rule == "moved_most":
        sentence += _relative_to_start(comparison, best)
    sentence += left_out_words(comparison, quantity)
    evidence: dict[str, object] = {"quantity": quantity.name, "order": [asdict(side) for side in ordered]}
    if missing:
        evidence["left_out"] = missing
    if difference is not None:
        evidence["difference"] = asdict(difference)
    yield Finding(rule, "info", sentence, evidence=evidence, figure=_FIGURES[rule])


def _only(comparison: Comparison, rule: str, quantity: Quantity, side: Side) -> Finding:
    """Return that there is nothing to compare the only value with."""
    return Finding(
        rule,
        "info",
        f"Unknown: {_MEASURES[rule]} {at_end(comparison)} is {described([side])}, and no other has a value to compare."
        f"{left_out_words(comparison, quantity)}",
        evidence={
            "quantity": quantity.name,
            "order": [asdict(side)],
            "left_out": left_out(comparison, quantity),
        },
        figure=_FIGURES[rule],
    )


def _opening(comparison: Comparison, rule: str, best: Side, second: Side, difference: GroupDifference | None) -> str:
    predicate = _PREDICATES[rule][bool(continuing_runs(comparison))]
    if difference is not None and difference.p_value is not None and not is_significant(difference):
        return f"It is unclear which of {both(best.name, second.name)} {predicate}"
    if best.mean == second.mean:
        return f"{both(best.name, second.name)} are equal here"
    return f"{printable(best.name, 60)} {predicate}"


def _relative_to_start(comparison: Comparison, best: Side) -> str:
    """State whether the same side moved most relative to its initial norm: large weights move further."""
    quantity = by_name(comparison.quantities).get("relative_initial_distance")
    ordered = sides_of(comparison, quantity)[::-1] if quantity else []
    if not ordered:
        return ""
    if ordered[0].name == best.name:
        return f" The same is true relative to ‖W₀‖: {described(ordered)}."
    return f" Relative to ‖W₀‖ another comes first: {described(ordered)}."


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
        f"{opening}: {values}.{conclusion}{left_out_words(comparison, accuracy)}",
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
