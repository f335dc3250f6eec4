"""``weightlapse report``: measure what is missing, then draw the report folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

from analyzer.cli.measure import exit_code, measure_prepared, prepare, show_plan
from analyzer.cli.options import (
    MeasureOptions,
    force_option,
    measure_options,
    out_option,
    parse_time,
    reject_measure_options,
)
from analyzer.cli.terminal import answer, say
from analyzer.store.files import STORE_NAME

if TYPE_CHECKING:
    from analyzer.workflow import FindingsByRun


@click.command("report")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@out_option
@force_option
@click.option("--no-explore", is_flag=True, help="Leave out the interactive page explore.html (about 5 MB).")
@click.option("--single-file", is_flag=True, help="Write one HTML file to mail instead; --out names it.")
@click.option(
    "--animate",
    metavar="GLOB",
    multiple=True,
    help="Animate the singular values of layers with matching names, such as 'fc1.weight'; may be repeated.",
)
@click.option("--all-correlations", is_flag=True, help="List all correlations in correlations.csv, not a selection.")
@click.option("--follow", "follows", is_flag=True, help="Bring the report up to date as checkpoints appear.")
@click.option(
    "--idle", metavar="TIME", callback=parse_time, help="With --follow: stop when nothing has changed for, say, 30m."
)
@measure_options
def report_command(
    paths: tuple[str, ...],
    out: str | None,
    force: bool,
    no_explore: bool,
    single_file: bool,
    animate: tuple[str, ...],
    all_correlations: bool,
    follows: bool,
    idle: float | None,
    options: MeasureOptions,
) -> int:
    """Measure what is missing, then draw the report folder.

    PATH is a run's folder, a folder of runs, or a store or report folder to be drawn again without checkpoints.
    """
    from analyzer import workflow
    from analyzer.report.writer import ReportOptions

    if single_file and animate:
        raise click.UsageError("--animate is for a report folder: a single file has no pages of layers")
    if single_file and all_correlations:
        raise click.UsageError("--all-correlations is for a report folder: a single file has no tables")
    if follows and (single_file or options.dry_run):
        raise click.UsageError(
            f"--follow is for a report folder, not for {'--dry-run' if options.dry_run else '--single-file'}"
        )
    if idle is not None and not follows:
        raise click.UsageError("--idle is for --follow")
    if single_file:
        return _single_file(paths, out, force, options)
    contents = ReportOptions(not no_explore, animate, all_correlations)
    arguments = {"paths": list(paths), "out": out, "force": force, **asdict(contents), **options.arguments()}
    draw = partial(workflow.report, force=force, options=contents, arguments=arguments)
    stored = workflow.stored_in(paths[0]) if len(paths) == 1 else None
    if stored is not None:
        reject_measure_options(paths[0])
        if follows:
            raise click.UsageError(f"{paths[0]} is a store, which does not grow; name the folder of the checkpoints")
        folder = Path(out) if out else stored.parent if stored.name == STORE_NAME else Path("reports") / stored.stem
        found = draw(str(stored), str(folder))
        answer(folder / "index.html")
        return exit_code([*found.items()])
    update = partial(_measure_and_draw, paths, out, force, options, draw)
    if follows:
        from analyzer.cli.following import follow

        return follow(paths, options, update, idle)
    return update()


def _measure_and_draw(
    paths: tuple[str, ...], out: str | None, force: bool, options: MeasureOptions, draw: Callable[..., FindingsByRun]
) -> int:
    """Measure what is missing, then draw the report folder."""
    from analyzer import workflow

    started = perf_counter()
    prepared = prepare(paths, options, out)
    prepared_at, folder = perf_counter(), prepared.folder
    if options.dry_run:
        return show_plan(prepared)
    if prepared.is_named:  # before the work: the report could not be written later
        workflow.claim(str(folder), prepared.found.runs, force)
    done = measure_prepared(prepared, force)
    seconds = {"find": round(prepared_at - started, 3), "measure": round(perf_counter() - prepared_at, 3)}
    found = draw(prepared.store, str(folder), only=done, seconds=seconds)
    answer(folder / "index.html")
    say(f"Done in {perf_counter() - started:.1f} s (measuring {seconds['measure']:.1f} s).")
    return exit_code([(None, prepared.found.refused), *found.items()])


def _single_file(paths: tuple[str, ...], out: str | None, force: bool, options: MeasureOptions) -> int:
    """Measure what is missing, then draw the report as a single file; the store stays where a report has it."""
    from analyzer import workflow

    stored = workflow.stored_in(paths[0]) if len(paths) == 1 else None
    if stored is not None:
        reject_measure_options(paths[0])
        name = stored.parent.name if stored.name == STORE_NAME else stored.stem
        file = Path(out) if out else Path("reports") / f"{name}.html"
        found = workflow.report_file(str(stored), str(file), force=force)
        answer(file)
        return exit_code([*found.items()])
    prepared = prepare(paths, options)
    if options.dry_run:
        return show_plan(prepared)
    done = measure_prepared(prepared)
    file = Path(out) if out else prepared.folder.with_name(f"{prepared.folder.name}.html")
    found = workflow.report_file(prepared.store, str(file), force=force, only=done)
    answer(file)
    return exit_code([(None, prepared.found.refused), *found.items()])
