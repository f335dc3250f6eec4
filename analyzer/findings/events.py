"""Report one event as one finding, without its consequences.

An explosion, a damaged checkpoint or a jump brings about other findings. They are left out, because advice against the
consequences would contradict the advice against the event, which is the one that counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from analyzer.findings.histories import lost_since
from analyzer.findings.rules import SEVERITIES, Rule
from analyzer.findings.wording import agree
from analyzer.model.names import listed
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


# What happened to a run at one place: it comes before other findings of the same severity, which may follow from it.
HAPPENED = frozenset(
    (
        *("weights_stand_still", "exchanged_checkpoints", "foreign_checkpoint", "goes_back", "task_changes"),
        *("step_length_changes", "norm_explodes", "norm_jumps", "norm_jumps_for_good", "motion_spike"),
        *("weights_become_zero",),
    )
)
NOT_FINITE = "nonfinite_weights"


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings, the most serious first, then what happened before other findings; otherwise in their order."""
    return sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), one.rule not in HAPPENED))


def without_what_nan_spoils(tables: Tables, findings: Sequence[Finding]) -> list[Finding]:
    """Return findings without those about scores that were lost with weights that are not finite up to the end.

    The finding about the weights names these scores instead.
    """
    first, last = lost_since(tables), len(tables.checkpoints) - 1
    spoilt = [one for one in findings if one.rule == NOT_FINITE]
    if not spoilt or first > last or tables.checkpoints[first].name not in spoilt[0].checkpoints:
        return list(findings)
    lost = [one for one in findings if one.rule == "scores_not_finite" and _begins_after(tables, one, first - 1)]
    since = [row.name for row in tables.checkpoints[first:]]
    fallen = [one for one in findings if one.rule == "score_collapses" and one.evidence["since"] in since]
    words = [f"{_scores(one, 'scores')} not finite" for one in lost]
    words += [f"{_scores(one, 'best')} far worse" for one in fallen]
    if not words:
        return list(findings)
    told = replace(
        spoilt[0], sentence=f"{spoilt[0].sentence} The scores went with the weights: {', and '.join(words)}."
    )
    kept = [one for one in findings if one not in lost and one not in fallen]
    return [told if one is spoilt[0] else one for one in kept]


def _scores(finding: Finding, key: str) -> str:
    """Return "test loss is", or "train loss and test loss are"."""
    names = [name.replace("_", " ") for name in _dict(finding, key)]
    return f"{listed(names)} {agree(len(names), 'is', 'are')}"


def _dict(finding: Finding, key: str) -> Mapping[str, object]:
    found = finding.evidence.get(key)
    return found if isinstance(found, dict) else {}


def _begins_after(tables: Tables, finding: Finding, position: int) -> bool:
    """Check whether all scores that are not finite were so only after a checkpoint."""
    if position < 0:
        return True
    reached = getattr(tables.checkpoints[position], str(finding.evidence["unit"]))
    firsts = [held["first"] for held in _dict(finding, "scores").values() if isinstance(held, dict)]
    return reached is not None and all(one > reached for one in firsts)


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
