"""Read from a store which runs it contains: their checkpoints, scores, tensors and metrics."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from analyzer.errors import StoreError
from analyzer.model.run import (
    Checkpoint,
    FileStamp,
    Finding,
    Run,
    TensorInfo,
)
from analyzer.model.tables import CheckpointRow, MetricRow, TensorRow, is_expert


class Asked(NamedTuple):
    """A request that a run was measured with: metric names, and N where every N-th checkpoint has spectra.

    ``shard`` is I/N where the I-th of N parts was requested, empty where all was.
    """

    metrics: tuple[str, ...]
    spectra_every: int
    shard: str = ""

    def includes(self, other: Asked) -> bool:
        """Check whether a run that has all of this has all of the other, too."""
        is_part = self.shard in ("", other.shard)
        return is_part and set(other.metrics) <= set(self.metrics) and other.spectra_every % self.spectra_every == 0


class RunReader:
    """Reads the runs of an open store."""

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
        scores = nested(
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
        return [Asked(tuple(metrics), *others) for metrics, *others in json.loads(text)]

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

    def _of_run(self, run: str, query: str) -> sqlite3.Cursor:
        """Execute a query whose only parameter is the id of a run."""
        return self._connection.execute(query, (self._run_id(run),))

    def _run_id(self, run: str) -> int:
        row = self._connection.execute("SELECT id FROM runs WHERE name = ?", (run,)).fetchone()
        if row is None:
            raise StoreError(f"{self.path}: contains no run named {run!r}; it has {', '.join(self.runs()) or 'none'}")
        return int(row[0])


def nested(rows: Iterable[tuple[str, str, Any]]) -> dict[str, dict[str, Any]]:
    """Return (outer key, inner key, value) as a mapping of mappings."""
    result: dict[str, dict[str, Any]] = {}
    for outer, inner, value in rows:
        result.setdefault(outer, {})[inner] = value
    return result


def _pair(text: str | None) -> tuple[int, int] | None:
    value = json.loads(text) if text else None
    return (value[0], value[1]) if value else None
