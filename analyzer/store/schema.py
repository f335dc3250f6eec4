"""The tables of a store, and its file: opened, created, migrated from an earlier schema, and checked."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from analyzer.errors import StoreError, UnreadableStoreError
from analyzer.store.files import STORE_NAME
from analyzer.store.migrations import execute_all, migrate

SCHEMA_VERSION = 4
OLDEST_VERSION = 1  # that can be migrated
_SQLITE = b"SQLite format 3\0"

# What millions of rows have in common is a small number in each: texts are in ``names``, ``statuses``, ``states`` and
# ``codes``. The columns that refer to them declare no foreign key, as SQLite would scan a table for each name removed.
_TABLES = """
CREATE TABLE runs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, path TEXT NOT NULL, layout TEXT NOT NULL,
    ordered_by TEXT NOT NULL, settings TEXT NOT NULL DEFAULT '{}', begun TEXT NOT NULL DEFAULT '[]',
    opening TEXT NOT NULL DEFAULT '{}', vanished TEXT NOT NULL DEFAULT '[]');
CREATE TABLE listings (id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    digest TEXT NOT NULL, tensors TEXT NOT NULL, UNIQUE (run, digest));
CREATE TABLE checkpoints (id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    position INTEGER NOT NULL, name TEXT NOT NULL, epoch REAL, step INTEGER, tokens INTEGER, path TEXT NOT NULL,
    bytes INTEGER NOT NULL, files TEXT NOT NULL, listing INTEGER REFERENCES listings, UNIQUE (run, name));
CREATE TABLE scalars (checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, name TEXT NOT NULL,
    value REAL NOT NULL, PRIMARY KEY (checkpoint, name)) WITHOUT ROWID;
CREATE TABLE tensors (id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    position INTEGER NOT NULL, name TEXT NOT NULL, module TEXT NOT NULL, kind TEXT NOT NULL, shape TEXT NOT NULL,
    matrix_shape TEXT, rule TEXT NOT NULL, dtype TEXT NOT NULL, UNIQUE (run, name));
CREATE TABLE metrics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, family TEXT NOT NULL, unit TEXT NOT NULL,
    definition TEXT NOT NULL, source TEXT NOT NULL, version INTEGER NOT NULL);
CREATE TABLE names (id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    name TEXT NOT NULL, UNIQUE (run, name));
CREATE TABLE statuses (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
INSERT INTO statuses VALUES (0, 'ok');
CREATE TABLE codes (metric TEXT NOT NULL, number INTEGER NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (metric, number),
    UNIQUE (metric, digest)) WITHOUT ROWID;
CREATE TABLE states (checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, tensor INTEGER NOT NULL,
    digests TEXT NOT NULL, PRIMARY KEY (checkpoint, tensor)) WITHOUT ROWID;
CREATE TABLE series (id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    scope TEXT NOT NULL, tensor INTEGER NOT NULL, metric TEXT NOT NULL, UNIQUE (run, scope, tensor, metric));
CREATE TABLE measurements (series INTEGER NOT NULL REFERENCES series ON DELETE CASCADE,
    checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, value REAL, bound REAL,
    status INTEGER NOT NULL, reference INTEGER, states INTEGER, code INTEGER,
    PRIMARY KEY (series, checkpoint)) WITHOUT ROWID;
CREATE TABLE sum_formats (id INTEGER PRIMARY KEY, format TEXT NOT NULL UNIQUE);
CREATE TABLE sums (checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, tensor INTEGER NOT NULL,
    format INTEGER NOT NULL, numbers BLOB NOT NULL, PRIMARY KEY (checkpoint, tensor)) WITHOUT ROWID;
CREATE TABLE spectra (checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, tensor INTEGER NOT NULL,
    singular_values BLOB NOT NULL, PRIMARY KEY (checkpoint, tensor)) WITHOUT ROWID;
CREATE TABLE contents (checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, tensor INTEGER NOT NULL,
    blake3 TEXT NOT NULL, PRIMARY KEY (checkpoint, tensor)) WITHOUT ROWID;
CREATE TABLE sketches (checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, tensor INTEGER NOT NULL,
    reference INTEGER NOT NULL, buckets INTEGER, first INTEGER, exponent INTEGER, numbers BLOB,
    states INTEGER NOT NULL, code INTEGER NOT NULL, PRIMARY KEY (checkpoint, tensor)) WITHOUT ROWID;
CREATE TABLE problems (checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, tensor TEXT NOT NULL,
    metric TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (checkpoint, tensor, metric)) WITHOUT ROWID;
CREATE VIEW readable AS SELECT runs.name AS run, checkpoints.name AS checkpoint, epoch, step, scope,
    tensors.name AS tensor, metric, value, bound, statuses.name AS status, compared.name AS reference
    FROM measurements JOIN series ON series.id = measurements.series
    JOIN names AS tensors ON tensors.id = series.tensor JOIN statuses ON statuses.id = measurements.status
    JOIN checkpoints ON checkpoints.id = measurements.checkpoint JOIN runs ON runs.id = series.run
    LEFT JOIN names AS compared ON compared.id = measurements.reference
"""


def connect(path: str, create: bool) -> sqlite3.Connection:
    """Connect to a store's file; see :func:`analyzer.store.store.open_store`."""
    if Path(path).is_dir():
        raise StoreError(f"{path}: is a folder; name a file in it, such as {Path(path, STORE_NAME)}")
    exists = Path(path).exists()
    if not exists and not create:
        raise StoreError(f"{path}: no such store; weightlapse measure makes one")
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path}: cannot be opened: {error}") from error
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        if create:
            _create_tables(connection)
        _check(connection, path)
        if _version(connection) < SCHEMA_VERSION:
            connection = connection if create else _copy_in_temporary_file(connection)
            _migrate(connection)
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.OperationalError as error:  # locked, unreadable, no space: nothing is wrong with the content
        connection.close()
        raise StoreError(f"{path}: cannot be used: {error}") from error
    except sqlite3.DatabaseError as error:
        connection.close()
        raise UnreadableStoreError(f"{path}: is damaged or not a store: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def looks_like_store(path: Path) -> bool:
    """Check by its name, or by SQLite's first bytes, whether a file is meant to be a store; it may be damaged."""
    if path.suffix == Path(STORE_NAME).suffix:
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened: {error}") from error


def _create_tables(connection: sqlite3.Connection) -> None:
    """Create the tables of a new store; of several processes that try at the same time, one does."""
    if not _is_new(connection):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if _is_new(connection):
            execute_all(connection, _TABLES)
            _set_version(connection)


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring an earlier schema up to date in one transaction; another process may have been faster."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        version = _version(connection)
        if version == SCHEMA_VERSION:
            return
        migrate(connection, version, _TABLES)
        _set_version(connection)
    with suppress(sqlite3.OperationalError):  # no room for a copy, or in use: the store is whole, but a larger file
        connection.execute("VACUUM")


def _set_version(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _copy_in_temporary_file(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Copy a store that is only read, so that it can be migrated without changing the file."""
    copy = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # SQLite removes it when it is closed
    with closing(connection):
        connection.backup(copy)
    return copy


def _is_new(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return int(tables) == 0 == _version(connection)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check(connection: sqlite3.Connection, path: str) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"runs", "checkpoints", "series", "measurements"} <= tables:
        raise UnreadableStoreError(f"{path}: is not a store that weightlapse made")
    if not OLDEST_VERSION <= _version(connection) <= SCHEMA_VERSION:
        raise UnreadableStoreError(
            f"{path}: has store format {_version(connection)}, this weightlapse reads formats {OLDEST_VERSION} to "
            f"{SCHEMA_VERSION}; install the version that wrote it, or measure the run again into a new store"
        )
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise UnreadableStoreError(f"{path}: is damaged or not a store: {verdict}")
