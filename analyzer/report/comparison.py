"""Read the runs of several stores, and compose the folder of their comparison."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from analyzer.comparing.answers import QUESTIONS
from analyzer.errors import ArgumentError
from analyzer.model.comparison import Comparison, StoredRun
from analyzer.report.comparison_page import render_page
from analyzer.report.comparison_tables import HEADERS, rows
from analyzer.report.csv_tables import as_lines
from analyzer.report.reading import read_run
from analyzer.report.rendering import asset
from analyzer.report.writer import FigureSet, Folder
from analyzer.store.files import STORE_NAME
from analyzer.store.store import open_store
from analyzer.tensors.content_hash import content_hash


def read_runs(
    stores: Sequence[str], asked: Sequence[str] = (), only: Mapping[str, Collection[str]] = MappingProxyType({})
) -> list[StoredRun]:
    """Read every run of some stores under names that tell them apart; the same run of the same store counts once.

    Args:
        stores: stores, or report folders that contain one.
        asked: the paths that a user gave, where they are not those of the stores: errors name them.
        only: the runs to be read of a store; all where it is not named.

    Raises:
        StoreError: a store cannot be read.
        ArgumentError: there are fewer than two runs.
    """
    found = []
    chosen = {str(_store_in(Path(store)).resolve()): names for store, names in only.items()}
    for path in dict.fromkeys(str(_store_in(Path(store)).resolve()) for store in stores):
        with open_store(path) as store:
            names = [name for name in store.runs() if path not in chosen or name in chosen[path]]
            for name in names:
                tables = read_run(store, name, path)
                found.append(
                    StoredRun(name, path, tables.source.path, tables, store.contents(name), store.settings(name))
                )
    found = [run for run in found if run.tables.checkpoints]
    if len(found) < 2:
        paths = ", ".join(dict.fromkeys(asked or stores))
        there_is = f"only {found[0].name}" if found else "none"
        raise ArgumentError(f"{paths}: a comparison needs two or more runs, and there is {there_is}; name another")
    return _named_apart(found)


def _store_in(path: Path) -> Path:
    return path / STORE_NAME if path.is_dir() else path


def _named_apart(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Tell runs of the same name apart by the folder or file of their store, then by number."""
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


def comparison_folder(comparison: Comparison, out: Path) -> Folder:
    """Return what the folder of a comparison is to contain; links to the runs' own reports are relative to ``out``."""
    from analyzer.figures.compared import COMPARED

    reports = _reports(comparison.runs, out)
    return Folder(
        kind="comparison",
        tables={name: (header, as_lines(rows(name, comparison))) for name, header in HEADERS.items()},
        figures=[FigureSet([figure.for_comparison(comparison) for figure in COMPARED], comparison)],
        summary=summarize(comparison),
        files=lambda drawn, names: [
            ("report.css", asset("report.css")),
            ("report.js", asset("report.js")),
            ("index.html", render_page(comparison, drawn[0], reports, names)),
        ],
        runs=[(run.name, run.path) for run in comparison.runs],
        inputs=[
            {
                "run": run.name,
                "store": run.source,
                "checkpoint": one.name,
                "path": one.path,
                "bytes": sum(stamp.size for stamp in one.files),
                "content": content_hash(one, run.tables.elements.get(one.name, {})),
            }
            for run in comparison.runs
            for one in run.tables.source.checkpoints
        ],
    )


def summarize(comparison: Comparison) -> dict[str, Any]:
    """Return the content of ``summary.json``: groups, answers, final values of the whole network, tests."""
    return {
        "schema_version": 1,
        "runs": [
            {"run": run.name, "path": run.path, "store": run.source, "settings": dict(run.settings)}
            for run in comparison.runs
        ],
        "groups": [asdict(group) for group in comparison.groups],
        "grouped_by": comparison.grouped_by,
        "aligned_by": comparison.axis_label,
        "compared_at": dict(comparison.ends),
        "notes": list(comparison.notes),
        "answers": [
            {
                "rule": one.rule,
                "question": QUESTIONS[one.rule],
                "sentence": one.sentence,
                "severity": one.severity,
                "evidence": dict(one.evidence),
                "figure": one.figure,
            }
            for one in comparison.answers
        ],
        "final_values": [asdict(one) for one in comparison.finals if one.scope != "tensor"],
        "differences": [asdict(one) for one in comparison.differences],
        "divergence": [asdict(one) for one in comparison.divergences],
        "swap_tests": [asdict(one) for one in comparison.swaps],
    }


def _reports(runs: Sequence[StoredRun], out: Path) -> dict[str, str]:
    """Return run name -> address, from the page's folder, of the report that the run's store is in."""
    pages = {run.name: Path(run.source).with_name("index.html") for run in runs if Path(run.source).name == STORE_NAME}
    return {name: _address(page, out) for name, page in pages.items() if page.is_file()}


def _address(page: Path, folder: Path) -> str:
    """Return a relative address, so that both may be moved together; drives of Windows have no path between them."""
    try:
        return quote(Path(os.path.relpath(page, folder.resolve())).as_posix())
    except ValueError:
        return page.as_uri()
