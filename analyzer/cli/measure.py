"""``weightlapse measure``: fill a store without drawing anything; also what other commands measure first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

from analyzer.cli.options import MeasureOptions, measure_options
from analyzer.cli.terminal import EXIT_SERIOUS, progress, say, show_findings
from analyzer.store.files import STORE_NAME

if TYPE_CHECKING:
    from analyzer.engine.update import MeasureRequest
    from analyzer.layouts import FoundRuns
    from analyzer.model.run import Finding

WORTH_SAYING = 5.0  # seconds; below that, starting takes most of the time


@click.command("measure")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@measure_options
def measure_command(paths: tuple[str, ...], options: MeasureOptions) -> int:
    """Measure runs into a store, without drawing anything."""
    from analyzer import workflow

    prepared = prepare(paths, options)
    if options.dry_run:
        return show_plan(prepared, options.store or str(prepared.folder / STORE_NAME))
    started = perf_counter()
    done = measure_prepared(prepared, options.store)
    click.echo(done.store)
    count = f"{done.checkpoints} checkpoint(s) measured" if done.checkpoints else "all was measured before"
    say(f"Done in {perf_counter() - started:.1f} s ({count}).")
    return exit_code([(None, prepared.found.refused), *workflow.find(done.store, done.runs).items()])


@dataclass(frozen=True, slots=True)
class Prepared:
    """The runs and the metrics that a command line names, and the report folder of these runs by default."""

    found: FoundRuns
    request: MeasureRequest
    folder: Path


@dataclass(frozen=True, slots=True)
class Measured:
    """Where runs were measured to, their names, and how many checkpoints had to be measured."""

    store: str
    runs: frozenset[str]
    checkpoints: int


def prepare(paths: Sequence[str], options: MeasureOptions) -> Prepared:
    """Open the runs and choose the metrics that the options name."""
    from analyzer import workflow

    request = options.request()
    found = workflow.open_runs(paths, options.layout, options.tensors, options.scalars, options.files)
    return Prepared(found, request, Path("reports") / workflow.report_name(paths[0], found.runs))


def measure_prepared(
    prepared: Prepared, store: str | None, folder: Path | None = None, force: bool = False
) -> Measured:
    """Measure runs into a store or, where none is named, into that of their report, whose folder is claimed first."""
    from analyzer import workflow

    runs, folder = prepared.found.runs, folder or prepared.folder
    path = store or str(folder / STORE_NAME)
    if store is None and (warning := workflow.claim(str(folder), runs, force)):
        say(f"Warning: {warning}")
    try:
        with progress("Measuring") as show:
            done = workflow.measure(runs, path, prepared.request, show, only=force and store is None)
    except KeyboardInterrupt:
        say("What was measured so far is kept; the same command continues from there.")
        raise
    return Measured(path, frozenset(done), sum(one.checkpoints for one in done.values()))


def show_plan(prepared: Prepared, store: str) -> int:
    """Print what was found of each run, and what measuring it into this store would take."""
    from analyzer import workflow
    from analyzer.auditing.output import as_text
    from analyzer.model.sizes import size_text

    families = ", ".join(dict.fromkeys(metric.row.family for metric in prepared.request.metrics))
    for audit, ahead in workflow.plan(prepared.found.runs, store, prepared.request):
        click.echo(as_text([audit]))
        if not ahead.tensors:
            click.echo(f"Plan: nothing, all of {families} is in {store}.")
            continue
        time = f", roughly {ahead.seconds:.2g} s" if ahead.seconds > WORTH_SAYING else ""
        click.echo(
            f"Plan: {families} of {ahead.tensors} tensors at {ahead.checkpoints} checkpoint(s), "
            f"{size_text(ahead.bytes)} to read, {ahead.jobs} at a time{time}. Into {store}."
        )
    if prepared.found.refused:
        click.echo(as_text([], prepared.found.refused))
    return 0


def exit_code(found: Sequence[tuple[str | None, Sequence[Finding]]], *, of_several: bool = False) -> int:
    """Print the findings that need attention; return the exit code, which says whether one of them is serious."""
    show_findings(found, of_several=of_several)
    return EXIT_SERIOUS if any(one.severity == "serious" for _, findings in found for one in findings) else 0
