"""Every measurement of a store as one table for other tools."""

from __future__ import annotations

import json

from analyzer import tabular
from analyzer.reading import read_tables
from analyzer.store import open_store


def export(path: str, kind: str) -> bytes:
    """The table ``measurements`` of all runs in a store.

    Args:
        path: the store.
        kind: ``csv``, as in the report folder, or ``json``: a list of objects with the same keys.

    Raises:
        StoreError: the store cannot be read.
    """
    with open_store(path) as store:
        content = tabular.rows("measurements", store, [read_tables(store, run) for run in store.runs()])
        if kind == "csv":
            return tabular.to_csv("measurements", content)
        columns = tabular.HEADERS["measurements"].split(",")
        records = [dict(zip(columns, row, strict=True)) for row in content]
    return (json.dumps(records, indent=0, allow_nan=False) + "\n").encode()
