"""Read what a store contains."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from analyzer.errors import StoreError
from analyzer.model.describing import axis_of
from analyzer.model.run import (
    Checkpoint,
    FileStamp,
    Finding,
    FloatArray,
    Measurement,
    Run,
    Status,
    TensorInfo,
)
from analyzer.model.tables import CheckpointRow, Curve, MetricRow, TensorRow, is_expert
from analyzer.model.trajectory import StepSketch
from analyzer.store.sketches import SKETCH_METRIC, decode

RowKey = tuple[str, str, str]  # (matrix, metric, checkpoint)


class Asked(NamedTuple):
    """A request that a run was measured with: metric names, and N where every N-th checkpoint has spectra."""

    metrics: tuple[str, ...]
    spectra_every: int

    def includes(self, other: Asked) -> bool:
        """Check whether a run that has all of this has all of the other, too."""
        return set(other.metrics) <= set(self.metrics) and other.spectra_every % self.spectra_every == 0


class Reader:
    """An open store that is only read."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self.path = path

    def runs(self) -> list[str]:
        """Return the names of the runs, sorted."""
        return [name for (name,) in self._connection.execute("SELECT name FROM runs ORDER BY name")]

    def run(self, name: str) -> Run:
        """Return a run as it was when it was last measured: everything but where its tensors' bytes are.

        Raises:
            StoreError: the store contains no such run.
        """
        path, layout, ordered_by, opening = self._column(name, "path, layout, ordered_by, opening")
        noticed = json.loads(opening)
        checkpoints = tuple(self._recorded_checkpoints(name))
        return Run(
            name,
            path,
            layout,
            ordered_by,
            checkpoints,
            tuple(replace(Finding(*row), checkpoints=tuple(row[4])) for row in noticed.get("findings", ())),
            score_files=tuple(noticed.get("score_files", ())),
            unplaced=tuple(Checkpoint(one, "", None, None, {}, {}, ()) for one in noticed.get("unplaced", ())),
            unread_tables=tuple(noticed.get("unread_tables", ())),
            is_partial=bool(noticed.get("is_partial")),
        )

    def _recorded_checkpoints(self, run: str) -> Iterator[Checkpoint]:
        stored = [row for row in self.tensors(run) if not is_expert(row)]
        every = {row.name: TensorInfo(row.name, row.dtype, row.shape, ()) for row in stored}
        listings = {
            identity: {
                name: TensorInfo(name, dtype, tuple(shape), (), unsupported)
                for name, dtype, shape, unsupported in json.loads(text)
            }
            for identity, text in self._of_run(run, "SELECT id, tensors FROM listings WHERE run = ?")
        }
        scores = _nested(
            self._of_run(
                run,
                "SELECT checkpoints.name, scalars.name, value FROM scalars JOIN checkpoints "
                "ON checkpoints.id = checkpoint WHERE run = ? ORDER BY scalars.name",
            )
        )
        settings = self.settings(run)
        for name, path, epoch, step, tokens, files, listing in self._of_run(
            run,
            "SELECT name, path, epoch, step, tokens, files, listing FROM checkpoints WHERE run = ? ORDER BY position",
        ):
            stamps = tuple(FileStamp(*stamp) for stamp in json.loads(files))
            tensors = listings.get(listing, every)  # schema 1 did not keep which checkpoint has which tensors
            yield Checkpoint(name, path, epoch, step, scores.get(name, {}), tensors, stamps, settings, tokens)

    def settings(self, run: str) -> dict[str, str]:
        """Return the training's settings by name, as JSON; empty where the checkpoints do not contain them."""
        (text,) = self._column(run, "settings")
        return dict(json.loads(text))

    def begun(self, run: str) -> list[Asked]:
        """Return what was begun to be measured of a run and was not finished; empty where all was finished."""
        (text,) = self._column(run, "begun")
        return [Asked(tuple(metrics), every) for metrics, every in json.loads(text)]

    def vanished(self, run: str) -> list[str]:
        """Return the checkpoints that were measured once and are no longer in the run's folder, in their order."""
        (text,) = self._column(run, "vanished")
        return list(json.loads(text))

    def _column(self, run: str, columns: str) -> tuple[str, ...]:
        row: tuple[str, ...] = self._connection.execute(
            f"SELECT {columns} FROM runs WHERE id = ?",  # noqa: S608 - the names of our own columns
            (self._run_id(run),),
        ).fetchone()
        return row

    def checkpoints(self, run: str) -> list[CheckpointRow]:
        """Return the checkpoints of a run, in order."""
        rows = self._of_run(
            run,
            "SELECT name, epoch, step, path, bytes, tokens FROM checkpoints WHERE run = ? ORDER BY position",
        )
        return [CheckpointRow(*row) for row in rows]

    def tensors(self, run: str) -> list[TensorRow]:
        """Return the tensors of a run, in the order of the files."""
        rows = self._of_run(
            run,
            "SELECT name, module, kind, shape, matrix_shape, rule, dtype FROM tensors WHERE run = ? ORDER BY position",
        )
        return [
            TensorRow(name, module, kind, tuple(json.loads(shape)), _pair(matrix_shape), rule, dtype)
            for name, module, kind, shape, matrix_shape, rule, dtype in rows
        ]

    def metrics(self) -> dict[str, MetricRow]:
        """Return the metrics that the store has rows of, by name."""
        rows = self._connection.execute(
            "SELECT name, family, unit, definition, source, version FROM metrics ORDER BY id"
        )
        return {row[0]: MetricRow(*row) for row in rows}

    def measured_metrics(self, run: str) -> list[str]:
        """Return the names of the metrics that a run has rows of, in alphabetical order."""
        return [name for (name,) in self._of_run(run, "SELECT DISTINCT metric FROM series WHERE run = ? ORDER BY 1")]

    def curves(
        self, run: str, scope: str | None = None, metric: str | None = None, tensor: str | None = None
    ) -> Iterator[Curve]:
        """Yield the curves of a run, optionally of one scope, metric or tensor, sorted by scope, tensor and metric."""
        ids = self._of_run(run, "SELECT id FROM checkpoints WHERE run = ? ORDER BY position")
        positions = {identity: position for position, (identity,) in enumerate(ids)}
        axis, label = axis_of(self.checkpoints(run))
        chosen = self._connection.execute(
            "SELECT series.id, scope, series.tensor, metric FROM series LEFT JOIN tensors "
            "ON tensors.run = series.run AND tensors.name = series.tensor WHERE series.run = ? "
            "AND (? IS NULL OR scope = ?) AND (? IS NULL OR metric = ?) AND (? IS NULL OR series.tensor = ?) "
            "ORDER BY scope, tensors.position, series.tensor, series.id",
            (self._run_id(run), scope, scope, metric, metric, tensor, tensor),
        ).fetchall()
        for identity, its_scope, its_tensor, its_metric in chosen:
            rows = self._connection.execute(
                "SELECT checkpoint, value, status, reference FROM measurements WHERE series = ?", (identity,)
            ).fetchall()
            values = np.full(len(positions), np.nan)
            values[[positions[row[0]] for row in rows]] = np.array([row[1] for row in rows], dtype=np.float64)
            statuses: list[Status | None] = [None] * len(positions)
            references: list[str | None] = [None] * len(positions)
            for checkpoint, _, status, reference in rows:
                statuses[positions[checkpoint]], references[positions[checkpoint]] = status, reference
            yield Curve(its_scope, its_tensor, its_metric, values, tuple(statuses), tuple(references), axis, label)

    def measurements(self, run: str) -> Iterator[Measurement]:
        """Return every row of a run by checkpoint, scope, tensor (in the model's order) and name of the metric."""
        rows = self._of_run(
            run,
            "SELECT checkpoints.name, scope, series.tensor, metric, value, bound, status, reference "
            "FROM checkpoints JOIN measurements ON checkpoint = checkpoints.id JOIN series ON series.id = series "
            "LEFT JOIN tensors ON tensors.run = series.run AND tensors.name = series.tensor "
            "WHERE checkpoints.run = ? ORDER BY checkpoints.position, "
            "scope = 'tensor' DESC, scope, tensors.position, series.tensor, series.metric",
        )
        return (Measurement(*row) for row in rows)

    def sums(self, run: str, checkpoint: str) -> dict[str, dict[str, tuple[float, ...]]]:
        """Return the additive needs at one checkpoint: need -> tensor -> numbers."""
        rows = self._connection.execute(
            "SELECT need, sums.tensor, numbers FROM sums JOIN checkpoints ON checkpoints.id = checkpoint "
            "WHERE run = ? AND checkpoints.name = ?",
            (self._run_id(run), checkpoint),
        )
        parsed = cache(lambda text: tuple(json.loads(text)))  # several needs are served by the same sums
        return _nested((need, tensor, parsed(text)) for need, tensor, text in rows)

    def spectra(self, run: str, tensor: str) -> dict[str, FloatArray]:
        """Return the float64 singular values of one matrix, in falling order, by checkpoint."""
        rows = self._connection.execute(
            "SELECT name, singular_values FROM spectra JOIN checkpoints ON checkpoints.id = checkpoint "
            "WHERE run = ? AND tensor = ? ORDER BY position",
            (self._run_id(run), tensor),
        )
        return {name: np.frombuffer(blob, dtype="<f8") for name, blob in rows}

    def sketches(self, run: str) -> Iterator[tuple[str, str, str, StepSketch | None]]:
        """Yield the sketches of steps as (checkpoint, tensor, earlier checkpoint, sketch), in the checkpoints' order.

        The sketch is None if a state is missing, reshaped or not finite.
        """
        rows = self._of_run(
            run,
            "SELECT name, tensor, reference, buckets, first, exponent, numbers FROM sketches JOIN checkpoints "
            "ON checkpoints.id = checkpoint WHERE run = ? ORDER BY position, tensor",
        )
        for checkpoint, tensor, reference, buckets, first, exponent, numbers in rows:
            is_known = numbers is not None
            sketch = StepSketch(buckets, first, decode(exponent, numbers)) if is_known else None
            yield checkpoint, tensor, reference, sketch

    def contents(self, run: str) -> dict[str, dict[str, str]]:
        """Return the BLAKE3 hash of each tensor's bytes: checkpoint -> tensor -> hash."""
        rows = self._of_run(
            run,
            "SELECT name, tensor, blake3 FROM contents JOIN checkpoints ON checkpoints.id = checkpoint "
            "WHERE run = ? ORDER BY position, tensor",
        )
        return _nested(rows)

    def nan_counts(self, run: str) -> dict[str, dict[str, int]]:
        """Return how many of the non-finite elements are NaN, where there are any: checkpoint -> tensor -> count."""
        rows = self._of_run(
            run,
            "SELECT name, tensor, json_extract(numbers, '$[2]') FROM sums JOIN checkpoints "
            "ON checkpoints.id = checkpoint WHERE run = ? AND need = 'finiteness' "
            "AND json_extract(numbers, '$[1]') > 0",
        )
        return _nested(rows)

    def problems(self, run: str) -> list[tuple[str, str, str, str]]:
        """Return (checkpoint, tensor, metric, reason) of whatever could not be measured."""
        return self._of_run(
            run,
            "SELECT name, tensor, metric, reason FROM problems JOIN checkpoints ON checkpoints.id = checkpoint "
            "WHERE run = ? ORDER BY position, tensor, metric",
        ).fetchall()

    def bases(self, run: str, tensor: str) -> dict[RowKey, str]:
        """Return what a tensor's stored rows were computed from: (matrix, metric, checkpoint) -> fingerprint."""
        rows = self._connection.execute(
            "SELECT tensor, metric, checkpoints.name, basis FROM series JOIN measurements ON series = series.id "
            "JOIN checkpoints ON checkpoints.id = checkpoint WHERE series.run = ? AND scope = 'tensor' "
            "AND (tensor = ? OR (tensor >= ? AND tensor < ?)) AND basis IS NOT NULL",
            (self._run_id(run), tensor, tensor + "[", tensor + "\\"),
        )
        sketches = self._connection.execute(
            "SELECT name, basis FROM sketches JOIN checkpoints ON checkpoints.id = checkpoint "
            "WHERE run = ? AND tensor = ?",
            (self._run_id(run), tensor),
        )
        return {(name, metric, checkpoint): basis for name, metric, checkpoint, basis in rows} | {
            (tensor, SKETCH_METRIC, checkpoint): basis for checkpoint, basis in sketches
        }

    def _of_run(self, run: str, query: str) -> sqlite3.Cursor:
        """Execute a query whose only parameter is the id of a run."""
        return self._connection.execute(query, (self._run_id(run),))

    def _run_id(self, run: str) -> int:
        row = self._connection.execute("SELECT id FROM runs WHERE name = ?", (run,)).fetchone()
        if row is None:
            raise StoreError(f"{self.path}: contains no run named {run!r}; it has {', '.join(self.runs()) or 'none'}")
        return int(row[0])


def _nested(rows: Iterable[tuple[str, str, Any]]) -> dict[str, dict[str, Any]]:
    """Return (outer key, inner key, value) as a mapping of mappings."""
    result: dict[str, dict[str, Any]] = {}
    for outer, inner, value in rows:
        result.setdefault(outer, {})[inner] = value
    return result


def _pair(text: str | None) -> tuple[int, int] | None:
    value = json.loads(text) if text else None
    return (value[0], value[1]) if value else None
