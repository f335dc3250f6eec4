"""Answer which group or run moved most, and which is best conditioned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from analyzer.comparing.answers.sides import Side, described, difference_of, is_significant, sides_of, verdict
from analyzer.comparing.answers.wording import at_end, both, continuation, continuing_runs, shared_tensors
from analyzer.comparing.quantities import by_name
from analyzer.model.comparison import Comparison, GroupDifference, Quantity
from analyzer.model.names import printable
from analyzer.model.run import Finding

_PREDICATES = {  # at the end of the runs, and before the end of some run
    "moved_most": ("moved most", "had moved most"),
    "best_conditioned": ("ended best conditioned", "was best conditioned"),
}
_MEASURES = {
    "moved_most": "‖W−W₀‖ of all parameters",
    "best_conditioned": "κ (geometric mean over the weight matrices)",
}


def extreme(comparison: Comparison, rule: str, quantity: Quantity, *, largest: bool) -> Iterator[Finding]:
    """Yield which group (or run) is largest or smallest, and whether chance alone may explain it."""
    sides = sides_of(comparison, quantity)
    if len(sides) < 2:
        return
    ordered = sides[::-1] if largest else sides
    best, second = ordered[:2]
    difference = difference_of(comparison, quantity.name, best.name, second.name)
    shared = shared_tensors(comparison)
    caveat = f"{shared}, so this compares different networks. " if shared else ""
    values = f"{_MEASURES[rule]} {at_end(comparison)} is {described(ordered)}"
    sentence = (
        f"{caveat}{_opening(comparison, rule, best, second, difference)}: {values}.{continuation(comparison)}"
        f"{verdict(comparison, difference)}"
    )
    if rule == "moved_most":
        sentence += _relative_to_start(comparison, best)
    evidence: dict[str, object] = {"quantity": quantity.name, "order": [asdict(side) for side in ordered]}
    if difference is not None:
        evidence["difference"] = asdict(difference)
    figure = "compared_motion" if rule == "moved_most" else "compared_shape"
    yield Finding(rule, "info", sentence, evidence=evidence, figure=figure)


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
