"""The commands' work without the command line: runs into a store, a store into a report."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.auditing import audit
from analyzer.auditing.contents import read_tensor
from analyzer.auditing.weights import Digests, always_the_same, constant_infinities, same_weights
from analyzer.engine.update import MeasureRequest, Progress, bring_up_to_date
from analyzer.errors import ReportError, StoreError, UnreadableStoreError
from analyzer.findings import by_severity, find
from analyzer.model.run import Finding, Run, Tables
from analyzer.report.completeness import unfinished
from analyzer.report.reading import read_tables, with_statistics
from analyzer.report.writer import UNREADABLE, Provenance, claim_folder, write_report
from analyzer.store.files import STORE_NAME, report_errors
from analyzer.store.store import Store, open_store


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """How many checkpoints of a run had to be measured, and what was found in all of it."""

    checkpoints: int
    findings: list[Finding]


def measure_runs(
    store: Store,
    runs: Iterable[Run],
    request: MeasureRequest,
    progress: Progress | None = None,
) -> dict[str, MeasuredRun]:
    """Measure runs into an open store and keep their findings there; returns what was done by the run's name."""
    measured = {}
    for run in runs:
        summary = bring_up_to_date(store, run, request, progress)
        tables, contents = read_tables(store, run.name), store.contents(run.name)
        masks = _masks(run, tables, contents)
        said = find(_without_counts(tables, masks), store.problems(run.name))
        of_masks = [constant_infinities(run, masks)] if masks else []
        found = by_severity([*audit(run), *same_weights(run, contents), *of_masks, *said])
        with store.transaction():
            store.replace_findings(run.name, found)
            store.finish(run.name, request.asked)
        measured[run.name] = MeasuredRun(summary.checkpoints, found)
    return measured


def _masks(run: Run, tables: Tables, contents: Digests) -> list[str]:
    """Tensors with elements that are infinite, none of them NaN, and the same bit by bit at every checkpoint."""
    bad = [key[1] for key, curve in tables.curves.items() if _counts_nonfinite(key) and np.any(curve.values > 0)]
    constant = always_the_same(run, contents, bad)
    return [name for name in constant if (held := read_tensor(run.checkpoints[0], name)) and not held.nan]


def _without_counts(tables: Tables, names: Collection[str]) -> Tables:
    """Tables for rules that are not to hear of elements that are not finite in these tensors."""
    kept = {key: curve for key, curve in tables.curves.items() if not (_counts_nonfinite(key) and key[1] in names)}
    return replace(tables, curves=kept)


def _counts_nonfinite(key: tuple[str, str, str]) -> bool:
    return key[0] == "tensor" and key[2] == "nonfinite_count"


def report_store(
    path: str,
    out: str,
    *,
    force: bool = False,
    only: Collection[str] | None = None,
    arguments: Mapping[str, Any] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> dict[str, list[Finding]]:
    """Draw the report of what a store holds (or of some runs in it); no checkpoint is needed.

    Returns:
        What is to be said of runs whose measuring was not finished, by their names.

    Raises:
        StoreError: the store cannot be read.
        ReportError: the report cannot be written there.
    """
    target = Path(out) / STORE_NAME
    with open_store(path) as store:
        names = [name for name in store.runs() if only is None or name in only]
        if not names:
            raise StoreError(f"{path}: holds no run to report; measure one first")
        claim_folder(Path(out), {name: store.about(name)["path"] for name in names}, force)
    if Path(path).resolve() != target.resolve():
        _copy_store(path, target, names)
    started = time.perf_counter()
    # While the transaction lasts no other process writes to this folder; it ends with this one, however that ends.
    with open_store(str(target)) as store, store.transaction():
        tables, incomplete = [], {}
        for read in (read_tables(store, name) for name in names):
            said = unfinished(store, read, path)
            tables.append(with_statistics(replace(read, findings=(*said, *read.findings))))
            if said:
                incomplete[read.run] = said
        parts = {**(seconds or {}), "read": round(time.perf_counter() - started, 3)}
        write_report(store, tables, Path(out), Provenance(arguments or {}, parts))
    return incomplete


def set_aside_if_unreadable(path: str) -> str | None:
    """Move a damaged store, or one of another version, out of the way; returns what is to be said about it."""
    try:
        if Path(path).exists():
            open_store(path, create=True).close()
    except UnreadableStoreError as error:
        aside = Path(path + UNREADABLE)
        with report_errors(aside):
            Path(path).replace(aside)
        return f"{error}. It is kept as {aside}; everything is measured again."
    return None


def _copy_store(source: str, target: Path, names: Collection[str]) -> None:
    """A consistent copy of some runs, whole or absent: SQLite undoes it if this process is killed."""
    try:
        set_aside_if_unreadable(str(target))
        with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(target)) as copy:
            origin.backup(copy)
        with open_store(str(target)) as store:
            store.drop_runs_but(set(names))
    except (OSError, sqlite3.Error) as error:
        raise ReportError(f"{target}: the store cannot be copied: {error}") from error
