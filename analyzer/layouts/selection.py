"""Select the tensors of a run whose names match patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from analyzer.errors import ArgumentError
from analyzer.model.names import listed
from analyzer.model.run import Finding, Run


def with_tensors(run: Run, patterns: Sequence[str]) -> Run:
    """Return the run with only the tensors that match a pattern (``*``, ``?``, ``[abc]``; case-sensitive).

    Totals and means then cover the selected tensors, which a finding reports.

    Raises:
        ArgumentError: a pattern matches no tensor of any checkpoint.
    """
    names = list(dict.fromkeys(name for checkpoint in run.checkpoints for name in checkpoint.tensors))
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ArgumentError(f"{run.path}: no tensor matches {pattern!r}; its tensors are {listed(names)}")
    chosen = {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}
    checkpoints = tuple(
        replace(one, tensors={name: info for name, info in one.tensors.items() if name in chosen})
        for one in run.checkpoints
    )
    sentence = (
        f"Only {len(chosen)} of {len(names)} tensors are measured, those that match {', '.join(patterns)}; "
        "totals and means cover these."
    )
    evidence = {"patterns": list(patterns), "tensors": len(chosen)}
    finding = Finding("selected_tensors", "info", sentence, evidence=evidence)
    return replace(run, checkpoints=checkpoints, findings=(*run.findings, finding), is_partial=True)
