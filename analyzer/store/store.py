"""A store that is written: runs are put into it, and their rows through a :class:`Writer`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple

from analyzer.errors import StoreError
from analyzer.metrics.needs import Need
from analyzer.model.run import Checkpoint, Finding, MetricRow, Run, TensorRow
from analyzer.store.reader import BEGUN, SETTINGS, Asked, Reader, RowKey
from analyzer.store.schema import connect
from analyzer.store.writer import Writer

Stamps = list[tuple[int | str, ...]]  # (size, modified_ns, etag) of each file of a checkpoint


class Store(Reader):
    """An open store. Writing happens in transactions; a killed process leaves whole ones behind."""

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
            (SETTINGS + run.name, json.dumps(dict(first.intersection(*others)), sort_keys=True)),
        )

    def begin(self, run: str, asked: Asked) -> None:
        """Note what is going to be measured: it counts as unfinished until :meth:`finish`."""
        self._put_begun(run, [*(one for one in self.begun(run) if one != asked), asked])

    def finish(self, run: str, asked: Asked) -> None:
        """Strike out what was measured, and whatever it includes that was begun earlier."""
        self._put_begun(run, [one for one in self.begun(run) if not asked.includes(one)])

    def _put_begun(self, run: str, begun: list[Asked]) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (BEGUN + run, json.dumps(begun)))

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

    def writer(self, run: str, needs: Mapping[str, Collection[Need]] | None = None) -> Writer:
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
                self._connection.execute("DELETE FROM meta WHERE key IN (?, ?)", (SETTINGS + name, BEGUN + name))

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _checkpoint_ids(self, run_id: int) -> dict[str, int]:
        return dict(self._connection.execute("SELECT name, id FROM checkpoints WHERE run = ?", (run_id,)))


def open_store(path: str, create: bool = False) -> Store:
    """Open a store.

    Args:
        path: the SQLite file.
        create: make it where it does not exist.

    Raises:
        UnreadableStoreError: it is damaged, no store, or of another version of the format (both are named).
        StoreError: it does not exist, or another process has locked it.
    """
    return Store(connect(path, create), path)


def _stamps_of(checkpoint: Checkpoint) -> Stamps:
    return [(stamp.size, stamp.modified_ns, stamp.etag) for stamp in checkpoint.files]
