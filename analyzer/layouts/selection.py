"""A part of a run: the tensors whose names match patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from analyzer.errors import LayoutError
from analyzer.model.names import listed
from analyzer.model.run import Finding, Run


def with_tensors(run: Run, patterns: Sequence[str]) -> Run:
    """The run with only the tensors that match one of the patterns (``*``, ``?``, ``[abc]``; case counts).

    Totals and means are those of the chosen tensors, which a finding says.

    Raises:
        LayoutError: a pattern matches no tensor of any checkpoint.
    """
    names = list(dict.fromkeys(name for checkpoint in run.checkpoints for name in checkpoint.tensors))
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise LayoutError(f"{run.path}: no tensor is named like {pattern!r}; there are {listed(names)}")
    chosen = {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}
    checkpoints = tuple(
        replace(one, tensors={name: info for name, info in one.tensors.items() if name in chosen})
        for one in run.checkpoints
    )
    sentence = (
        f"Only {len(chosen)} of {len(names)} tensors are looked at, those named like {', '.join(patterns)}; "
        "totals and means are over these."
    )
    said = Finding("selected_tensors", "info", sentence, evidence={"patterns": list(patterns), "tensors": len(chosen)})
    return replace(run, checkpoints=checkpoints, findings=(*run.findings, said), is_partial=True)
