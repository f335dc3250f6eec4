"""Write a store as an earlier schema kept it, from one of the newest schema."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from builders import CHECKOUT

from analyzer.store.packed_sums import unpack

_SAME = ("runs", "listings", "checkpoints", "scalars", "tensors", "metrics", "problems")  # in schemas 3 and 4
_BASIS = "json_extract('[\"' || replace(digests, ',', '\",\"') || '\"]', '$[' || old.states || ']') || digest"
_ROWS = {
    "series": "SELECT series.id, series.run, scope, names.name, metric FROM new.series JOIN new.names "
    "ON names.id = series.tensor",
    "measurements": f"SELECT series, old.checkpoint, value, bound, statuses.name, compared.name, {_BASIS} "
    "FROM new.measurements AS old JOIN new.series ON series.id = series JOIN new.statuses ON statuses.id = status "
    "LEFT JOIN new.names AS compared ON compared.id = reference LEFT JOIN new.states ON old.states IS NOT NULL "
    "AND states.checkpoint = old.checkpoint AND states.tensor = series.tensor "
    "LEFT JOIN new.codes ON codes.metric = series.metric AND number = code",
    "sketches": "SELECT old.checkpoint, names.name, compared.name, buckets, first, exponent, numbers, "
    f"{_BASIS} FROM new.sketches AS old JOIN new.names ON names.id = old.tensor "
    "JOIN new.names AS compared ON compared.id = reference JOIN new.states ON states.checkpoint = old.checkpoint "
    "AND states.tensor = old.tensor JOIN new.codes ON metric = 'step_sketch' AND number = code",
    "spectra": "SELECT checkpoint, name, singular_values FROM new.spectra JOIN new.names ON id = tensor",
    "contents": "SELECT checkpoint, name, blake3 FROM new.contents JOIN new.names ON id = tensor",
}


def as_schema_3(path: Path) -> None:
    """Replace a store by one of schema 3 with the same content."""
    old = path.with_suffix(".old")
    old.unlink(missing_ok=True)
    dump = (CHECKOUT / "tests/data/store_schema_3.sql").read_text(encoding="utf-8")
    with closing(sqlite3.connect(old)) as connection:
        connection.executescript("\n".join(line for line in dump.splitlines() if not line.startswith("INSERT")))
        connection.execute("ATTACH ? AS new", (str(path),))
        rows = connection.execute(
            "SELECT checkpoint, name, sum_formats.format, numbers FROM new.sums JOIN new.names ON names.id = tensor "
            "JOIN new.sum_formats ON sum_formats.id = sums.format"
        ).fetchall()
        with connection:
            for table in _SAME:
                columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
                connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
            for table, query in _ROWS.items():
                connection.execute(f"INSERT INTO main.{table} {query}")
            connection.executemany(
                "INSERT INTO main.sums VALUES (?, ?, ?, ?)",
                [
                    (at, tensor, need, json.dumps(numbers))
                    for at, tensor, described, data in rows
                    for need, numbers in unpack(described, data).items()
                ],
            )
    old.replace(path)
