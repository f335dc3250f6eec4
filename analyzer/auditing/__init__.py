"""Is this folder what it seems? What is said of a run before any metric."""

from __future__ import annotations

from analyzer.auditing import headers, scores, unplaced, weights
from analyzer.auditing.contents import Contents
from analyzer.findings import by_severity
from analyzer.model.run import Finding, Run


def audit(run: Run, contents: Contents | None = None) -> list[Finding]:
    """Everything that is worth knowing before the run is measured, the most serious first.

    The findings that the layout made (refused files, duplicates, unfinished runs) come along.

    Args:
        run: the run.
        contents: what :func:`analyzer.auditing.contents.read_contents` read of it; without, only headers and names are
            looked at.
    """
    said = weights.look_at(run, contents) if contents else ()
    return by_severity(
        [*run.findings, *headers.look_at(run), *scores.look_at(run), *unplaced.look_at(run, contents), *said]
    )
