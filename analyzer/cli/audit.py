"""``weightlapse audit``: find out whether a folder of checkpoints is what it seems."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from analyzer.cli.options import files_option, layout_option
from analyzer.cli.terminal import EXIT_SERIOUS, answer_text, progress, say

if TYPE_CHECKING:
    from analyzer.auditing.accepting import Acceptance


def _parse_accepts(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[Acceptance, ...]:
    """Parse what is accepted; the rules are imported only where one is named."""
    if not texts:
        return ()
    from analyzer.auditing.accepting import parse

    try:
        return tuple(parse(text) for text in texts)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


@click.command("audit")
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@layout_option
@files_option
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Checkpoints at a time; by default as many as there are cores."
)
@click.option(
    "--accept",
    "accepts",
    metavar="RULE[:GLOB]",
    multiple=True,
    callback=_parse_accepts,
    help="A finding that you know of does not count: by its rule, and by the tensors it is about; may be repeated.",
)
def audit_command(
    path: str,
    as_json: bool,
    layout: str | None,
    files: tuple[str, ...],
    jobs: int | None,
    accepts: tuple[Acceptance, ...],
) -> int:
    """Find out whether a folder of checkpoints is what it seems.

    Reads everything once and ends with a verdict; the exit code is 3 where there is a serious defect that is not
    accepted.
    """
    from analyzer import layouts, workflow
    from analyzer.auditing.accepting import accept
    from analyzer.auditing.output import as_json_object, as_text

    found = layouts.open_runs([path], layout, files=files)
    audits = []
    for run in found.runs:
        with progress("Reading") as show:
            audits.append(workflow.audit(run, jobs, show))
    audits, notices = accept(audits, accepts)
    for notice in notices:
        say(f"Notice: {notice}")
    if as_json:
        answer_text(json.dumps(as_json_object(audits, found.refused), indent=1, allow_nan=False))
    else:
        answer_text(as_text(audits, found.refused))
    serious = any(finding.severity == "serious" for one in audits for finding in one.counted)
    return EXIT_SERIOUS if serious or found.refused else 0
