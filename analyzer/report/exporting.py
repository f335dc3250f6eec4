"""Every measurement of a store as one table for other tools."""

from __future__ import annotations

import json

from analyzer.model.run import Finding
from analyzer.report import csv_tables as tabular
from analyzer.report.completeness import unfinished
from analyzer.report.reading import read_tables
from analyzer.store.store import open_store


def export(path: str, kind: str) -> tuple[bytes, dict[str, list[Finding]]]:
    """The table ``measurements`` of all runs in a store.

    Args:
        path: the store.
        kind: ``csv``, as in the report folder, or ``json``: a list of objects with the same keys.

    Returns:
        The table, and what is to be said of runs whose measuring was not finished, by their names.

    Raises:
        StoreError: the store cannot be read.
    """
    with open_store(path) as store:
        tables = [read_tables(store, run) for run in store.runs()]
        incomplete = {one.run: said for one in tables if (said := unfinished(store, one, path))}
        content = tabular.rows("measurements", store, tables)
        if kind == "csv":
            return tabular.to_csv("measurements", content), incomplete
        columns = tabular.HEADERS["measurements"].split(",")
        records = [dict(zip(columns, row, strict=True)) for row in content]
    return (json.dumps(records, indent=0, allow_nan=False) + "\n").encode(), incomplete
