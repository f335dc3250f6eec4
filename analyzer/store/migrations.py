"""Bring a store of an earlier schema up to date, step by step."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from analyzer.store.packed_sums import pack_json

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

# Schema 3 wrote names, statuses and digests as texts into every row, and sums as JSON for each need. A digest consists
# of that of the states, 16 characters, and that of the metric's code.
_REPLACED = ("series", "measurements", "sums", "spectra", "contents", "sketches")
_FROM_3_TO_4 = """
INSERT INTO names (run, name) SELECT run, tensor FROM old_series
    UNION SELECT run, reference FROM old_measurements JOIN old_series ON id = series WHERE reference IS NOT NULL
    UNION SELECT run, tensor FROM old_sums JOIN checkpoints ON id = checkpoint
    UNION SELECT run, tensor FROM old_spectra JOIN checkpoints ON id = checkpoint
    UNION SELECT run, tensor FROM old_contents JOIN checkpoints ON id = checkpoint
    UNION SELECT run, tensor FROM old_sketches JOIN checkpoints ON id = checkpoint
    UNION SELECT run, reference FROM old_sketches JOIN checkpoints ON id = checkpoint;
INSERT OR IGNORE INTO statuses (name) SELECT DISTINCT status FROM old_measurements ORDER BY status;
CREATE TEMP TABLE based AS SELECT checkpoint, names.id AS tensor, metric, substr(basis, 1, 16) AS states,
    substr(basis, 17) AS code FROM old_measurements JOIN old_series ON old_series.id = series
    JOIN names ON names.run = old_series.run AND names.name = tensor WHERE basis IS NOT NULL
    UNION SELECT checkpoint, names.id, 'step_sketch', substr(basis, 1, 16), substr(basis, 17) FROM old_sketches
    JOIN checkpoints ON checkpoints.id = checkpoint JOIN names ON names.run = checkpoints.run AND names.name = tensor;
CREATE TEMP TABLE numbered AS SELECT checkpoint, tensor, states, row_number() OVER (PARTITION BY checkpoint, tensor
    ORDER BY states) - 1 AS number FROM (SELECT DISTINCT checkpoint, tensor, states FROM based);
CREATE UNIQUE INDEX temp.numbered_by_states ON numbered (checkpoint, tensor, states);
INSERT INTO states SELECT checkpoint, tensor, group_concat(states)
    FROM (SELECT * FROM numbered ORDER BY checkpoint, tensor, number) GROUP BY checkpoint, tensor;
INSERT INTO codes SELECT metric, row_number() OVER (PARTITION BY metric ORDER BY code) - 1, code
    FROM (SELECT DISTINCT metric, code FROM based);
INSERT INTO series SELECT old_series.id, old_series.run, scope, names.id, metric
    FROM old_series JOIN names ON names.run = old_series.run AND names.name = tensor;
INSERT INTO measurements
    SELECT series, old.checkpoint, value, bound, statuses.id, compared.id, numbered.number, codes.number
    FROM old_measurements AS old JOIN series ON series.id = series JOIN statuses ON statuses.name = status
    LEFT JOIN names AS compared ON compared.run = series.run AND compared.name = reference
    LEFT JOIN numbered ON numbered.checkpoint = old.checkpoint AND numbered.tensor = series.tensor
    AND states = substr(basis, 1, 16) LEFT JOIN codes ON codes.metric = series.metric AND digest = substr(basis, 17);
INSERT INTO spectra SELECT checkpoint, names.id, singular_values FROM old_spectra
    JOIN checkpoints ON checkpoints.id = checkpoint JOIN names ON names.run = checkpoints.run AND names.name = tensor;
INSERT INTO contents SELECT checkpoint, names.id, blake3 FROM old_contents
    JOIN checkpoints ON checkpoints.id = checkpoint JOIN names ON names.run = checkpoints.run AND names.name = tensor;
INSERT INTO sketches SELECT old.checkpoint, names.id, compared.id, buckets, first, exponent, numbers, numbered.number,
    (SELECT number FROM codes WHERE metric = 'step_sketch' AND digest = substr(basis, 17))
    FROM old_sketches AS old JOIN checkpoints ON checkpoints.id = old.checkpoint
    JOIN names ON names.run = checkpoints.run AND names.name = old.tensor
    JOIN names AS compared ON compared.run = checkpoints.run AND compared.name = reference
    JOIN numbered ON numbered.checkpoint = old.checkpoint AND numbered.tensor = names.id
    AND states = substr(basis, 1, 16);
DROP TABLE temp.based;
DROP TABLE temp.numbered
"""


def migrate(connection: sqlite3.Connection, version: int, newest: str) -> None:
    """Bring a store of an earlier schema up to date, inside a transaction.

    Args:
        connection: the open file.
        version: its schema.
        newest: the statements that create the tables of the newest schema.
    """
    if version == 1:
        execute_all(connection, _FROM_1_TO_2)
    if version <= 2:
        execute_all(connection, _FROM_2_TO_3)
    _from_3_to_4(connection, newest)


def execute_all(connection: sqlite3.Connection, statements: str) -> None:
    """Execute statements that are separated by a semicolon at the end of a line."""
    for statement in statements.split(";\n"):
        connection.execute(statement)


def _from_3_to_4(connection: sqlite3.Connection, newest: str) -> None:
    """Write the tables whose rows changed anew; no digest changes, so that nothing has to be measured again."""
    connection.execute("DROP VIEW readable")
    for table in _REPLACED:
        connection.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    known = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    new = (one for one in newest.split(";\n") if one.split("(")[0].split()[2] not in known)
    execute_all(connection, ";\n".join(new))
    execute_all(connection, _FROM_3_TO_4)
    formats: dict[str, int] = {}
    connection.executemany("INSERT INTO sums VALUES (?, ?, ?, ?)", _packed(connection, formats))
    connection.executemany("INSERT INTO sum_formats VALUES (?, ?)", [(one, text) for text, one in formats.items()])
    for table in _REPLACED:
        connection.execute(f"DROP TABLE old_{table}")


def _packed(connection: sqlite3.Connection, formats: dict[str, int]) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield the rows of the table ``sums``; ``formats`` receives the number of each format."""
    rows = connection.execute(
        "SELECT checkpoint, names.id, need, numbers FROM old_sums JOIN checkpoints ON checkpoints.id = checkpoint "
        "JOIN names ON names.run = checkpoints.run AND names.name = tensor ORDER BY checkpoint, names.id, need"
    )
    for (checkpoint, tensor), needs in groupby(rows, key=itemgetter(0, 1)):
        described, numbers = pack_json([(need, text) for _, _, need, text in needs])
        yield checkpoint, tensor, formats.setdefault(described, len(formats) + 1), numbers
