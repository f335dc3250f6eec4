"""Writes what the engine found out about one run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from analyzer.metrics.needs import Need
from analyzer.model.run import FloatArray, Measurement
from analyzer.model.trajectory import StepSketch
from analyzer.store.sketches import SKETCH_METRIC, encode

SqlValue = int | float | str | None


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
        self._add_rows(row for one in observations for row in self._rows(one.measurements, one.bases))
        self._forget_what_they_rested_on(placed)
        many("INSERT OR REPLACE INTO sums VALUES (?, ?, ?, ?)", _sums_rows(placed))
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
        self._add_sketches(placed)

    def _add_sketches(self, placed: Sequence[tuple[int, Observation]]) -> None:
        """Keep the sketches of steps; one that does not exist has no numbers."""
        rows: list[tuple[int | str | bytes | None, ...]] = []
        for at, one in placed:
            if one.step is None:
                continue
            reference, sketch = one.step
            numbers = encode(sketch.numbers) if sketch else None
            what = (sketch.buckets, sketch.first, *numbers) if sketch and numbers else (None,) * 4
            rows.append((at, one.tensor, reference, *what, one.bases[SKETCH_METRIC]))
        self._connection.executemany("INSERT OR REPLACE INTO sketches VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _forget_what_they_rested_on(self, placed: Sequence[tuple[int, Observation]]) -> None:
        """Drop earlier sums and spectra of these metrics' needs: now there may be none, because of a NaN or a gap."""
        needed = [
            (at, one.tensor, {need for metric in one.bases for need in self._needs.get(metric, ())})
            for at, one in placed
        ]
        self._connection.executemany(
            "DELETE FROM sums WHERE checkpoint = ? AND tensor = ? AND need = ?",
            [(at, tensor, need.name) for at, tensor, needs in needed for need in needs if need.sums],
        )
        self._connection.executemany(
            "DELETE FROM spectra WHERE checkpoint = ? AND (tensor = ? OR (tensor >= ? AND tensor < ?))",
            [
                (at, tensor, tensor + "[", tensor + "\\")
                for at, tensor, needs in needed
                if any(need.is_spectral for need in needs)
            ],
        )

    def add_measurements(self, rows: Iterable[Measurement]) -> None:
        """Keep rows that are derived rather than measured: they do not rest on bytes directly."""
        self._add_rows(self._rows(rows, {}))

    def _rows(self, rows: Iterable[Measurement], bases: Mapping[str, str]) -> Iterator[tuple[SqlValue, ...]]:
        """Rows of the table ``measurements``; ``bases`` tells by metric what they rest on."""
        for checkpoint, scope, tensor, metric, value, bound, status, reference in rows:
            series = self._series.get((scope, tensor, metric)) or self._series_id(scope, tensor, metric)
            yield series, self._checkpoints[checkpoint], value, bound, status, reference, bases.get(metric)

    def _add_rows(self, rows: Iterable[tuple[SqlValue, ...]]) -> None:
        """In the order of the table's key, which is faster."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO measurements VALUES (?, ?, ?, ?, ?, ?, ?)", sorted(rows, key=itemgetter(0, 1))
        )

    def forget(self, scope: str, metric: str | None = None) -> None:
        """Drop the derived rows of a scope, or of one metric in it."""
        self._connection.execute(
            "DELETE FROM measurements WHERE series IN (SELECT id FROM series WHERE run = ? AND scope = ? "
            "AND (? IS NULL OR metric = ?))",
            (self._run_id, scope, metric, metric),
        )

    def _series_id(self, scope: str, tensor: str, metric: str) -> int:
        """A series that was not there when this writer was made."""
        place = (self._run_id, scope, tensor, metric)
        # Another process may have been faster.
        self._connection.execute("INSERT OR IGNORE INTO series (run, scope, tensor, metric) VALUES (?, ?, ?, ?)", place)
        (identity,) = self._connection.execute(
            "SELECT id FROM series WHERE run = ? AND scope = ? AND tensor = ? AND metric = ?", place
        ).fetchone()
        self._series[scope, tensor, metric] = int(identity)
        return int(identity)


def _sums_rows(placed: Sequence[tuple[int, Observation]]) -> Iterator[tuple[int, str, str, str]]:
    """Rows of the table ``sums``; several needs of an observation are served by the very same numbers."""
    for at, one in placed:
        texts: dict[int, str] = {}
        for need, numbers in one.sums.items():
            if id(numbers) not in texts:
                texts[id(numbers)] = json.dumps(numbers)
            yield at, one.tensor, need, texts[id(numbers)]
