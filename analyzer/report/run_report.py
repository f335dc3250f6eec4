"""Compose the report of one or several runs from their tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analyzer.model.names import slug
from analyzer.model.tables import Tables
from analyzer.report import csv_tables
from analyzer.report.page import render_page
from analyzer.report.summary import summarize
from analyzer.report.writer import FigureSet, Folder
from analyzer.store.reader import Reader
from analyzer.tensors.content_hash import content_hash


def report_folder(store: Reader, runs: Sequence[Tables]) -> Folder:
    """Return what the report of these runs is to contain.

    Args:
        store: the store that the runs were read from.
        runs: their tables, with findings and statistics.
    """
    from analyzer.figures import FIGURES

    summary = summarize(runs)
    return Folder(
        kind="report",
        tables={name: (header, csv_tables.rows(name, store, runs)) for name, header in csv_tables.HEADERS.items()},
        figures=[FigureSet(FIGURES, tables, _prefix(tables, runs)) for tables in runs],
        summary=summary,
        page=lambda drawn: render_page(
            summary, runs, {tables.run: its for tables, its in zip(runs, drawn, strict=True)}
        ),
        runs=[(tables.run, tables.source.path) for tables in runs],
        inputs=[record for tables in runs for record in _inputs(tables)],
    )


def _prefix(tables: Tables, runs: Sequence[Tables]) -> str:
    """Return where a run's figures are: in ``figures/`` itself, or in a folder for each of several runs."""
    if len(runs) == 1:
        return ""
    number = [one.run for one in runs].index(tables.run) + 1
    return f"{number:02d}-{slug(tables.run)}".rstrip("-") + "/"


def _inputs(tables: Tables) -> list[dict[str, Any]]:
    """Return each checkpoint's files, and the hash of its content, however it is stored."""
    return [
        {
            "run": tables.run,
            "checkpoint": one.name,
            "files": [{"path": stamp.path, "bytes": stamp.size} for stamp in one.files],
            "content": content_hash(one, tables.elements.get(one.name, {})),
        }
        for one in tables.source.checkpoints
    ]
