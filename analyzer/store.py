"""The SQLite file that measurements are kept in: what was measured, from which bytes, by which code.

A report is always drawn from here, never from checkpoints.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyzer.errors import StoreError, UnreadableStoreError
from analyzer.files import STORE_NAME
from analyzer.run import (
    Checkpoint,
    CheckpointRow,
    Curve,
    Finding,
    Measurement,
    MetricRow,
    Run,
    Status,
    TensorRow,
)

if TYPE_CHECKING:
    from analyzer.run import FloatArray

Stamps = list[tuple[int | str, ...]]  # (size, modified_ns, etag) of each file of a checkpoint
RowKey = tuple[str, str, str]  # (matrix, metric, checkpoint)

SCHEMA_VERSION = 1
_SETTINGS = "settings of run "  # and the run's name: a key of the table meta
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


@dataclass(frozen=True, slots=True)
class Observation:
    """All that the engine found out about one tensor at one checkpoint.

    ``bases`` names, for each metric, the bytes and the code that the value depends on. ``sums`` are additive needs,
    ``spectra`` float64 singular values by matrix name, ``problems`` reasons by metric name.
    """

    checkpoint: str
    tensor: str
    measurements: tuple[Measurement, ...]
    bases: Mapping[str, str]
    sums: Mapping[str, tuple[float, ...]]
    spectra: Mapping[str, FloatArray]
    content: str | None
    problems: Mapping[str, str]
    bytes: int


class Store:
    """An open store. Writing happens in transactions; a killed process leaves whole ones behind."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self.path = path

    # ------------------------------------------------------------------------------------------------ writing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; StoreError names the file and the cause, such as a full disk."""
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: the measurements cannot be written: {error}") from error

    def put_run(self, run: Run, tensors: Iterable[TensorRow], metrics: Iterable[MetricRow]) -> list[str]:
        """Bring the store's picture of a run up to date; returns the checkpoints that are gone from the folder."""
        execute = self._connection.execute
        execute(
            "INSERT INTO runs (name, path, layout, ordered_by) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
            "path = excluded.path, layout = excluded.layout, ordered_by = excluded.ordered_by",
            (run.name, run.path, run.layout, run.ordered_by),
        )
        run_id = self._run_id(run.name)
        names = {checkpoint.name for checkpoint in run.checkpoints}
        known = [name for (name,) in execute("SELECT name FROM checkpoints WHERE run = ? ORDER BY position", (run_id,))]
        gone = [name for name in known if name not in names]
        for name in gone:
            execute("DELETE FROM checkpoints WHERE run = ? AND name = ?", (run_id, name))
        for name in self._replaced(run_id, run):
            # Other bytes under the same name are another checkpoint: nothing that was measured of the old ones holds.
            execute("DELETE FROM checkpoints WHERE run = ? AND name = ?", (run_id, name))
        for position, checkpoint in enumerate(run.checkpoints):
            files = json.dumps([astuple(stamp) for stamp in checkpoint.files])
            total = sum(stamp.size for stamp in checkpoint.files)
            execute(
                "INSERT INTO checkpoints (run, position, name, epoch, step, path, bytes, files) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, name) DO UPDATE SET position = excluded.position, "
                "epoch = excluded.epoch, step = excluded.step, path = excluded.path, bytes = excluded.bytes, "
                "files = excluded.files",
                (
                    run_id,
                    position,
                    checkpoint.name,
                    checkpoint.epoch,
                    checkpoint.step,
                    checkpoint.path,
                    total,
                    files,
                ),
            )
        ids = self._checkpoint_ids(run_id)
        for checkpoint in run.checkpoints:
            execute("DELETE FROM scalars WHERE checkpoint = ?", (ids[checkpoint.name],))
            rows = [(ids[checkpoint.name], name, value) for name, value in checkpoint.scores.items()]
            self._connection.executemany("INSERT INTO scalars VALUES (?, ?, ?)", rows)
        self._put_settings(run)
        self._put_tensors(run_id, list(tensors))
        self._connection.executemany(
            "INSERT OR REPLACE INTO metrics (name, family, unit, definition, source, version) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [(row.name, row.family, row.unit, row.definition, row.source, row.version) for row in metrics],
        )
        return gone

    def _put_settings(self, run: Run) -> None:
        """The settings on which all checkpoints of a run agree."""
        first, *others = [set(one.settings.items()) for one in run.checkpoints] or [set()]
        self._connection.execute(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
            (_SETTINGS + run.name, json.dumps(dict(first.intersection(*others)), sort_keys=True)),
        )

    def has_only_grown(self, run: Run) -> bool:
        """Whether the checkpoints that the store knows of a run are still its first ones, unchanged and in order."""
        if run.name not in self.runs():
            return True
        known = self._stamps(self._run_id(run.name))
        now = [(checkpoint.name, _stamps_of(checkpoint)) for checkpoint in run.checkpoints]
        return now[: len(known)] == known

    def _stamps(self, run_id: int) -> list[tuple[str, Stamps]]:
        rows = self._connection.execute(
            "SELECT name, files FROM checkpoints WHERE run = ? ORDER BY position", (run_id,)
        )
        return [(name, [tuple(stamp) for _, *stamp in json.loads(files)]) for name, files in rows]

    def _replaced(self, run_id: int, run: Run) -> list[str]:
        known = dict(self._stamps(run_id))
        return [one.name for one in run.checkpoints if known.get(one.name, _stamps_of(one)) != _stamps_of(one)]

    def _put_tensors(self, run_id: int, tensors: list[TensorRow]) -> None:
        names = {row.name for row in tensors}
        execute = self._connection.execute
        known = {name for (name,) in execute("SELECT name FROM tensors WHERE run = ?", (run_id,))}
        for name in known - names:
            execute("DELETE FROM series WHERE run = ? AND scope = 'tensor' AND tensor = ?", (run_id, name))
        execute("DELETE FROM tensors WHERE run = ?", (run_id,))
        self._connection.executemany(
            "INSERT INTO tensors (run, position, name, module, kind, shape, matrix_shape, rule, dtype) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    run_id,
                    position,
                    row.name,
                    row.module,
                    row.kind,
                    json.dumps(row.shape),
                    json.dumps(row.matrix_shape),
                    row.rule,
                    row.dtype,
                )
                for position, row in enumerate(tensors)
            ],
        )

    def writer(self, run: str, needs: Mapping[str, Collection[str]] | None = None) -> Writer:
        """Where the observations of one run go; ``needs`` are what each metric is computed from."""
        run_id = self._run_id(run)
        return Writer(self._connection, run_id, self._checkpoint_ids(run_id), needs or {})

    def forget_rows(self, run: str, keys: Iterable[RowKey]) -> None:
        """Drop measured rows, by (matrix, metric, checkpoint)."""
        run_id = self._run_id(run)
        self._connection.executemany(
            "DELETE FROM measurements WHERE series = (SELECT id FROM series WHERE run = ? AND scope = 'tensor' AND "
            "tensor = ? AND metric = ?) AND checkpoint = (SELECT id FROM checkpoints WHERE run = ? AND name = ?)",
            [(run_id, tensor, metric, run_id, checkpoint) for tensor, metric, checkpoint in keys],
        )

    def bases(self, run: str, tensor: str) -> dict[RowKey, str]:
        """What the stored rows of a tensor (and the matrices in it) rest on: (matrix, metric, checkpoint) -> basis."""
        rows = self._connection.execute(
            "SELECT tensor, metric, checkpoints.name, basis FROM series JOIN measurements ON series = series.id "
            "JOIN checkpoints ON checkpoints.id = checkpoint WHERE series.run = ? AND scope = 'tensor' "
            "AND (tensor = ? OR (tensor >= ? AND tensor < ?)) AND basis IS NOT NULL",
            (self._run_id(run), tensor, tensor + "[", tensor + "\\"),
        )
        return {(name, metric, checkpoint): basis for name, metric, checkpoint, basis in rows}

    def replace_findings(self, run: str, findings: Iterable[Finding]) -> None:
        """The findings of a run, in the order of reading."""
        run_id = self._run_id(run)
        self._connection.execute("DELETE FROM findings WHERE run = ?", (run_id,))
        self._connection.executemany(
            "INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    run_id,
                    position,
                    finding.rule,
                    finding.severity,
                    finding.sentence,
                    finding.tensor,
                    json.dumps(finding.checkpoints),
                    json.dumps(dict(finding.evidence)),
                    finding.figure,
                )
                for position, finding in enumerate(findings)
            ],
        )

    def drop_runs_but(self, names: set[str]) -> None:
        """Forget all runs but the named ones."""
        with self.transaction():
            for name in set(self.runs()) - names:
                self._connection.execute("DELETE FROM runs WHERE name = ?", (name,))
                self._connection.execute("DELETE FROM meta WHERE key = ?", (_SETTINGS + name,))

    # ------------------------------------------------------------------------------------------------ reading

    def runs(self) -> list[str]:
        """The names of the runs, sorted."""
        return [name for (name,) in self._connection.execute("SELECT name FROM runs ORDER BY name")]

    def about(self, run: str) -> dict[str, str]:
        """``path``, ``layout`` and ``ordered_by`` of a run."""
        row = self._connection.execute("SELECT path, layout, ordered_by FROM runs WHERE name = ?", (run,)).fetchone()
        return dict(zip(("path", "layout", "ordered_by"), row, strict=True))

    def settings(self, run: str) -> dict[str, str]:
        """The training's settings by name, as JSON; empty where the checkpoints do not tell them."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (_SETTINGS + run,)).fetchone()
        return dict(json.loads(row[0])) if row else {}

    def checkpoints(self, run: str) -> list[CheckpointRow]:
        """The checkpoints of a run, in order."""
        rows = self._connection.execute(
            "SELECT name, epoch, step, path, bytes FROM checkpoints WHERE run = ? ORDER BY position",
            (self._run_id(run),),
        )
        return [CheckpointRow(*row) for row in rows]

    def files(self, run: str) -> list[tuple[str, str, int]]:
        """(checkpoint, path, size) of every file that a run was measured from."""
        rows = self._connection.execute(
            "SELECT name, files FROM checkpoints WHERE run = ? ORDER BY position", (self._run_id(run),)
        )
        return [(name, path, size) for name, files in rows for path, size, *_ in json.loads(files)]

    def tensors(self, run: str) -> list[TensorRow]:
        """The tensors of a run, in the order of the files."""
        rows = self._connection.execute(
            "SELECT name, module, kind, shape, matrix_shape, rule, dtype FROM tensors WHERE run = ? ORDER BY position",
            (self._run_id(run),),
        )
        return [
            TensorRow(name, module, kind, tuple(json.loads(shape)), _pair(matrix_shape), rule, dtype)
            for name, module, kind, shape, matrix_shape, rule, dtype in rows
        ]

    def metrics(self) -> dict[str, MetricRow]:
        """The metrics that the store has rows of, by name."""
        rows = self._connection.execute(
            "SELECT name, family, unit, definition, source, version FROM metrics ORDER BY id"
        )
        return {row[0]: MetricRow(*row) for row in rows}

    def scalars(self, run: str) -> dict[str, FloatArray]:
        """Each score of a run, shape (checkpoints,), NaN where there is none."""
        checkpoints = [row.name for row in self.checkpoints(run)]
        positions = {name: position for position, name in enumerate(checkpoints)}
        result: dict[str, FloatArray] = {}
        rows = self._connection.execute(
            "SELECT checkpoints.name, scalars.name, value FROM scalars JOIN checkpoints ON checkpoints.id = checkpoint "
            "WHERE run = ? ORDER BY scalars.name, position",
            (self._run_id(run),),
        )
        for checkpoint, name, value in rows:
            result.setdefault(name, np.full(len(checkpoints), np.nan))[positions[checkpoint]] = value
        return result

    def curves(
        self, run: str, scope: str | None = None, metric: str | None = None, tensor: str | None = None
    ) -> Iterator[Curve]:
        """The curves of a run, optionally of one scope, metric or tensor, sorted by scope, tensor and metric."""
        run_id = self._run_id(run)
        ids = [
            row[0]
            for row in self._connection.execute("SELECT id FROM checkpoints WHERE run = ? ORDER BY position", (run_id,))
        ]
        positions = {identity: position for position, identity in enumerate(ids)}
        chosen = self._connection.execute(
            "SELECT series.id, scope, series.tensor, metric FROM series LEFT JOIN tensors "
            "ON tensors.run = series.run AND tensors.name = series.tensor WHERE series.run = ? "
            "AND (? IS NULL OR scope = ?) AND (? IS NULL OR metric = ?) AND (? IS NULL OR series.tensor = ?) "
            "ORDER BY scope, tensors.position, series.tensor, series.id",
            (run_id, scope, scope, metric, metric, tensor, tensor),
        ).fetchall()
        for identity, its_scope, its_tensor, its_metric in chosen:
            values = np.full(len(ids), np.nan)
            statuses: list[Status | None] = [None] * len(ids)
            references: list[str | None] = [None] * len(ids)
            for checkpoint, value, status, reference in self._connection.execute(
                "SELECT checkpoint, value, status, reference FROM measurements WHERE series = ?", (identity,)
            ):
                position = positions[checkpoint]
                values[position] = np.nan if value is None else value
                statuses[position], references[position] = status, reference
            yield Curve(its_scope, its_tensor, its_metric, values, tuple(statuses), tuple(references))

    def measurements(self, run: str) -> Iterator[Measurement]:
        """Every row of a run, by checkpoint, then scope, tensor and metric in the order of measuring."""
        rows = self._connection.execute(
            "SELECT checkpoints.name, scope, series.tensor, metric, value, bound, status, reference "
            "FROM checkpoints JOIN measurements ON checkpoint = checkpoints.id JOIN series ON series.id = series "
            "LEFT JOIN tensors ON tensors.run = series.run AND tensors.name = series.tensor "
            "WHERE checkpoints.run = ? ORDER BY checkpoints.position, "
            "scope = 'tensor' DESC, scope, tensors.position, series.tensor, series.metric",
            (self._run_id(run),),
        )
        return (Measurement(*row) for row in rows)

    def sums(self, run: str, checkpoint: str) -> dict[str, dict[str, tuple[float, ...]]]:
        """Additive needs at one checkpoint: need -> tensor -> numbers."""
        run_id = self._run_id(run)
        rows = self._connection.execute(
            "SELECT need, sums.tensor, numbers FROM sums JOIN checkpoints ON checkpoints.id = checkpoint "
            "WHERE run = ? AND checkpoints.name = ?",
            (run_id, checkpoint),
        )
        result: dict[str, dict[str, tuple[float, ...]]] = {}
        for need, tensor, numbers in rows:
            result.setdefault(need, {})[tensor] = tuple(json.loads(numbers))
        return result

    def spectra(self, run: str, tensor: str) -> dict[str, FloatArray]:
        """Checkpoint -> float64 singular values, falling, of one matrix."""
        rows = self._connection.execute(
            "SELECT name, singular_values FROM spectra JOIN checkpoints ON checkpoints.id = checkpoint "
            "WHERE run = ? AND tensor = ? ORDER BY position",
            (self._run_id(run), tensor),
        )
        return {name: np.frombuffer(blob, dtype="<f8") for name, blob in rows}

    def contents(self, run: str) -> dict[str, dict[str, str]]:
        """Checkpoint -> tensor -> BLAKE3 of the stored bytes."""
        rows = self._connection.execute(
            "SELECT name, tensor, blake3 FROM contents JOIN checkpoints ON checkpoints.id = checkpoint "
            "WHERE run = ? ORDER BY position, tensor",
            (self._run_id(run),),
        )
        result: dict[str, dict[str, str]] = {}
        for name, tensor, digest in rows:
            result.setdefault(name, {})[tensor] = digest
        return result

    def problems(self, run: str) -> list[tuple[str, str, str, str]]:
        """(checkpoint, tensor, metric, reason) of whatever failed."""
        return self._connection.execute(
            "SELECT name, tensor, metric, reason FROM problems JOIN checkpoints ON checkpoints.id = checkpoint "
            "WHERE run = ? ORDER BY position, tensor, metric",
            (self._run_id(run),),
        ).fetchall()

    def findings(self, run: str) -> list[Finding]:
        """The findings of a run, in the order of reading."""
        rows = self._connection.execute(
            "SELECT rule, severity, sentence, tensor, checkpoints, evidence, figure FROM findings WHERE run = ? "
            "ORDER BY position",
            (self._run_id(run),),
        )
        return [
            Finding(rule, severity, sentence, tensor, tuple(json.loads(names)), json.loads(evidence), figure)
            for rule, severity, sentence, tensor, names, evidence, figure in rows
        ]

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run_id(self, run: str) -> int:
        row = self._connection.execute("SELECT id FROM runs WHERE name = ?", (run,)).fetchone()
        if row is None:
            raise StoreError(f"{self.path}: holds no run named {run!r}; it has {', '.join(self.runs()) or 'none'}")
        return int(row[0])

    def _checkpoint_ids(self, run_id: int) -> dict[str, int]:
        return dict(self._connection.execute("SELECT name, id FROM checkpoints WHERE run = ?", (run_id,)))


class Writer:
    """Writes the observations of one run; to be used inside a transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        run_id: int,
        checkpoints: Mapping[str, int],
        needs: Mapping[str, Collection[str]],
    ) -> None:
        self._connection = connection
        self._run_id = run_id
        self._checkpoints = checkpoints
        self._needs = needs
        self._series: dict[tuple[str, str, str], int] = {
            (scope, tensor, metric): identity
            for identity, scope, tensor, metric in connection.execute(
                "SELECT id, scope, tensor, metric FROM series WHERE run = ?", (run_id,)
            )
        }

    def add(self, observations: Sequence[Observation]) -> None:
        """Keep observations, in place of earlier ones of the same tensors and checkpoints."""
        many = self._connection.executemany
        placed = [(self._checkpoints[one.checkpoint], one) for one in observations]
        many("DELETE FROM problems WHERE checkpoint = ? AND tensor = ?", [(at, one.tensor) for at, one in placed])
        many(
            "INSERT OR REPLACE INTO problems VALUES (?, ?, ?, ?)",
            [(at, one.tensor, metric, reason) for at, one in placed for metric, reason in one.problems.items()],
        )
        for one in observations:
            self.add_measurements(one.measurements, one.bases)
        self._forget_what_they_rested_on(placed)
        many(
            "INSERT OR REPLACE INTO sums VALUES (?, ?, ?, ?)",
            [(at, one.tensor, need, json.dumps(row)) for at, one in placed for need, row in one.sums.items()],
        )
        many(
            "INSERT OR REPLACE INTO spectra VALUES (?, ?, ?)",
            [
                (at, name, np.ascontiguousarray(values, dtype="<f8").tobytes())
                for at, one in placed
                for name, values in one.spectra.items()
            ],
        )
        many(
            "INSERT OR REPLACE INTO contents VALUES (?, ?, ?)",
            [(at, one.tensor, one.content) for at, one in placed if one.content is not None],
        )

    def _forget_what_they_rested_on(self, placed: Sequence[tuple[int, Observation]]) -> None:
        """Drop earlier sums and spectra that these metrics needed: now they may have none, for a NaN or a gap."""
        needed = [
            (at, one.tensor, {need for metric in one.bases for need in self._needs.get(metric, ())})
            for at, one in placed
        ]
        self._connection.executemany(
            "DELETE FROM sums WHERE checkpoint = ? AND tensor = ? AND need = ?",
            [(at, tensor, need) for at, tensor, needs in needed for need in needs],
        )
        self._connection.executemany(
            "DELETE FROM spectra WHERE checkpoint = ? AND (tensor = ? OR (tensor >= ? AND tensor < ?))",
            [(at, tensor, tensor + "[", tensor + "\\") for at, tensor, needs in needed if "spectrum" in needs],
        )

    def add_measurements(self, rows: Iterable[Measurement], bases: Mapping[str, str] | None = None) -> None:
        """Keep rows; ``bases`` tells by metric what a measured (rather than derived) row rests on."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO measurements VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    self._series_id(row.scope, row.tensor, row.metric),
                    self._checkpoints[row.checkpoint],
                    row.value,
                    row.bound,
                    row.status,
                    row.reference,
                    bases.get(row.metric) if bases else None,
                )
                for row in rows
            ],
        )

    def forget(self, scope: str, metric: str | None = None) -> None:
        """Drop the derived rows of a scope, or of one metric in it."""
        self._connection.execute(
            "DELETE FROM measurements WHERE series IN (SELECT id FROM series WHERE run = ? AND scope = ? "
            "AND (? IS NULL OR metric = ?))",
            (self._run_id, scope, metric, metric),
        )

    def _series_id(self, scope: str, tensor: str, metric: str) -> int:
        key = (scope, tensor, metric)
        if key not in self._series:
            place = (self._run_id, *key)
            # Another process may have been faster.
            self._connection.execute(
                "INSERT OR IGNORE INTO series (run, scope, tensor, metric) VALUES (?, ?, ?, ?)", place
            )
            self._series[key] = self._connection.execute(
                "SELECT id FROM series WHERE run = ? AND scope = ? AND tensor = ? AND metric = ?", place
            ).fetchone()[0]
        return self._series[key]


def open_store(path: str, create: bool = False) -> Store:
    """Open a store.

    Args:
        path: the SQLite file.
        create: make it where it does not exist.

    Raises:
        UnreadableStoreError: it is damaged, no store, or of another version of the format (both are named).
        StoreError: it does not exist, or another process has locked it.
    """
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
    return Store(connection, path)


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


def _stamps_of(checkpoint: Checkpoint) -> Stamps:
    return [(stamp.size, stamp.modified_ns, stamp.etag) for stamp in checkpoint.files]


def _pair(text: str | None) -> tuple[int, int] | None:
    value = json.loads(text) if text else None
    return (value[0], value[1]) if value else None
