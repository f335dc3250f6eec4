"""``weightlapse measure``: fill a store without drawing anything; also what other commands measure first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

from analyzer.cli.options import MeasureOptions, measure_options
from analyzer.cli.terminal import EXIT_SERIOUS, answer, answer_text, progress, say, show_findings
from analyzer.store.files import STORE_NAME

if TYPE_CHECKING:
    from analyzer.engine.update import MeasureRequest, Summary
    from analyzer.layouts import FoundRuns
    from analyzer.model.run import Finding

WORTH_SAYING = 5.0  # seconds; below that, starting takes most of the time


@click.command("measure")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--shard", metavar="I/N", help="Measure the I-th of N parts only; weightlapse merge joins their stores.")
@measure_options
def measure_command(paths: tuple[str, ...], shard: str | None, options: MeasureOptions) -> int:
    """Measure runs into a store, without drawing anything."""
    from analyzer import workflow
    from analyzer.engine.shards import parse_shard

    prepared = prepare(paths, options)
    if shard is not None:
        prepared = replace(prepared, request=replace(prepared.request, shard=parse_shard(shard)))
    if options.dry_run:
        return show_plan(prepared)
    started = perf_counter()
    done = measure_prepared(prepared)
    answer(prepared.store)
    checkpoints = sum(one.checkpoints for one in done.values())
    count = f"{_counted(checkpoints, 'checkpoint')} measured" if checkpoints else "all was measured before"
    say(f"Done in {perf_counter() - started:.1f} s ({count}).")
    return exit_code([(None, prepared.found.refused), *workflow.find(prepared.store, done).items()])


@dataclass(frozen=True, slots=True)
class Prepared:
    """The runs and the metrics that a command line names, their report folder, and the store.

    The store is that of the report unless the command line names another (``is_named``).
    """

    found: FoundRuns
    request: MeasureRequest
    folder: Path
    store: str
    is_named: bool


def prepare(paths: Sequence[str], options: MeasureOptions, out: str | None = None) -> Prepared:
    """Open the runs and choose the metrics that the options name; ``out`` is the report folder if it is named."""
    from analyzer import layouts, workflow

    request = options.request()
    found = layouts.open_runs(paths, options.layout, options.tensors, options.scalars, options.files)
    folder = Path(out) if out else Path("reports") / workflow.report_name(paths[0], found.runs)
    store = options.store or str(folder / STORE_NAME)
    return Prepared(found, request, folder, store, options.store is not None)


def measure_prepared(prepared: Prepared, force: bool = False) -> dict[str, Summary]:
    """Measure runs into their store and return what was done by the run's name.

    The report folder is claimed first if the store is in it.
    """
    from analyzer import workflow

    runs, in_report = prepared.found.runs, not prepared.is_named
    if in_report and (warning := workflow.claim(str(prepared.folder), runs, force)):
        say(f"Warning: {warning}")
    try:
        with progress("Measuring") as show:
            return workflow.measure(runs, prepared.store, prepared.request, show, only=force and in_report)
    except KeyboardInterrupt:
        say("What was measured so far is kept; the same command continues from there.")
        raise


def show_plan(prepared: Prepared) -> int:
    """Print what was found of each run, and what measuring it into the store would take."""
    from analyzer import workflow
    from analyzer.auditing.output import as_text
    from analyzer.model.sizes import size_text

    families = ", ".join(dict.fromkeys(metric.row.family for metric in prepared.request.metrics))
    for audit, ahead in workflow.plan(prepared.found.runs, prepared.store, prepared.request):
        answer_text(as_text([audit]))
        if not ahead.tensors:
            answer(f"Plan: nothing, all of {families} is in {prepared.store}.")
            continue
        time = f", roughly {ahead.seconds:.2g} s" if ahead.seconds > WORTH_SAYING else ""
        answer(
            f"Plan: {families} of {_counted(ahead.tensors, 'tensor')} at {_counted(ahead.checkpoints, 'checkpoint')}, "
            f"{size_text(ahead.bytes)} to read, {ahead.jobs} at a time{time}. Into {prepared.store}."
        )
    if prepared.found.refused:
        answer_text(as_text([], prepared.found.refused))
    return 0


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"


def exit_code(found: Sequence[tuple[str | None, Sequence[Finding]]]) -> int:
    """Print the findings that need attention; return the exit code, which says whether one of them is serious."""
    show_findings(found)
    return EXIT_SERIOUS if any(one.severity == "serious" for _, findings in found for one in findings) else 0
