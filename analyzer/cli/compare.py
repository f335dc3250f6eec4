"""``weightlapse compare``: compare runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

from analyzer.cli.measure import exit_code, measure_prepared, prepare, show_plan
from analyzer.cli.options import MeasureOptions, force_option, measure_options, out_option
from analyzer.cli.terminal import answer, say

if TYPE_CHECKING:
    from analyzer.model.run import Finding


@click.command("compare")
@click.argument("reports", metavar="REPORT REPORT...", nargs=-1, required=True)
@out_option
@force_option
@measure_options
def compare_command(reports: tuple[str, ...], out: str | None, force: bool, options: MeasureOptions) -> int:
    """Compare runs with each other.

    Which moved most, which ended best conditioned, did it matter for accuracy, and how sure is that?

    REPORT is a report folder, a store, or a folder of checkpoints, which is measured first. A store may contain many
    runs; those that differ in nothing but the seed are a group.
    """
    from analyzer import workflow

    started = perf_counter()
    stored = {path: workflow.stored_in(path) for path in reports}
    unmeasured = tuple(path for path, its_store in stored.items() if its_store is None)
    if options.dry_run:
        for path in unmeasured:
            show_plan(prepare((path,), options))
        return 0
    stores = {path: str(its_store) for path, its_store in stored.items() if its_store is not None}
    refused: list[Finding] = []
    only: dict[str, Collection[str]] = {}  # of a store that others may have measured into: the runs that were named
    for paths in [unmeasured] if options.store is not None and unmeasured else [(path,) for path in unmeasured]:
        prepared = prepare(paths, options)
        done = measure_prepared(prepared)
        refused += prepared.found.refused
        stores |= dict.fromkeys(paths, prepared.store)
        if options.store is not None and options.store not in reports:
            only[prepared.store] = done
    folder = Path(out) if out else Path("reports") / _name_of_comparison(reports)
    arguments = {"reports": list(reports), "out": out, "force": force, **options.arguments()}
    comparison = workflow.compare(
        [stores[path] for path in reports], str(folder), force=force, arguments=arguments, asked=reports, only=only
    )
    answer(folder / "index.html")
    say(f"Done in {perf_counter() - started:.1f} s.")
    return exit_code([(None, refused), *((run.name, run.tables.findings) for run in comparison.runs)])


def _name_of_comparison(reports: Sequence[str]) -> str:
    """Return ``a-and-b``, ``a-and-3-more``, or ``a-compared`` where one store contains all runs."""
    from analyzer.model.names import slug

    names = [slug(Path(path).stem if path.endswith(".sqlite") else Path(path).name) or "run" for path in reports]
    if len(names) == 1:
        return f"{names[0]}-compared"
    return f"{names[0]}-and-{names[1] if len(names) == 2 else f'{len(names) - 1}-more'}"
