"""Writes what the engine found out about one run."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from analyzer.metrics.needs import Need
from analyzer.model.run import FloatArray, Measurement
from analyzer.model.trajectory import StepSketch
from analyzer.store.packed_sums import pack, unpack
from analyzer.store.sketches import SKETCH_METRIC, encode

SqlValue = int | float | None
STATES_DIGEST = 16  # characters of a basis that name the states; the others name the metric's code


class SketchedStep(NamedTuple):
    """The step from an earlier checkpoint, by name, and its sketch.

    The sketch is None if a state is missing, reshaped or not finite.
    """

    reference: str
    sketch: StepSketch | None


class Observation(NamedTuple):
    """All that the engine found out about one tensor at one checkpoint.

    ``bases`` names, for each metric, the bytes and the code that the value depends on. ``sums`` are additive needs,
    ``spectra`` float64 singular values by matrix name, ``problems`` reasons by metric name,
    ``step`` the sketch of the step if it was requested.
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
    step: SketchedStep | None = None


class Writer:
    """Writes the observations of one run; to be used inside a transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        run_id: int,
        checkpoints: Mapping[str, int],
        needs: Mapping[str, Collection[Need]],
    ) -> None:
        self._connection = connection
        self._run_id = run_id
        self._checkpoints = checkpoints
        self._needs = needs
        self._names = _Ids(connection, "names", ("run", "name"), run_id)
        self._series = _Ids(connection, "series", ("run", "scope", "tensor", "metric"), run_id)
        self._statuses = _Ids(connection, "statuses", ("name",))
        self._formats = _Ids(connection, "sum_formats", ("format",))
        self._codes: dict[tuple[str, str], int] = {}

    def add(self, observations: Sequence[Observation]) -> None:
        """Keep observations, in place of earlier ones of the same tensors and checkpoints."""
        many = self._connection.executemany
        placed = [(self._checkpoints[one.checkpoint], one) for one in observations]
        many("DELETE FROM problems WHERE checkpoint = ? AND tensor = ?", [(at, one.tensor) for at, one in placed])
        many(
            "INSERT OR REPLACE INTO problems VALUES (?, ?, ?, ?)",
            [(at, one.tensor, metric, reason) for at, one in placed for metric, reason in one.problems.items()],
        )
        self._add_rows(self._observed_rows(observations))
        self._forget_spectra(placed)
        self._add_sums(placed)
        many(
            "INSERT OR REPLACE INTO spectra VALUES (?, ?, ?)",
            [
                (at, self._names[name,], np.ascontiguousarray(values, dtype="<f8").tobytes())
                for at, one in placed
                for name, values in one.spectra.items()
            ],
        )
        many(
            "INSERT OR REPLACE INTO contents VALUES (?, ?, ?)",
            [(at, self._names[one.tensor,], one.content) for at, one in placed if one.content is not None],
        )
        self._add_sketches(placed)

    def _observed_rows(self, observations: Iterable[Observation]) -> Iterator[tuple[SqlValue, ...]]:
        """Yield the rows of the table ``measurements``, with what each rests on."""
        for one in observations:
            at = self._checkpoints[one.checkpoint]
            based = {name: self._numbered(at, name, one.bases) for name in {row.tensor for row in one.measurements}}
            for row in one.measurements:
                yield (*self._row(row), *based[row.tensor].get(row.metric, (None, None)))

    def _row(self, row: Measurement) -> tuple[SqlValue, ...]:
        """Return a row of the table ``measurements`` without what it rests on."""
        reference = None if row.reference is None else self._names[row.reference,]
        series = self._series[row.scope, self._names[row.tensor,], row.metric]
        return series, self._checkpoints[row.checkpoint], row.value, row.bound, self._statuses[row.status,], reference

    def _numbered(self, at: int, tensor: str, bases: Mapping[str, str]) -> dict[str, tuple[int, int]]:
        """Return the numbers of the states and of the code that each metric's basis names.

        A basis begins with the digest of the states. Few occur for a tensor at a checkpoint: they are kept once, in a
        list, and those of code once for each metric.
        """
        place = (at, self._names[tensor,])
        row = self._connection.execute(
            "SELECT digests FROM states WHERE checkpoint = ? AND tensor = ?", place
        ).fetchone()
        known = row[0].split(",") if row else []
        numbers = {digest: number for number, digest in enumerate(known)}
        found = {
            metric: (
                numbers.setdefault(basis[:STATES_DIGEST], len(numbers)),
                self._code(metric, basis[STATES_DIGEST:]),
            )
            for metric, basis in bases.items()
        }
        if len(numbers) > len(known):
            self._connection.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", (*place, ",".join(numbers)))
        return found

    def _code(self, metric: str, digest: str) -> int:
        """Return the number of a version of a metric's code."""
        if (metric, digest) not in self._codes:
            self._connection.execute(
                "INSERT OR IGNORE INTO codes SELECT ?, count(*), ? FROM codes WHERE metric = ?",
                (metric, digest, metric),
            )
            (self._codes[metric, digest],) = self._connection.execute(
                "SELECT number FROM codes WHERE metric = ? AND digest = ?", (metric, digest)
            ).fetchone()
        return self._codes[metric, digest]

    def _add_sketches(self, placed: Sequence[tuple[int, Observation]]) -> None:
        """Keep the sketches of steps; one that does not exist has no numbers."""
        rows: list[tuple[int | bytes | None, ...]] = []
        for at, one in placed:
            if one.step is None:
                continue
            reference, sketch = one.step
            numbers = encode(sketch.numbers) if sketch else None
            what = (sketch.buckets, sketch.first, *numbers) if sketch and numbers else (None,) * 4
            basis = self._numbered(at, one.tensor, {SKETCH_METRIC: one.bases[SKETCH_METRIC]})[SKETCH_METRIC]
            rows.append((at, self._names[one.tensor,], self._names[reference,], *what, *basis))
        self._connection.executemany("INSERT OR REPLACE INTO sketches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _needed(self, one: Observation) -> set[Need]:
        """Return all needs of the metrics of an observation. What was stored of them holds no longer.

        There may be nothing in its place, because of a NaN or a gap.
        """
        return {need for metric in one.bases for need in self._needs.get(metric, ())}

    def _add_sums(self, placed: Sequence[tuple[int, Observation]]) -> None:
        """Keep sums in place of earlier ones of the same needs, and beside those of others."""
        for at, one in placed:
            place = (at, self._names[one.tensor,])
            earlier = self._connection.execute(
                "SELECT sum_formats.format, numbers FROM sums JOIN sum_formats ON id = sums.format "
                "WHERE checkpoint = ? AND tensor = ?",
                place,
            ).fetchone()
            sums = dict(one.sums)
            if earlier:
                outdated = {need.name for need in self._needed(one)}
                sums = {name: row for name, row in unpack(*earlier).items() if name not in outdated} | sums
            if sums:
                described, numbers = pack(sums)
                self._connection.execute(
                    "INSERT OR REPLACE INTO sums VALUES (?, ?, ?, ?)", (*place, self._formats[described,], numbers)
                )
            elif earlier:
                self._connection.execute("DELETE FROM sums WHERE checkpoint = ? AND tensor = ?", place)

    def _forget_spectra(self, placed: Sequence[tuple[int, Observation]]) -> None:
        """Drop earlier spectra of what was decomposed again."""
        self._connection.executemany(
            "DELETE FROM spectra WHERE checkpoint = ? AND tensor IN "
            "(SELECT id FROM names WHERE run = ? AND (name = ? OR (name >= ? AND name < ?)))",
            [
                (at, self._run_id, one.tensor, one.tensor + "[", one.tensor + "\\")
                for at, one in placed
                if any(need.is_spectral for need in self._needed(one))
            ],
        )

    def add_measurements(self, rows: Iterable[Measurement]) -> None:
        """Keep rows that are derived rather than measured: they do not rest on bytes directly."""
        self._add_rows((*self._row(row), None, None) for row in rows)

    def _add_rows(self, rows: Iterable[tuple[SqlValue, ...]]) -> None:
        """In the order of the table's key, which is faster."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO measurements VALUES (?, ?, ?, ?, ?, ?, ?, ?)", sorted(rows, key=itemgetter(0, 1))
        )

    def forget(self, scope: str, metric: str | None = None) -> None:
        """Drop the derived rows of a scope, or of one metric in it."""
        self._connection.execute(
            "DELETE FROM measurements WHERE series IN (SELECT id FROM series WHERE run = ? AND scope = ? "
            "AND (? IS NULL OR metric = ?))",
            (self._run_id, scope, metric, metric),
        )


class _Ids:
    """The ids of texts that rows refer to, by the columns that identify them; unknown ones are added.

    The first column is the run in tables whose rows belong to one.
    """

    def __init__(self, connection: sqlite3.Connection, table: str, columns: Sequence[str], *run: int) -> None:
        names, conditions = ", ".join(columns), " AND ".join(f"{column} = ?" for column in columns)
        values = ", ".join("?" * len(columns))
        self._insert = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({values})"  # noqa: S608 - our own names
        self._select = f"SELECT id FROM {table} WHERE {conditions}"  # noqa: S608 - our own names
        self._connection = connection
        self._run = run
        self._known: dict[tuple[int | str, ...], int] = {}

    def __getitem__(self, key: tuple[int | str, ...]) -> int:
        if key not in self._known:
            # Another process may have been faster.
            self._connection.execute(self._insert, (*self._run, *key))
            (self._known[key],) = self._connection.execute(self._select, (*self._run, *key)).fetchone()
        return self._known[key]
