"""The tables of a store, and its file: opened, created, migrated from an earlier schema, and checked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from analyzer.errors import StoreError, UnreadableStoreError
from analyzer.store.files import STORE_NAME

SCHEMA_VERSION = 3
OLDEST_VERSION = 1  # that can be migrated
_SQLITE = b"SQLite format 3\0"

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
CREATE TABLE sketches (checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, tensor TEXT NOT NULL,
    reference TEXT NOT NULL, buckets INTEGER, first INTEGER, exponent INTEGER, numbers BLOB, basis TEXT NOT NULL,
    PRIMARY KEY (checkpoint, tensor)) WITHOUT ROWID;
CREATE TABLE problems (checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, tensor TEXT NOT NULL,
    metric TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (checkpoint, tensor, metric)) WITHOUT ROWID;
CREATE VIEW readable AS SELECT runs.name AS run, checkpoints.name AS checkpoint, epoch, step, scope, tensor, metric,
    value, bound, status, reference FROM measurements JOIN series ON series.id = measurements.series
    JOIN checkpoints ON checkpoints.id = measurements.checkpoint JOIN runs ON runs.id = series.run
"""

# Schema 1 kept settings and unfinished work in a table of keys, all findings as they were when measured, and did not
# tell NaN from infinite elements. Of the findings those are kept that only opening the folder can make: all others
# follow from the measurements and are computed when a report is drawn. Non-finite elements are taken for NaN.
_FROM_1_TO_2 = """
ALTER TABLE runs ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
ALTER TABLE runs ADD COLUMN begun TEXT NOT NULL DEFAULT '[]';
ALTER TABLE runs ADD COLUMN opening TEXT NOT NULL DEFAULT '{}';
ALTER TABLE runs ADD COLUMN vanished TEXT NOT NULL DEFAULT '[]';
UPDATE runs SET settings = value FROM meta WHERE key = 'settings of run ' || name;
UPDATE runs SET begun = value FROM meta WHERE key = 'begun with run ' || name;
UPDATE runs SET opening = json_object('findings', (SELECT json_group_array(json_array(rule, severity, sentence, tensor,
    json(checkpoints), json(evidence), figure)) FROM (SELECT * FROM findings WHERE run = runs.id AND rule IN
    ('ambiguous_name', 'averaged_weights', 'contradicting_files', 'duplicate_files', 'further_models', 'names_kept',
    'names_unwrapped', 'order_by_age', 'refused_file', 'score_from_earlier_step', 'scores_not_finite',
    'scores_unmatched', 'scores_unreadable', 'scores_without_place', 'selected_tensors', 'several_lines',
    'several_weights', 'steps_within_epochs', 'tied_weights', 'unfinished_run') ORDER BY position)));
CREATE TABLE listings (id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    digest TEXT NOT NULL, tensors TEXT NOT NULL, UNIQUE (run, digest));
ALTER TABLE checkpoints ADD COLUMN listing INTEGER REFERENCES listings;
UPDATE sums SET numbers = json_insert(numbers, '$[#]', json_extract(numbers, '$[1]')) WHERE need = 'finiteness';
DROP TABLE findings;
DROP TABLE meta
"""

# Schema 2 did not keep how many tokens a training had seen, nor sketches of steps.
_FROM_2_TO_3 = """
ALTER TABLE checkpoints ADD COLUMN tokens INTEGER;
CREATE TABLE sketches (checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE, tensor TEXT NOT NULL,
    reference TEXT NOT NULL, buckets INTEGER, first INTEGER, exponent INTEGER, numbers BLOB, basis TEXT NOT NULL,
    PRIMARY KEY (checkpoint, tensor)) WITHOUT ROWID
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
            _execute_all(connection, _TABLES, SCHEMA_VERSION)


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring an earlier schema up to date in one transaction; another process may have been faster."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if _version(connection) == 1:
            _execute_all(connection, _FROM_1_TO_2, version=2)
        if _version(connection) == 2:
            _execute_all(connection, _FROM_2_TO_3, version=3)


def _execute_all(connection: sqlite3.Connection, statements: str, version: int) -> None:
    for statement in statements.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {version}")


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
