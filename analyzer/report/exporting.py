"""Export every measurement of a store as one table for other tools."""

from __future__ import annotations

import json
from collections.abc import Sequence

from analyzer.model.tables import Tables
from analyzer.report import csv_tables
from analyzer.store.reader import Reader


def export_table(store: Reader, runs: Sequence[Tables], kind: str) -> bytes:
    """Return the table ``measurements`` of some runs.

    Args:
        store: the store that they were read from.
        runs: their tables.
        kind: ``csv``, as in the report folder, or ``json``: a list of objects with the same keys.
    """
    rows = csv_tables.rows("measurements", store, runs)
    if kind == "csv":
        return csv_tables.to_csv("measurements", rows)
    columns = csv_tables.HEADERS["measurements"].split(",")
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    return (json.dumps(records, indent=0, allow_nan=False) + "\n").encode()
