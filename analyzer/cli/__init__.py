"""The command line ``weightlapse``: the one place where errors become exit codes.

Exit codes: 0 done; 1 failed; 2 usage (an unknown family or layout too); 3 finished but parts are not measured, or the
audit found a serious defect; 4 no checkpoints found; 130 interrupted (what was measured is kept).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NoReturn

import click

from analyzer.cli.terminal import Found, progress, say, tell_findings
from analyzer.errors import MetricError, NoCheckpointsError, WeightlapseError
from analyzer.store.files import STORE_NAME

if TYPE_CHECKING:
    from analyzer.engine.update import MeasureRequest
    from analyzer.metrics.registry import Metric
    from analyzer.model.run import Finding, Run

WORTH_TELLING = 5.0  # seconds; below that, starting takes most of the time
EXIT_FAILED, EXIT_PARTS_FAILED, EXIT_NOTHING_FOUND, EXIT_INTERRUPTED = 1, 3, 4, 130


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    try:
        code = command.main(standalone_mode=False)
    except click.exceptions.Abort:
        say("Interrupted.")
        code = EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except NoCheckpointsError as error:
        say(f"Error: {error}")
        code = EXIT_NOTHING_FOUND
    except WeightlapseError as error:
        say(f"Error: {error}")
        code = EXIT_FAILED
    except MemoryError:
        say("Error: not enough memory. Use fewer streams at a time (--jobs 1).")
        code = EXIT_FAILED
    sys.exit(code)


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _bytes_of(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """A size such as ``500MB``, ``4GB`` or ``2GiB`` in bytes."""
    from analyzer.model.sizes import parse_size

    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def _known_layout(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """A layout's name; the layouts are imported only where one is named."""
    if name is not None:
        from analyzer.layouts import LAYOUTS

        click.Choice(list(LAYOUTS)).convert(name, parameter, context)
    return name


_LAYOUT = click.option(
    "--layout", metavar="NAME", callback=_known_layout, help="What the folder is, where that is ambiguous."
)


def _measure_options(function: Callable[..., Any]) -> Callable[..., Any]:
    options: list[Decorator] = [
        click.option("--store", metavar="FILE.sqlite", help="Keep the measurements in this file."),
        click.option(
            "--metrics",
            metavar="FAMILY,...",
            help="Families or single metrics: motion, size, spectrum, tail, random_matrix (the default), subspace, "
            "update, pruning.",
        ),
        click.option(
            "--metrics-from",
            metavar="FILE.py",
            type=click.Path(exists=True, dir_okay=False),
            help="A Python file of your own with decorated metrics; it runs as your code.",
        ),
        click.option(
            "--scalars",
            metavar="FILE",
            type=click.Path(exists=True, dir_okay=False),
            help="CSV or JSON lines with accuracies by epoch or step, where the run has none.",
        ),
        _LAYOUT,
        click.option(
            "--tensors",
            metavar="GLOB",
            multiple=True,
            help="Only the tensors named like this, such as 'layers.*.weight'; may be given several times.",
        ),
        click.option(
            "--spectra-every",
            metavar="N",
            type=click.IntRange(min=1),
            default=1,
            help="Spectra of every N-th checkpoint only, and of the last one.",
        ),
        click.option(
            "--jobs", type=click.IntRange(min=1), help="Tasks at a time; by default as many as there are cores."
        ),
        click.option(
            "--max-memory",
            metavar="SIZE",
            callback=_bytes_of,
            help="Run fewer streams at a time, to stay below, say, 4GB; a bare number is one of bytes.",
        ),
        click.option(
            "--device",
            type=click.Choice(["cpu", "cuda"]),
            default="cpu",
            help="Where spectra are computed; cuda needs PyTorch and a graphics card.",
        ),
        click.option("--dry-run", is_flag=True, help="Tell what was found and would be measured, and stop."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="weightlapse", prog_name="weightlapse")
def command() -> None:
    """What happened to the weights, from the checkpoints that a training run left behind."""


@command.command("audit")
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@_LAYOUT
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Checkpoints at a time; by default as many as there are cores."
)
def audit_command(path: str, as_json: bool, layout: str | None, jobs: int | None) -> int:
    """Tell whether a folder of checkpoints is what it seems.

    Reads everything once and ends with a verdict; the exit code is 3 where there is a serious defect.
    """
    from analyzer.auditing import audit
    from analyzer.auditing.contents import read_contents
    from analyzer.auditing.output import Audited, as_json_object, as_text
    from analyzer.layouts import find_runs

    audited = []
    found = find_runs(path, layout)
    for run in found.runs:
        with progress("Reading") as show:
            contents = read_contents(run, jobs, show)
        audited.append(Audited(run, audit(run, contents), contents))
    as_json_text = partial(json.dumps, indent=1, allow_nan=False)
    click.echo(as_json_text(as_json_object(audited, found.refused)) if as_json else as_text(audited, found.refused))
    serious = any(finding.severity == "serious" for one in audited for finding in one.findings)
    return EXIT_PARTS_FAILED if serious or found.refused else 0


@command.command("measure")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@_measure_options
def measure_command(paths: tuple[str, ...], store: str | None, **options: Any) -> int:
    """Measure runs into a store, without drawing anything."""
    if options["dry_run"]:
        prepared = _prepare(paths, options)
        return _told_plan(prepared, store or str(_default_out(paths, prepared.runs) / STORE_NAME), options)
    started = perf_counter()
    path, (found, checkpoints) = _measured(paths, store, options)
    click.echo(path)
    measured = f"{checkpoints} checkpoint(s) measured" if checkpoints else "all was measured before"
    say(f"Done in {perf_counter() - started:.1f} s ({measured}).")
    return _told(found)


def _measured(paths: tuple[str, ...], store: str | None, options: dict[str, Any]) -> tuple[str, tuple[Found, int]]:
    """The store that the runs were measured into, by default that of their report, and what :func:`_measure` tells."""
    from analyzer.store.store import open_store

    prepared = _prepare(paths, options)
    runs = prepared.runs
    path = store or str(_claimed(_default_out(paths, runs), runs, force=False) / STORE_NAME)
    with open_store(path, create=True) as opened:
        return path, _measure(opened, prepared, options)


@command.command("report")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--out", metavar="DIR", help="The report folder; reports/NAME by default.")
@click.option("--force", is_flag=True, help="Write over the report of another run, or beside other files.")
@_measure_options
def report_command(paths: tuple[str, ...], out: str | None, force: bool, store: str | None, **options: Any) -> int:
    """Measure what is missing, then draw the report folder.

    PATH is a run's folder, a folder of runs, or a store or report folder to be drawn again without checkpoints.
    """
    from analyzer.workflow import report_store

    arguments = {"paths": list(paths), "out": out, "force": force, "store": store, **options}
    if (stored := _stored(paths)) is not None:
        folder = out or (stored.parent if stored.name == STORE_NAME else Path("reports") / stored.stem)
        incomplete = report_store(str(stored), str(folder), force=force, arguments=arguments)
        click.echo(Path(folder) / "index.html")
        return _told([*incomplete.items()])
    from analyzer.store.store import open_store

    started = perf_counter()
    prepared = _prepare(paths, options)
    runs = prepared.runs
    prepared_at = perf_counter()
    folder = Path(out) if out else _default_out(paths, runs)
    if options["dry_run"]:
        return _told_plan(prepared, store or str(folder / STORE_NAME), options)
    _claimed(folder, runs, force)
    path, names = store or str(folder / STORE_NAME), {run.name for run in runs}
    with open_store(path, create=True) as opened:
        if force and store is None:
            opened.drop_runs_but(names)
        found, _ = _measure(opened, prepared, options)
    seconds = {"find": round(prepared_at - started, 3), "measure": round(perf_counter() - prepared_at, 3)}
    incomplete = report_store(path, str(folder), force=force, only=names, arguments=arguments, seconds=seconds)
    click.echo(folder / "index.html")
    say(f"Done in {perf_counter() - started:.1f} s (measuring {seconds['measure']:.1f} s).")
    return _told([*incomplete.items(), *found])


@command.command("compare")
@click.argument("reports", metavar="REPORT REPORT...", nargs=-1, required=True)
@click.option("--out", metavar="DIR", help="The folder of the comparison; reports/NAME by default.")
@click.option("--force", is_flag=True, help="Write over another comparison, or beside other files.")
@_measure_options
def compare_command(reports: tuple[str, ...], out: str | None, force: bool, store: str | None, **options: Any) -> int:
    """Set runs beside each other.

    Which moved most, which ended best conditioned, did it matter for accuracy, and how sure is that?

    REPORT is a report folder, a store, or a folder of checkpoints, which is measured first. A store may hold many runs;
    those that differ in nothing but the seed are a group.
    """
    from analyzer.report.comparison import compare_stores
    from analyzer.report.completeness import UNFINISHED

    started = perf_counter()
    arguments = {"reports": list(reports), "out": out, "force": force, "store": store, **options}
    stored = {path: _stored((path,)) for path in reports}
    unmeasured = tuple(path for path, its in stored.items() if its is None)
    into = {path: str(its) for path, its in stored.items() if its is not None}
    if options["dry_run"]:
        for path in unmeasured:
            prepared = _prepare((path,), options)
            _told_plan(prepared, store or str(_default_out((path,), prepared.runs) / STORE_NAME), options)
        return 0
    found: Found = []
    only: dict[str, set[str]] = {}  # of a store that others may have measured into: the runs that were named
    for paths in [unmeasured] if store is not None and unmeasured else [(path,) for path in unmeasured]:
        measured, (its, _) = _measured(paths, store, options)
        into |= dict.fromkeys(paths, measured)
        found += its
        if store is not None and store not in reports:
            only[measured] = {name for name, _ in its if name is not None}
    folder = Path(out) if out else Path("reports") / _name_of_comparison(reports)
    stores = [into[path] for path in reports]
    comparison = compare_stores(stores, str(folder), force=force, arguments=arguments, asked=reports, only=only)
    incomplete = [(run.name, [one for one in run.tables.findings if one.rule == UNFINISHED]) for run in comparison.runs]
    click.echo(folder / "index.html")
    say(f"Done in {perf_counter() - started:.1f} s.")
    return _told([*incomplete, *found], of_several=True)


def _name_of_comparison(reports: tuple[str, ...]) -> str:
    """``a-and-b``, ``a-and-3-more``, ``a-compared`` where one store holds all runs."""
    from analyzer.model.names import slug

    names = [slug(Path(path).stem if path.endswith(".sqlite") else Path(path).name) or "run" for path in reports]
    if len(names) == 1:
        return f"{names[0]}-compared"
    return f"{names[0]}-and-{names[1] if len(names) == 2 else f'{len(names) - 1}-more'}"


@command.command("export")
@click.argument("path")
@click.option("--format", "kind", type=click.Choice(["csv", "json"]), required=True, help="What to write.")
@click.option("--out", metavar="PATH", help="The file to write; standard output by default.")
def export_command(path: str, kind: str, out: str | None) -> int:
    """Write every measurement of a report or a store as one table."""
    from analyzer.errors import StoreError
    from analyzer.report.exporting import export

    stored = _stored((path,))
    if stored is None:
        raise StoreError(f"{path}: is neither a store nor a report folder; weightlapse report makes one")
    data, incomplete = export(str(stored), kind)
    if out:
        from analyzer.store.files import write_whole

        write_whole(Path(out), data)
        click.echo(out)
    else:
        sys.stdout.buffer.write(data)
    return _told([*incomplete.items()])


def _stored(paths: tuple[str, ...]) -> Path | None:
    """The store that a path names, itself or through its report folder; None where it is to be searched for runs."""
    from analyzer.sources import is_remote
    from analyzer.store.schema import looks_like_store

    if len(paths) != 1 or is_remote(paths[0]):
        return None
    path = Path(paths[0])
    if path.is_file():
        return path if looks_like_store(path) else None
    inside = path / STORE_NAME
    return inside if inside.is_file() else None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What the options name: runs, metrics, and a finding for each folder among the runs that cannot be used."""

    runs: list[Run]
    metrics: list[Metric]
    refused: list[Finding]


def _prepare(paths: tuple[str, ...], options: dict[str, Any]) -> _Prepared:
    """The runs and the metrics that the options name."""
    from analyzer.layouts import find_runs, with_scores
    from analyzer.metrics import select_metrics
    from analyzer.metrics.registry import load_installed_metrics, load_metrics_file

    if options["device"] != "cpu":
        from analyzer.numerics.torch_backend import check_device

        check_device(options["device"])
    load_installed_metrics()
    families = options["metrics"].split(",") if options["metrics"] is not None else None
    added = load_metrics_file(options["metrics_from"]) if options["metrics_from"] else []
    try:
        metrics = select_metrics([*families, *added] if families is not None else None)
    except MetricError as error:
        raise click.UsageError(str(error), click.get_current_context()) from None
    found = [find_runs(path, options["layout"]) for path in paths]
    runs = [run for one in found for run in one.runs]
    if options["tensors"]:
        from analyzer.layouts.selection import with_tensors

        runs = [with_tensors(run, options["tensors"]) for run in runs]
    if options["scalars"]:
        runs = [with_scores(run, options["scalars"]) for run in runs]
    if len({run.name for run in runs}) < len(runs):
        names = ", ".join(f"{run.name} ({run.path})" for run in runs)
        raise WeightlapseError(f"two of the runs have the same name: {names}; rename a folder, or report them apart")
    return _Prepared(runs, metrics, [finding for one in found for finding in one.refused])


def _default_out(paths: tuple[str, ...], runs: list[Run]) -> Path:
    from analyzer.layouts.naming import run_name
    from analyzer.model.names import slug

    name = runs[0].name if len(runs) == 1 else run_name(paths[0])
    return Path("reports") / (slug(name) or "run")


def _claimed(folder: Path, runs: list[Run], force: bool) -> Path:
    """The report folder, made ready: its own store is set aside where it cannot be read."""
    from analyzer.report.writer import claim_folder
    from analyzer.workflow import set_aside_if_unreadable

    claim_folder(folder, {run.name: run.path for run in runs}, force)
    if warning := set_aside_if_unreadable(str(folder / STORE_NAME)):
        say(f"Warning: {warning}")
    return folder


def _measure(store: Any, prepared: _Prepared, options: dict[str, Any]) -> tuple[Found, int]:
    """What was found, and at how many checkpoints there was something to measure."""
    from analyzer.workflow import measure_runs

    try:
        with progress("Measuring") as show:
            measured = measure_runs(store, prepared.runs, _request(prepared.metrics, options), show)
    except KeyboardInterrupt:
        say("What was measured so far is kept, the same command goes on from there.")
        raise
    found: Found = [(None, prepared.refused), *((run, its.findings) for run, its in measured.items())]
    return found, sum(its.checkpoints for its in measured.values())


def _request(metrics: list[Metric], options: dict[str, Any]) -> MeasureRequest:
    from analyzer.engine.update import MeasureRequest

    return MeasureRequest(metrics, options["spectra_every"], options["jobs"], options["max_memory"], options["device"])


def _told_plan(prepared: _Prepared, store: str, options: dict[str, Any]) -> int:
    """Print what was found of each run, and what measuring it into this store would take."""
    from analyzer.auditing import audit
    from analyzer.auditing.output import Audited, as_text
    from analyzer.engine.update import outlook
    from analyzer.model.sizes import size_text
    from analyzer.store.store import open_store

    families = ", ".join(dict.fromkeys(metric.row.family for metric in prepared.metrics))
    with open_store(store) if Path(store).is_file() else nullcontext() as opened:
        for run in prepared.runs:
            click.echo(as_text([Audited(run, audit(run))]))
            ahead = outlook(run, _request(prepared.metrics, options), opened)
            if not ahead.tensors:
                click.echo(f"Plan: nothing, all of {families} is in {store}.")
                continue
            time = f", roughly {ahead.seconds:.2g} s" if ahead.seconds > WORTH_TELLING else ""
            click.echo(
                f"Plan: {families} of {ahead.tensors} tensors at {ahead.checkpoints} checkpoint(s), "
                f"{size_text(ahead.bytes)} to read, {ahead.jobs} at a time{time}. Into {store}."
            )
    if prepared.refused:
        click.echo(as_text([], prepared.refused))
    return 0


def _told(found: Found, *, of_several: bool = False) -> int:
    """Say what needs attention; the exit code tells whether parts could not be measured or are not sound."""
    tell_findings(found, of_several=of_several)
    return EXIT_PARTS_FAILED if any(one.severity == "serious" for _, findings in found for one in findings) else 0
