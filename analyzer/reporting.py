"""The commands' work without the command line: runs into a store, a store into a report."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from analyzer.audit import audit
from analyzer.errors import ReportError, StoreError
from analyzer.findings import by_severity, find
from analyzer.measuring import Progress, bring_up_to_date
from analyzer.metrics.registry import Metric
from analyzer.reading import read_tables
from analyzer.report import STORE_NAME, Provenance, claim_folder, write_report
from analyzer.run import Finding, Run
from analyzer.store import Store, open_store


def measure_runs(
    store: Store,
    runs: Iterable[Run],
    metrics: Sequence[Metric],
    jobs: int | None = None,
    progress: Progress | None = None,
) -> list[Finding]:
    """Measure runs into an open store and keep their findings there; returns the findings of all of them."""
    findings = []
    for run in runs:
        bring_up_to_date(store, run, metrics, jobs, progress)
        found = by_severity([*audit(run), *find(read_tables(store, run.name), store.problems(run.name))])
        with store.transaction():
            store.replace_findings(run.name, found)
        findings.extend(found)
    return findings


def report_store(
    path: str,
    out: str,
    *,
    force: bool = False,
    only: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> None:
    """Draw the report of what a store holds (or of one run in it); no checkpoint is needed.

    Raises:
        StoreError: the store cannot be read.
        ReportError: the report cannot be written there.

    """
    target = Path(out) / STORE_NAME
    with open_store(path) as store:
        names = [only] if only else store.runs()
        if not names:
            raise StoreError(f"{path}: holds no run; measure one first")
        paths = {name: store.about(name)["path"] for name in store.runs()}
        claim_folder(Path(out), paths, force)
        if Path(path).resolve() != target.resolve():
            _copy_store(path, target)
    started = time.perf_counter()
    with open_store(str(target)) as store:
        tables = [read_tables(store, name) for name in names]
        parts = {**(seconds or {}), "read": round(time.perf_counter() - started, 3)}
        write_report(store, tables, Path(out), Provenance(arguments or {}, parts))


def _copy_store(source: str, target: Path) -> None:
    """A consistent copy, moved into place when it is whole."""
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(temporary)) as copy:
            origin.backup(copy)
        temporary.replace(target)
    except (OSError, sqlite3.Error) as error:
        temporary.unlink(missing_ok=True)
        raise ReportError(f"{target}: the store cannot be copied: {error}") from error
