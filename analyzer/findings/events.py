"""Report one event as one finding, without its consequences.

An explosion, a damaged checkpoint or a jump brings about other findings. They are left out, because advice against the
consequences would contradict the advice against the event, which is the one that counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from analyzer.findings.rules import SEVERITIES, Rule
from analyzer.model.run import Finding
from analyzer.model.tables import Tables

# An event comes before those that it explains.
EVENTS = ("norm_explodes", "norm_jumps", "motion_spike", "norm_jumps_for_good")
ADVICE = frozenset({"low_rank_updates", "could_be_cut_in_rank", "could_be_pruned"})  # for healthy matrices
CONSEQUENCES = ADVICE.union(
    ("motion_spike", "layer_hardly_moves", "first_layers_hardly_move", "condition_number_explodes"),
    ("rank_collapses", "outliers_leave_bulk", "alpha_out_of_range"),
)
OF_ALL_LAYERS = "step_length_changes"  # which one layer's event brings about as well


def unexplained(events: Sequence[Finding], name: str, rule: Rule, tables: Tables) -> list[Finding]:
    """Return the findings of a rule about the tensors that no event explains.

    Args:
        events: findings of the rules in `EVENTS`.
        name: the rule's name.
        rule: the rule, which is applied again without the explained tensors until none of its findings is explained.
        tables: one run.
    """
    findings = list(rule(tables))
    if name == OF_ALL_LAYERS:
        return [one for one in findings if not any(_begins_with(event, one) for event in events)]
    while name in CONSEQUENCES and (explained := set(_explained(events, findings))):
        rest, others = ([row for row in tables.tensors if (row.name in explained) == is_so] for is_so in (False, True))
        tables = replace(tables, tensors=tuple(rest), explained=(*tables.explained, *others))
        findings = list(rule(tables))
    return findings


def _explained(events: Sequence[Finding], findings: Sequence[Finding]) -> Iterable[str]:
    """Yield the tensors of findings that an event explains."""
    for finding in findings:
        for event in events:
            if event.rule != finding.rule:
                yield from (name for name in _tensors(finding) & _tensors(event) if _explains(event, finding, name))


def _explains(event: Finding, finding: Finding, tensor: str) -> bool:
    """Check whether an event explains a finding about the same tensor.

    An explosion explains everything. Other events explain advice, and whatever began at the same checkpoint and is not
    more severe than the event.
    """
    if event.rule == "norm_explodes" or finding.rule in ADVICE:
        return True
    since = finding.evidence.get("since")
    return isinstance(since, dict) and since.get(tensor) in event.checkpoints and not _is_graver(finding, event)


def _begins_with(event: Finding, change: Finding) -> bool:
    """Check whether a change of all steps begins at the checkpoint of an event, and is not more severe."""
    return change.severity != "info" and change.checkpoints[-1] in event.checkpoints and not _is_graver(change, event)


def _is_graver(finding: Finding, event: Finding) -> bool:
    return SEVERITIES.index(finding.severity) < SEVERITIES.index(event.severity)


def _tensors(finding: Finding) -> frozenset[str]:
    tensors = finding.evidence.get("tensors", ())
    return frozenset(tensors) if isinstance(tensors, list) else frozenset()
