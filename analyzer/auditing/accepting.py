"""Accept findings that the user knows of, such as a layer that is frozen on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from analyzer.auditing import Audit
from analyzer.findings.rules import FILE_RULES
from analyzer.model.names import listed, printable
from analyzer.model.run import Finding

# The rules of findings that come from opening a folder and reading its files, beside the registered ones.
OPENING_RULES = (
    *("adapter_scale_assumed", "ambiguous_name", "averaged_weights", "contradicting_copy", "contradicting_files"),
    *(
        "duplicate_files",
        "further_models",
        "left_out_files",
        "names_kept",
        "names_unwrapped",
        "not_checkpoints",
        "order_by_age",
    ),
    *("refused_file", "score_from_earlier_step", "scores_added", "scores_by_epoch"),
    *("scores_contradict", "scores_large_records", "scores_need_package", "scores_not_finite"),
    *("scores_of_several_trainings", "scores_read", "scores_shifted", "scores_unmatched", "scores_unreadable"),
    *("scores_without_place", "selected_tensors", "several_series", "several_weights", "steps_within_epochs"),
    *("tied_weights", "unfinished_run", "unread_weights", "unreadable_tensor"),
)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A rule of which findings are accepted: all of them, or those about tensors whose names match a pattern."""

    rule: str
    pattern: str | None = None

    def __str__(self) -> str:
        """Return it as it was written."""
        return self.rule if self.pattern is None else f"{self.rule}:{self.pattern}"


def parse(text: str) -> Acceptance:
    """Parse ``RULE`` or ``RULE:GLOB``.

    Raises:
        ValueError: there is no such rule, or the pattern is empty; the message names the nearest rules.
    """
    rule, colon, pattern = text.partition(":")
    known = [*FILE_RULES, *OPENING_RULES]
    if rule == "refused_run":
        raise ValueError("refused_run is about a folder that is no run; move it away, or name the folder of a run")
    if rule not in known:
        near = get_close_matches(rule, known, n=3, cutoff=0.5)
        meant = f"; did you mean {' or '.join(near)}?" if near else "; audit --json names the rule of each finding"
        raise ValueError(f"there is no rule {printable(rule, 80)}{meant}")
    if colon and not pattern:
        raise ValueError(f"{rule}: needs a pattern of tensor names after the colon; leave the colon out to accept all")
    return Acceptance(rule, pattern if colon else None)


def accept(audits: Sequence[Audit], acceptances: Sequence[Acceptance]) -> tuple[list[Audit], list[str]]:
    """Mark the accepted findings of some runs.

    A finding about several tensors is accepted if each of them matches one of the patterns, so that a defect of a
    further tensor is not hidden.

    Returns:
        the audits, and a sentence for each acceptance that accepts nothing.
    """
    marked = [replace(one, accepted=frozenset(_accepted(one, acceptances))) for one in audits]
    notices = []
    for acceptance in dict.fromkeys(acceptances):
        of_rule = [(one, position) for one in marked for position in _of_rule(one, acceptance.rule)]
        if any(position in one.accepted and _applies(acceptance, one.findings[position]) for one, position in of_rule):
            continue
        partly = [
            (name, other)
            for one, position in of_rule
            if acceptance.pattern is not None
            for name in _tensors(one.findings[position])
            if fnmatchcase(name, acceptance.pattern)
            for other in [_uncovered(one.findings[position], acceptances)]
        ]
        if partly:
            name, others = partly[0]
            reason = f"the finding about {printable(name, 80)} is about {listed(others)}, too, so it still counts"
        else:
            reason = "matches no finding"
        notices.append(f"--accept {printable(str(acceptance), 120)}: {reason}.")
    return marked, notices


def _of_rule(audit: Audit, rule: str) -> list[int]:
    return [position for position, finding in enumerate(audit.findings) if finding.rule == rule]


def _accepted(audit: Audit, acceptances: Sequence[Acceptance]) -> list[int]:
    """Return the positions of the findings that are accepted."""
    rules = {one.rule for one in acceptances}
    whole = {one.rule for one in acceptances if one.pattern is None}
    return [
        position
        for position, finding in enumerate(audit.findings)
        if finding.rule in whole
        or (finding.rule in rules and _tensors(finding) and not _uncovered(finding, acceptances))
    ]


def _applies(acceptance: Acceptance, finding: Finding) -> bool:
    """Check whether an acceptance is about a finding, or about one of its tensors."""
    pattern = acceptance.pattern
    return pattern is None or any(fnmatchcase(name, pattern) for name in _tensors(finding))


def _uncovered(finding: Finding, acceptances: Sequence[Acceptance]) -> list[str]:
    """Return the tensors of a finding that match none of the patterns for its rule."""
    patterns = [one.pattern for one in acceptances if one.rule == finding.rule and one.pattern is not None]
    return [name for name in _tensors(finding) if not any(fnmatchcase(name, pattern) for pattern in patterns)]


def _tensors(finding: Finding) -> list[str]:
    """Return the tensors that a finding is about, from its evidence where it has several."""
    named = finding.evidence.get("tensors")
    names = [one for one in named if isinstance(one, str)] if isinstance(named, (list, tuple)) else []
    return names or ([finding.tensor] if finding.tensor is not None else [])
