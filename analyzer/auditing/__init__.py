"""Find out whether a folder of checkpoints is what it seems, from its headers and from reading every byte once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from analyzer.auditing.contents import Contents, Progress, read_contents
from analyzer.auditing.placing import find_fits
from analyzer.findings import find_in_files
from analyzer.model.describing import describe
from analyzer.model.run import Checkpoint, Finding, Run
from analyzer.tensors.content_hash import content_hash
from analyzer.tensors.kinds import tensor_rows


@dataclass(frozen=True, slots=True)
class Audit:
    """A run with its findings, the most serious first, and what was read of it; None where only headers were.

    ``accepted`` are the positions of the findings that the user knows of: they are shown, but do not count.
    """

    run: Run
    findings: tuple[Finding, ...]
    contents: Contents | None = None
    accepted: frozenset[int] = frozenset()

    @property
    def counted(self) -> tuple[Finding, ...]:
        """Return the findings that are not accepted."""
        return tuple(one for position, one in enumerate(self.findings) if position not in self.accepted)

    def digest(self, checkpoint: Checkpoint) -> str | None:
        """Return the hash of a checkpoint's content; None where not all of it was read."""
        return content_hash(checkpoint, self.contents.elements[checkpoint.name]) if self.contents else None


def audit_headers(run: Run) -> Audit:
    """Audit a run by its headers, names and scores alone."""
    return Audit(run, tuple(find_in_files(describe(run, tensor_rows(run), {}))))


def audit_contents(run: Run, jobs: int | None = None, progress: Progress | None = None) -> Audit:
    """Audit a run and read every tensor once; the arguments are those of :func:`.contents.read_contents`."""
    contents = read_contents(run, jobs, progress)
    tables = describe(run, tensor_rows(run), contents.elements)
    tables = replace(tables, twins=contents.twins, problems=contents.problems)
    findings = find_in_files(replace(tables, fits=find_fits(tables)))
    return Audit(run, tuple(findings), contents)
