"""Copy what one store has of a run into another one, in which texts have other numbers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from analyzer.errors import StoreError
from analyzer.store.packed_sums import pack, unpack
from analyzer.store.schema import SCHEMA_VERSION

# For each number of the part, the one that the same text has here.
_NUMBERS = """
CREATE TEMP TABLE of_name (part INTEGER PRIMARY KEY, here INTEGER NOT NULL);
CREATE TEMP TABLE of_checkpoint (part INTEGER PRIMARY KEY, here INTEGER NOT NULL);
CREATE TEMP TABLE of_series (part INTEGER PRIMARY KEY, here INTEGER NOT NULL);
CREATE TEMP TABLE of_status (part INTEGER PRIMARY KEY, here INTEGER NOT NULL);
CREATE TEMP TABLE of_format (part INTEGER PRIMARY KEY, here INTEGER NOT NULL);
CREATE TEMP TABLE of_code (metric TEXT, part INTEGER, here INTEGER NOT NULL, PRIMARY KEY (metric, part));
CREATE TEMP TABLE of_state (checkpoint INTEGER, tensor INTEGER, part INTEGER, here INTEGER NOT NULL,
    PRIMARY KEY (checkpoint, tensor, part))
"""
# Texts that are not known here are added first. :run is the run here, :part the same run in the part.
_TEXTS = """
INSERT OR IGNORE INTO names (run, name) SELECT :run, name FROM part.names WHERE run = :part;
INSERT OR IGNORE INTO statuses (name) SELECT name FROM part.statuses;
INSERT OR IGNORE INTO sum_formats (format) SELECT format FROM part.sum_formats;
INSERT INTO of_name SELECT one.id, names.id FROM part.names AS one JOIN names ON names.run = :run
    AND names.name = one.name WHERE one.run = :part;
INSERT INTO of_status SELECT one.id, statuses.id FROM part.statuses AS one JOIN statuses USING (name);
INSERT INTO of_format SELECT one.id, sum_formats.id FROM part.sum_formats AS one JOIN sum_formats USING (format);
INSERT INTO of_checkpoint SELECT one.id, checkpoints.id FROM part.checkpoints AS one JOIN checkpoints
    ON checkpoints.run = :run AND checkpoints.name = one.name WHERE one.run = :part;
INSERT OR IGNORE INTO series (run, scope, tensor, metric) SELECT :run, scope, here, metric FROM part.series
    JOIN of_name ON part = tensor WHERE run = :part AND scope = 'tensor';
INSERT INTO of_series SELECT one.id, series.id FROM part.series AS one JOIN of_name ON part = one.tensor
    JOIN series ON series.run = :run AND series.scope = one.scope AND series.tensor = here
    AND series.metric = one.metric WHERE one.run = :part
"""
# What was derived (states IS NULL) is derived again from all parts together.
_ROWS = """
INSERT OR REPLACE INTO measurements SELECT of_series.here, of_checkpoint.here, value, bound, of_status.here,
    reference.here, of_state.here, of_code.here FROM part.measurements AS one
    JOIN part.series AS series ON series.id = one.series JOIN of_series ON of_series.part = one.series
    JOIN of_checkpoint ON of_checkpoint.part = one.checkpoint JOIN of_status ON of_status.part = status
    JOIN of_state ON of_state.checkpoint = one.checkpoint AND of_state.tensor = series.tensor
    AND of_state.part = states JOIN of_code ON of_code.metric = series.metric AND of_code.part = code
    LEFT JOIN of_name AS reference ON reference.part = one.reference WHERE states IS NOT NULL;
INSERT OR REPLACE INTO spectra SELECT of_checkpoint.here, of_name.here, singular_values FROM part.spectra AS one
    JOIN of_checkpoint ON of_checkpoint.part = one.checkpoint JOIN of_name ON of_name.part = tensor;
INSERT OR REPLACE INTO contents SELECT of_checkpoint.here, of_name.here, blake3 FROM part.contents AS one
    JOIN of_checkpoint ON of_checkpoint.part = one.checkpoint JOIN of_name ON of_name.part = tensor;
INSERT OR REPLACE INTO problems SELECT here, tensor, metric, reason FROM part.problems
    JOIN of_checkpoint ON of_checkpoint.part = checkpoint;
INSERT OR REPLACE INTO sketches SELECT of_checkpoint.here, of_name.here, reference.here, buckets, first, exponent,
    numbers, of_state.here, of_code.here FROM part.sketches AS one
    JOIN of_checkpoint ON of_checkpoint.part = one.checkpoint JOIN of_name ON of_name.part = one.tensor
    JOIN of_name AS reference ON reference.part = one.reference
    JOIN of_state ON of_state.checkpoint = one.checkpoint AND of_state.tensor = one.tensor AND of_state.part = states
    JOIN of_code ON of_code.metric = :sketch AND of_code.part = code;
INSERT OR IGNORE INTO sums SELECT of_checkpoint.here, of_name.here, of_format.here, numbers FROM part.sums AS one
    JOIN of_checkpoint ON of_checkpoint.part = one.checkpoint JOIN of_name ON of_name.part = tensor
    JOIN of_format ON of_format.part = one.format
"""


@contextmanager
def attached(connection: sqlite3.Connection, path: str) -> Iterator[None]:
    """Make another store readable as ``part``.

    Raises:
        StoreError: it has the schema of an earlier version.
    """
    connection.execute("ATTACH DATABASE ? AS part", (path,))
    try:
        (version,) = connection.execute("PRAGMA part.user_version").fetchone()
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{path}: has store format {version}; only stores of format {SCHEMA_VERSION} are merged. Measure into "
                "it once more, which brings it up to date"
            )
        yield
    finally:
        connection.execute("DETACH DATABASE part")


def copy_run(connection: sqlite3.Connection, run: int, part: int, sketch: str) -> None:
    """Copy the measured rows of a run; what is here already is replaced by the same.

    Args:
        connection: the store, in a transaction, with the other one attached.
        run: the run's id here; it has the checkpoints of the part.
        part: the run's id in the part.
        sketch: the metric whose rows are sketches.
    """
    parameters: dict[str, int | str] = {"run": run, "part": part, "sketch": sketch}
    _execute_all(connection, _NUMBERS, parameters)
    try:
        _execute_all(connection, _TEXTS, parameters)
        _number_codes(connection)
        _number_states(connection)
        _join_sums(connection)
        _execute_all(connection, _ROWS, parameters)
    finally:
        for statement in _NUMBERS.split(";"):
            connection.execute(f"DROP TABLE temp.{statement.split()[3]}")


def codes_used(connection: sqlite3.Connection, schema: str, run: int) -> dict[str, set[str]]:
    """Return the digests of the code by which a run's rows were measured, by metric, in ``main`` or ``part``."""
    rows = connection.execute(
        f"SELECT DISTINCT series.metric, digest FROM {schema}.series "  # noqa: S608 - one of two names of our own
        f"JOIN {schema}.measurements ON series = series.id JOIN {schema}.codes ON codes.metric = series.metric "
        "AND number = code WHERE run = ?",
        (run,),
    )
    used: dict[str, set[str]] = {}
    for metric, digest in rows:
        used.setdefault(metric, set()).add(digest)
    return used


def _execute_all(connection: sqlite3.Connection, statements: str, parameters: dict[str, int | str]) -> None:
    for statement in statements.split(";"):
        its = {name: value for name, value in parameters.items() if f":{name}" in statement}
        connection.execute(statement, its)


def _number_codes(connection: sqlite3.Connection) -> None:
    for metric, number, digest in connection.execute("SELECT metric, number, digest FROM part.codes").fetchall():
        connection.execute(
            "INSERT OR IGNORE INTO codes SELECT ?, count(*), ? FROM codes WHERE metric = ?", (metric, digest, metric)
        )
        connection.execute(
            "INSERT INTO of_code SELECT metric, ?, number FROM codes WHERE metric = ? AND digest = ?",
            (number, metric, digest),
        )


def _number_states(connection: sqlite3.Connection) -> None:
    """Join the lists of digests of each tensor at each checkpoint, by whose places rows name them."""
    rows = connection.execute(
        "SELECT one.checkpoint, one.tensor, of_checkpoint.here, of_name.here, one.digests, states.digests "
        "FROM part.states AS one JOIN of_checkpoint ON of_checkpoint.part = one.checkpoint "
        "JOIN of_name ON of_name.part = one.tensor LEFT JOIN states ON states.checkpoint = of_checkpoint.here "
        "AND states.tensor = of_name.here"
    ).fetchall()
    for checkpoint, tensor, here, tensor_here, digests, known in rows:
        numbers = {digest: number for number, digest in enumerate(known.split(",") if known else ())}
        places = [(part, numbers.setdefault(one, len(numbers))) for part, one in enumerate(digests.split(","))]
        connection.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", (here, tensor_here, ",".join(numbers)))
        connection.executemany(
            "INSERT INTO of_state VALUES (?, ?, ?, ?)", [(checkpoint, tensor, *place) for place in places]
        )


def _join_sums(connection: sqlite3.Connection) -> None:
    """Join sums that both have of a tensor at a checkpoint, for other needs perhaps; the rest is copied."""
    rows = connection.execute(
        "SELECT sums.checkpoint, sums.tensor, ours.format, sums.numbers, theirs.format, one.numbers "
        "FROM part.sums AS one JOIN of_checkpoint ON of_checkpoint.part = one.checkpoint "
        "JOIN of_name ON of_name.part = one.tensor JOIN sums ON sums.checkpoint = of_checkpoint.here "
        "AND sums.tensor = of_name.here JOIN sum_formats AS ours ON ours.id = sums.format "
        "JOIN part.sum_formats AS theirs ON theirs.id = one.format "
        "WHERE ours.format != theirs.format OR sums.numbers != one.numbers"
    ).fetchall()
    for checkpoint, tensor, ours, numbers, theirs, its in rows:
        described, packed = pack(unpack(ours, numbers) | unpack(theirs, its))
        connection.execute("INSERT OR IGNORE INTO sum_formats (format) VALUES (?)", (described,))
        connection.execute(
            "UPDATE sums SET format = (SELECT id FROM sum_formats WHERE format = ?), numbers = ? "
            "WHERE checkpoint = ? AND tensor = ?",
            (described, packed, checkpoint, tensor),
        )
