"""Audit, measure, report, compare and export: the one path that the command line and the Python API share.

Measuring fills a store; whatever is drawn or exported is read from a store, with findings and statistics computed at
that moment.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from analyzer.auditing import Audit, audit_contents, audit_headers
from analyzer.engine.derived import derive
from analyzer.engine.shards import missing_shards
from analyzer.engine.update import MeasureRequest, Outlook, Progress, Summary, bring_up_to_date, outlook
from analyzer.errors import ArgumentError, ReportError
from analyzer.layouts.naming import run_name
from analyzer.model.comparison import Comparison
from analyzer.model.names import listed, slug
from analyzer.model.run import Finding, Run
from analyzer.report.claiming import claim_folder, set_aside_if_unreadable, stores_compared_in
from analyzer.report.reading import read_report, read_run, reported_runs
from analyzer.report.writer import USUAL, Provenance, ReportOptions, write_folder
from analyzer.sources import is_remote
from analyzer.store.files import STORE_NAME, write_whole
from analyzer.store.schema import looks_like_store
from analyzer.store.store import open_store

FindingsByRun = dict[str, list[Finding]]


def report_name(path: str, runs: Sequence[Run]) -> str:
    """Return the name of the report folder of some runs: the run's, or that of the folder that contains them."""
    return slug(runs[0].name if len(runs) == 1 else run_name(path)) or "run"


def stored_in(path: str) -> Path | None:
    """Return the store that a path names, itself or through its report folder; None for a folder of checkpoints.

    Raises:
        ArgumentError: the folder contains a comparison, which has no store of its own.
    """
    if is_remote(path):
        return None
    local = Path(path)
    if local.is_file():
        return local if looks_like_store(local) else None
    inside = local / STORE_NAME
    if inside.is_file():
        return inside
    if (stores := stores_compared_in(local)) is not None:
        known = f": {listed(stores)}" if stores else ""
        raise ArgumentError(
            f"{path}: is the folder of a comparison, which has no measurements of its own; name the report folders or "
            f"stores that it compares{known}, or open its index.html"
        )
    return None


def audit(run: Run, jobs: int | None = None, progress: Progress | None = None) -> Audit:
    """Audit a run: read every byte once, ``jobs`` checkpoints at a time (by default as many as there are cores)."""
    return audit_contents(run, jobs, progress)


def plan(runs: Sequence[Run], store: str, request: MeasureRequest) -> list[tuple[Audit, Outlook]]:
    """Return, for each run, what its headers say and what :func:`measure` would do with a store as it is now."""
    with open_store(store) if Path(store).is_file() else nullcontext() as opened:
        return [(audit_headers(run), outlook(run, request, opened)) for run in runs]


def measure(
    runs: Sequence[Run], store: str, request: MeasureRequest, progress: Progress | None = None, only: bool = False
) -> dict[str, Summary]:
    """Measure runs, as far as the store does not know them already, and return what was done by the run's name.

    Args:
        runs: the runs.
        store: the SQLite file; created where it does not exist.
        request: what to measure.
        progress: called with (bytes done, bytes in all).
        only: drop all other runs from the store.

    Raises:
        StoreError: the store is damaged, of an unknown version, or cannot be written; what was measured is kept.
        DeviceError: the device is not available.
        WeightlapseError: not even one task fits into the memory that was granted.
    """
    with open_store(store, create=True) as opened:
        if only:
            opened.drop_runs_but({run.name for run in runs})
        done = {}
        for run in runs:
            done[run.name] = bring_up_to_date(opened, run, request, progress)
            if request.shard is None:  # what shards lack together is known where they are merged
                with opened.transaction():
                    opened.finish(run.name, request.asked)
        return done


def merge(parts: Sequence[str], store: str) -> list[str]:
    """Merge stores that were measured from the same files into one, and return what is missing, in words.

    Args:
        parts: the stores, in any order; one that was merged before changes nothing.
        store: the SQLite file; created where it does not exist.

    Raises:
        StoreError: a store cannot be read or written, or rests on other files or another version of a metric.
        ArgumentError: a part was measured with a metric that is not known here.
    """
    missing: list[str] = []
    with open_store(store, create=True) as opened, threadpool_limits(limits=1):
        names = [name for part in parts if Path(part).resolve() != Path(store).resolve() for name in opened.merge(part)]
        for name in dict.fromkeys(names):
            derive(opened, name, [])
            with opened.transaction():
                missing += missing_shards(opened, name)
    return missing


def find(store: str, only: Collection[str] | None = None) -> FindingsByRun:
    """Return the findings of the runs in a store (or of some of them), by the run's name, the most serious first."""
    with open_store(store) as opened:
        names = [name for name in opened.runs() if only is None or name in only]
        return {name: list(read_run(opened, name).findings) for name in names}


def report(
    store: str,
    out: str,
    *,
    force: bool = False,
    only: Collection[str] | None = None,
    options: ReportOptions = USUAL,
    arguments: Mapping[str, Any] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> FindingsByRun:
    """Draw the report of what a store contains (or of some runs in it); no checkpoint is needed.

    Args:
        store: the SQLite file; it is copied into the report folder.
        out: the report folder.
        force: write over the report of other runs, or beside foreign files.
        only: the names of the runs to be reported, by default all.
        options: what else the folder is to contain.
        arguments: the command's arguments, for the manifest.
        seconds: what took how long before, for the manifest.

    Returns:
        the findings by the run's name.

    Raises:
        StoreError: the store cannot be read, or contains no such run.
        ReportError: the report cannot be written there.
        ArgumentError: a pattern matches no layer.
    """
    from analyzer.report.run_report import report_folder  # here and below: measuring needs none of it

    target = Path(out) / STORE_NAME
    with open_store(store) as opened:
        names = reported_runs(opened, only)
        claim_folder(Path(out), {name: opened.run(name).path for name in names}, "report", force)
    if Path(store).resolve() != target.resolve():
        _copy_store(store, target, names)
    started = time.perf_counter()
    # While the transaction lasts no other process writes to this folder; it ends with this one, however that ends.
    # One BLAS thread: the last digits of a correlation depend on how many there are.
    with open_store(str(target), create=True) as opened, opened.transaction(), threadpool_limits(limits=1):
        runs = read_report(opened, names, store)
        parts = {**(seconds or {}), "read": round(time.perf_counter() - started, 3)}
        write_folder(report_folder(opened, runs, options), Path(out), Provenance(arguments or {}, parts))
    return {tables.run: list(tables.findings) for tables in runs}


def report_file(store: str, out: str, *, force: bool = False, only: Collection[str] | None = None) -> FindingsByRun:
    """Draw the report of what a store contains (or of some runs in it) as a single HTML file.

    Args:
        store: the SQLite file.
        out: the HTML file.
        force: replace a file that weightlapse did not write.
        only: the names of the runs to be reported, by default all.

    Returns:
        the findings by the run's name.

    Raises:
        StoreError: the store cannot be read, or contains no such run.
        ReportError: the file cannot be written, or is somebody else's.
    """
    from analyzer.report.single_file import claim_file, single_file

    claim_file(Path(out), force)
    with open_store(store) as opened, threadpool_limits(limits=1):  # as in `report`
        runs = read_report(opened, reported_runs(opened, only))
        write_whole(Path(out), single_file(runs))
    return {tables.run: list(tables.findings) for tables in runs}


def claim(out: str, runs: Sequence[Run], force: bool) -> str | None:
    """Claim a report folder before measuring into it; return a warning where its store was unreadable and set aside.

    Raises:
        ReportError: the folder contains something else, or cannot be written.
    """
    claim_folder(Path(out), {run.name: run.path for run in runs}, "report", force)
    return set_aside_if_unreadable(str(Path(out) / STORE_NAME))


def compare(
    stores: Sequence[str],
    out: str | None = None,
    *,
    force: bool = False,
    arguments: Mapping[str, Any] | None = None,
    asked: Sequence[str] = (),
    only: Mapping[str, Collection[str]] | None = None,
) -> Comparison:
    """Compare all runs of some stores, and write the folder ``out`` if it is given.

    Args:
        stores: stores or report folders.
        out: the folder of the comparison.
        force: write over another comparison, or beside foreign files.
        arguments: the command's arguments, for the manifest.
        asked: the paths that a user gave, where they are not those of the stores: errors name them.
        only: the names of the runs to be compared, by store; all of a store that is not named.

    Raises:
        StoreError: a store cannot be read.
        ArgumentError: there are fewer than two runs.
        ReportError: the comparison cannot be written there.
    """
    from analyzer.comparing import compare_runs
    from analyzer.report.comparison import comparison_folder, read_runs

    started = time.perf_counter()
    runs = read_runs(stores, asked, only or {})
    if out is not None:
        claim_folder(Path(out), {run.name: run.path for run in runs}, "comparison", force)
    read = time.perf_counter()
    with threadpool_limits(limits=1):  # as in `report`
        comparison = compare_runs(runs)
        if out is not None:
            seconds = {"read": round(read - started, 3), "compare": round(time.perf_counter() - read, 3)}
            folder = comparison_folder(comparison, Path(out))
            write_folder(folder, Path(out), Provenance(arguments or {}, seconds))
    return comparison


def export(store: str, kind: str) -> tuple[bytes, FindingsByRun]:
    """Return every measurement of a store as one table, and the findings by the run's name.

    Args:
        store: the SQLite file.
        kind: ``csv``, as in the report folder, or ``json``: a list of objects with the same keys.

    Raises:
        StoreError: the store cannot be read.
    """
    from analyzer.report.csv_tables import export_table

    with open_store(store) as opened:
        runs = [read_run(opened, name) for name in opened.runs()]
        return export_table(opened, runs, kind), {tables.run: list(tables.findings) for tables in runs}


def _copy_store(source: str, target: Path, names: Collection[str]) -> None:
    """Copy some runs consistently; SQLite undoes it if this process is killed."""
    try:
        set_aside_if_unreadable(str(target))
        with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(target)) as copy:
            origin.backup(copy)
        with open_store(str(target), create=True) as store:
            store.drop_runs_but(set(names))
    except (OSError, sqlite3.Error) as error:
        raise ReportError(f"{target}: the store cannot be copied: {error}") from error
