"""Everything that can be asked of a store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.errors import StoreError
from analyzer.model.run import CheckpointRow, Curve, Finding, Measurement, MetricRow, Status, TensorRow

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

RowKey = tuple[str, str, str]  # (matrix, metric, checkpoint)

SETTINGS, BEGUN = "settings of run ", "begun with run "  # and the run's name: keys of the table meta


class Asked(NamedTuple):
    """What is to be measured of a run: metrics by name, those that take a spectrum at every N-th checkpoint."""

    metrics: tuple[str, ...]
    spectra_every: int

    def includes(self, other: Asked) -> bool:
        """Whether whoever has all that is asked for here has all that the other asks for."""
        return set(other.metrics) <= set(self.metrics) and other.spectra_every % self.spectra_every == 0


class Reader:
    """A store as those see it that only read."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self.path = path

    def runs(self) -> list[str]:
        """The names of the runs, sorted."""
        return [name for (name,) in self._connection.execute("SELECT name FROM runs ORDER BY name")]

    def about(self, run: str) -> dict[str, str]:
        """``path``, ``layout`` and ``ordered_by`` of a run."""
        row = self._connection.execute("SELECT path, layout, ordered_by FROM runs WHERE name = ?", (run,)).fetchone()
        return dict(zip(("path", "layout", "ordered_by"), row, strict=True))

    def settings(self, run: str) -> dict[str, str]:
        """The training's settings by name, as JSON; empty where the checkpoints do not tell them."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (SETTINGS + run,)).fetchone()
        return dict(json.loads(row[0])) if row else {}

    def begun(self, run: str) -> list[Asked]:
        """What someone began to measure of a run and has not finished; empty where all was finished."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (BEGUN + run,)).fetchone()
        return [Asked(tuple(metrics), every) for metrics, every in json.loads(row[0])] if row else []

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
            rows = self._connection.execute(
                "SELECT checkpoint, value, status, reference FROM measurements WHERE series = ?", (identity,)
            ).fetchall()
            values = np.full(len(ids), np.nan)
            values[[positions[row[0]] for row in rows]] = np.array([row[1] for row in rows], dtype=np.float64)
            statuses: list[Status | None] = [None] * len(ids)
            references: list[str | None] = [None] * len(ids)
            for checkpoint, _, status, reference in rows:
                position = positions[checkpoint]
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
        parsed: dict[str, tuple[float, ...]] = {}  # several needs are served by the same sums
        for need, tensor, text in rows:
            if text not in parsed:
                parsed[text] = tuple(json.loads(text))
            result.setdefault(need, {})[tensor] = parsed[text]
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

    def bases(self, run: str, tensor: str) -> dict[RowKey, str]:
        """What the stored rows of a tensor (and the matrices in it) rest on: (matrix, metric, checkpoint) -> basis."""
        rows = self._connection.execute(
            "SELECT tensor, metric, checkpoints.name, basis FROM series JOIN measurements ON series = series.id "
            "JOIN checkpoints ON checkpoints.id = checkpoint WHERE series.run = ? AND scope = 'tensor' "
            "AND (tensor = ? OR (tensor >= ? AND tensor < ?)) AND basis IS NOT NULL",
            (self._run_id(run), tensor, tensor + "[", tensor + "\\"),
        )
        return {(name, metric, checkpoint): basis for name, metric, checkpoint, basis in rows}

    def _run_id(self, run: str) -> int:
        row = self._connection.execute("SELECT id FROM runs WHERE name = ?", (run,)).fetchone()
        if row is None:
            raise StoreError(f"{self.path}: holds no run named {run!r}; it has {', '.join(self.runs()) or 'none'}")
        return int(row[0])


def _pair(text: str | None) -> tuple[int, int] | None:
    value = json.loads(text) if text else None
    return (value[0], value[1]) if value else None
