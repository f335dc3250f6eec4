"""The tables of a store, and its file: opened, made where there is none, and checked to be one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from analyzer.errors import StoreError, UnreadableStoreError
from analyzer.store.files import STORE_NAME

SCHEMA_VERSION = 1
_SQLITE = b"SQLite format 3\0"
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE runs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, path TEXT NOT NULL, layout TEXT NOT NULL,
    ordered_by TEXT NOT NULL);
CREATE TABLE checkpoints (id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    position INTEGER NOT NULL, name TEXT NOT NULL, epoch REAL, step INTEGER, path TEXT NOT NULL, bytes INTEGER NOT NULL,
    files TEXT NOT NULL, UNIQUE (run, name));
CREATE TABLE scalars (checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, name TEXT NOT NULL,
    value REAL NOT NULL, PRIMARY KEY (checkpoint, name)) WITHOUT ROWID;
CREATE TABLE tensors (id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    position INTEGER NOT NULL, name TEXT NOT NULL, module TEXT NOT NULL, kind TEXT NOT NULL, shape TEXT NOT NULL,
    matrix_shape TEXT, rule TEXT NOT NULL, dtype TEXT NOT NULL, UNIQUE (run, name));
CREATE TABLE metrics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, family TEXT NOT NULL, unit TEXT NOT NULL,
    definition TEXT NOT NULL, source TEXT NOT NULL, version INTEGER NOT NULL);
CREATE TABLE series (id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    scope TEXT NOT NULL, tensor TEXT NOT NULL, metric TEXT NOT NULL, UNIQUE (run, scope, tensor, metric));
CREATE TABLE measurements (series INTEGER NOT NULL REFERENCES series ON DELETE CASCADE,
    checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, value REAL, bound REAL, status TEXT NOT NULL,
    reference TEXT, basis TEXT, PRIMARY KEY (series, checkpoint)) WITHOUT ROWID;
CREATE TABLE sums (checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, tensor TEXT NOT NULL,
    need TEXT NOT NULL, numbers TEXT NOT NULL, PRIMARY KEY (checkpoint, tensor, need)) WITHOUT ROWID;
CREATE TABLE spectra (checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, tensor TEXT NOT NULL,
    singular_values BLOB NOT NULL, PRIMARY KEY (checkpoint, tensor)) WITHOUT ROWID;
CREATE TABLE contents (checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, tensor TEXT NOT NULL,
    blake3 TEXT NOT NULL, PRIMARY KEY (checkpoint, tensor)) WITHOUT ROWID;
CREATE TABLE problems (checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, tensor TEXT NOT NULL,
    metric TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (checkpoint, tensor, metric)) WITHOUT ROWID;
CREATE TABLE findings (run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, position INTEGER NOT NULL,
    rule TEXT NOT NULL, severity TEXT NOT NULL, sentence TEXT NOT NULL, tensor TEXT, checkpoints TEXT NOT NULL,
    evidence TEXT NOT NULL, figure TEXT, PRIMARY KEY (run, position)) WITHOUT ROWID;
CREATE VIEW readable AS SELECT runs.name AS run, checkpoints.name AS checkpoint, epoch, step, scope, tensor, metric,
    value, bound, status, reference FROM measurements JOIN series ON series.id = measurements.series
    JOIN checkpoints ON checkpoints.id = measurements.checkpoint JOIN runs ON runs.id = series.run;
"""


def connect(path: str, create: bool) -> sqlite3.Connection:
    """A connection to a store's file, as :func:`.store.open_store` describes it."""
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
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        if create:
            _create_tables(connection)
        _check(connection, path)
    except sqlite3.OperationalError as error:  # locked, not readable, no space: nothing is wrong with the content
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
    """Whether a file is meant to be a store, by its name or by how SQLite's files begin; it may be damaged."""
    if path.suffix == Path(STORE_NAME).suffix:
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened: {error}") from error


def _create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of a new store; of several processes that try at a time, one does."""
    if not _is_new(connection):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if _is_new(connection):
            for statement in _TABLES.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _is_new(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return int(tables) == 0 == _version(connection)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check(connection: sqlite3.Connection, path: str) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"runs", "checkpoints", "series", "measurements"} <= tables:
        raise UnreadableStoreError(f"{path}: is not a store that weightlapse made")
    if _version(connection) != SCHEMA_VERSION:
        raise UnreadableStoreError(
            f"{path}: has store format {_version(connection)}, this weightlapse reads format {SCHEMA_VERSION}; "
            "measure the run again into a new store"
        )
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise UnreadableStoreError(f"{path}: is damaged or not a store: {verdict}")
