"""Reads the runs of several stores, and writes the pages of their comparison."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from analyzer.comparing import compare_runs
from analyzer.errors import ReportError, StoreError
from analyzer.model.comparison import Comparison, StoredRun
from analyzer.model.run import Tables
from analyzer.report import csv_tables as tabular
from analyzer.report.comparison_page import render_page
from analyzer.report.comparison_summary import summarise
from analyzer.report.comparison_tables import HEADERS, rows
from analyzer.report.completeness import unfinished
from analyzer.report.figure_files import draw_figures
from analyzer.report.page import FigureOnPage, stylesheet
from analyzer.report.reading import read_tables
from analyzer.report.writer import MANIFEST, OUR_NAMES, claim_folder, content_hash, environment
from analyzer.store.files import STORE_NAME, flush_folder, report_errors, sweep, write_whole
from analyzer.store.reader import Reader
from analyzer.store.store import open_store

KIND = "comparison"  # in the manifest: what the folder holds


def compare_stores(
    stores: Sequence[str],
    out: str,
    *,
    force: bool = False,
    arguments: Mapping[str, Any] | None = None,
    asked: Sequence[str] = (),
    only: Mapping[str, Collection[str]] | None = None,
) -> Comparison:
    """Compare all runs of some stores, or ``only`` these of a store, and write the folder ``out``.

    ``asked`` are the paths that a user gave, where they are not those of the stores: errors name them.

    Raises:
        StoreError: a store cannot be read, or there are fewer than two runs.
        ReportError: the comparison cannot be written there.
    """
    started = time.perf_counter()
    runs = read_runs(stores, asked, only or {})
    claim(Path(out), runs, force)
    read = time.perf_counter()
    comparison = compare_runs(runs)
    compared = time.perf_counter()
    seconds = {"read": round(read - started, 3), "compare": round(compared - read, 3)}
    write_comparison(comparison, Path(out), arguments or {}, seconds)
    return comparison


def read_runs(
    stores: Sequence[str], asked: Sequence[str] = (), only: Mapping[str, Collection[str]] = MappingProxyType({})
) -> list[StoredRun]:
    """Every run of the stores, under names that tell them apart; the same run of the same store counts once.

    ``asked`` and ``only`` are those of :func:`compare_stores`.

    Raises:
        StoreError: a store cannot be read, or there are fewer than two runs.
    """
    found = []
    chosen = {str(_store_in(Path(store)).resolve()): names for store, names in only.items()}
    for path in dict.fromkeys(str(_store_in(Path(store)).resolve()) for store in stores):
        with open_store(path) as store:
            found += [
                StoredRun(
                    name=name,
                    source=path,
                    path=store.about(name)["path"],
                    tables=_with_unfinished(store, read_tables(store, name)),
                    contents=store.contents(name),
                    settings=store.settings(name),
                )
                for name in store.runs()
                if path not in chosen or name in chosen[path]
            ]
    found = [run for run in found if run.tables.checkpoints]
    if len(found) < 2:
        paths = ", ".join(dict.fromkeys(asked or stores))
        there_is = f"only {found[0].name}" if found else "none"
        raise StoreError(f"{paths}: a comparison needs two or more runs, and there is {there_is}; name another")
    return _named_apart(found)


def _with_unfinished(store: Reader, tables: Tables) -> Tables:
    return replace(tables, findings=(*unfinished(store, tables, store.path), *tables.findings))


def _store_in(path: Path) -> Path:
    return path / STORE_NAME if path.is_dir() else path


def _named_apart(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Runs of the same name are told apart by the folder or file that their store lies in, then by number."""
    counts = Counter(run.name for run in runs)
    named = [replace(run, name=f"{_store_name(run)}/{run.name}") if counts[run.name] > 1 else run for run in runs]
    counts = Counter(run.name for run in named)
    seen: Counter[str] = Counter()
    result = []
    for run in named:
        seen[run.name] += 1
        result.append(replace(run, name=f"{run.name} ({seen[run.name]})") if counts[run.name] > 1 else run)
    return result


def _store_name(run: StoredRun) -> str:
    path = Path(run.source)
    return path.parent.name if path.name == STORE_NAME else path.stem


def claim(out: Path, runs: Sequence[StoredRun], force: bool) -> None:
    """Make sure that this comparison may be written to ``out``, and make the folder.

    Raises:
        ReportError: the folder holds checkpoints, other people's files, a report, or another comparison.
    """
    if not force:
        if (out / STORE_NAME).exists():
            raise ReportError(f"{out}: holds the report of a run; choose another folder with --out")
        earlier = _compared_in(out / MANIFEST)
        if earlier is not None and earlier != _identities(runs):
            raise ReportError(
                f"{out}: holds another comparison; choose another folder with --out, or replace it with --force"
            )
    claim_folder(out, {run.name: run.path for run in runs}, force, KIND)


def _compared_in(manifest: Path) -> object:
    """The runs of the comparison that lies there, None where none does."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(manifest.read_bytes())
        if isinstance(content, dict) and content.get("kind") == KIND:
            return content.get("runs")
    return None


def _identities(runs: Sequence[StoredRun]) -> list[list[str]]:
    return [[run.name, run.path] for run in runs]


def write_comparison(
    comparison: Comparison, out: Path, arguments: Mapping[str, Any], seconds: Mapping[str, float]
) -> None:
    """Write tables, figures, summary and page; the manifest is taken away first and comes last.

    Raises:
        ReportError: a file cannot be written; what stood there before is unchanged.
    """
    started = time.perf_counter()
    with report_errors(out):
        (out / MANIFEST).unlink(missing_ok=True)
        for folder in (out / "figures", out / "data"):
            folder.mkdir(exist_ok=True)
            sweep(folder)
        sweep(out, below=False)
    for name, header in HEADERS.items():
        write_whole(out / "data" / f"{name}.csv", tabular.with_header(header, rows(name, comparison)))
    figures = _draw(comparison, out)
    write_whole(out / "summary.json", _json(summarise(comparison)))
    write_whole(out / "report.css", stylesheet())
    write_whole(out / "index.html", render_page(comparison, figures, _reports(comparison.runs, out)))
    manifest = {
        "schema_version": 1,
        "kind": KIND,
        "runs": _identities(comparison.runs),
        **environment(),
        "arguments": dict(arguments),
        "seconds": {**seconds, "draw": round(time.perf_counter() - started, 3)},
        "inputs": [
            {
                "run": run.name,
                "store": run.source,
                "checkpoint": row.name,
                "path": row.path,
                "bytes": row.bytes,
                "content": content_hash(run.contents.get(row.name, {})),
            }
            for run in comparison.runs
            for row in run.tables.checkpoints
        ],
    }
    with report_errors(out):
        written = (path for name in OUR_NAMES for path in [out / name, *(out / name).rglob("*")])
        manifest["files"] = sorted(path.relative_to(out).as_posix() for path in written if path.is_file())
        for folder in (out / "figures", out / "data", out):
            flush_folder(folder)
        write_whole(out / MANIFEST, _json(manifest))
        flush_folder(out)


def _draw(comparison: Comparison, out: Path) -> list[FigureOnPage]:
    from analyzer.figures.compared import COMPARED

    return draw_figures([figure.for_comparison(comparison) for figure in COMPARED], comparison, out)


def _reports(runs: Sequence[StoredRun], out: Path) -> dict[str, str]:
    """Run name -> address, from the page's folder, of the report that the run's store lies in."""
    pages = {run.name: Path(run.source).with_name("index.html") for run in runs if Path(run.source).name == STORE_NAME}
    return {name: _address(page, out) for name, page in pages.items() if page.is_file()}


def _address(page: Path, folder: Path) -> str:
    """Relative where it can be, so that both may be moved together; drives of Windows have no way between them."""
    try:
        return quote(Path(os.path.relpath(page, folder.resolve())).as_posix())
    except ValueError:
        return page.as_uri()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()
