"""One event, one finding: what follows from an explosion, a damaged checkpoint or a jump is not told beside it.

The advice against the event is the advice that counts; that against its consequences would contradict it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from analyzer.findings.rules import SEVERITIES, Rule
from analyzer.model.run import Finding, Tables

EVENTS = ("norm_explodes", "norm_jumps", "motion_spike")  # an event comes before what it accounts for
ADVICE = frozenset({"low_rank_updates", "could_be_cut_in_rank", "could_be_pruned"})  # for healthy matrices
CONSEQUENCES = ADVICE | {
    "motion_spike",
    "condition_number_explodes",
    "rank_collapses",
    "outliers_leave_bulk",
    "alpha_out_of_range",
}


def beside(events: Sequence[Finding], name: str, rule: Rule, tables: Tables) -> list[Finding]:
    """What a rule of that name says of the tensors for which none of the events accounts."""
    said = list(rule(tables))
    while name in CONSEQUENCES and (explained := set(_explained(events, said))):
        rest, others = ([row for row in tables.tensors if (row.name in explained) == is_so] for is_so in (False, True))
        tables = replace(tables, tensors=tuple(rest), explained=(*tables.explained, *others))
        said = list(rule(tables))
    return said


def _explained(events: Sequence[Finding], said: Sequence[Finding]) -> Iterable[str]:
    for finding in said:
        for event in events:
            if event.rule != finding.rule:
                yield from (name for name in _tensors(finding) & _tensors(event) if _accounts(event, finding, name))


def _accounts(event: Finding, finding: Finding, tensor: str) -> bool:
    """An explosion for all else; other events for advice, and for what is no graver and began at the same place."""
    if event.rule == "norm_explodes" or finding.rule in ADVICE:
        return True
    since = finding.evidence.get("since")
    graver = SEVERITIES.index(finding.severity) < SEVERITIES.index(event.severity)
    return isinstance(since, dict) and since.get(tensor) in event.checkpoints and not graver


def _tensors(finding: Finding) -> frozenset[str]:
    tensors = finding.evidence.get("tensors", ())
    return frozenset(tensors) if isinstance(tensors, list) else frozenset()
