"""Write runs into a store; their rows are written through a :class:`Writer`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple
from hashlib import sha256
from itertools import zip_longest

from analyzer.errors import StoreError
from analyzer.metrics.needs import Need
from analyzer.model.names import listed
from analyzer.model.run import Checkpoint, Run
from analyzer.model.tables import MetricRow, TensorRow
from analyzer.store.merging import attached, codes_used, copy_run
from analyzer.store.reader import Reader, RowKey
from analyzer.store.run_reader import Asked
from analyzer.store.schema import connect
from analyzer.store.sketches import SKETCH_METRIC
from analyzer.store.writer import Writer

NAMED = "(SELECT id FROM names WHERE run = ? AND name = ?)"  # in a query, the key of a tensor
Stamps = list[tuple[int | str, ...]]  # (size, modified_ns, etag) of each file of a checkpoint


class Store(Reader):
    """An open store. It is written in transactions; a killed process leaves only whole ones."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all or nothing; a StoreError names the file and the cause, such as a full disk."""
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as error:
            raise StoreError(
                f"{self.path}: the measurements cannot be written: {error}. What was measured before is kept; make "
                "room there, or name another file with --store"
            ) from error

    def put_run(self, run: Run, tensors: Iterable[TensorRow], metrics: Iterable[MetricRow]) -> list[str]:
        """Record a run as it is now, and return the checkpoints that are no longer in its folder.

        What was measured of a checkpoint that vanished or was replaced is dropped.
        """
        execute = self._connection.execute
        opening = {
            "findings": [astuple(finding) for finding in run.findings],
            "score_files": run.score_files,
            "unplaced": [one.name for one in run.unplaced],
            "unread_tables": run.unread_tables,
            "is_partial": run.is_partial,
        }
        execute(
            "INSERT INTO runs (name, path, layout, ordered_by, opening) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) "
            "DO UPDATE SET path = excluded.path, layout = excluded.layout, ordered_by = excluded.ordered_by, "
            "opening = excluded.opening",
            (run.name, run.path, run.layout, run.ordered_by, json.dumps(opening)),
        )
        run_id = self._run_id(run.name)
        vanished = self._drop_old_checkpoints(run_id, run)
        self._put_checkpoints(run_id, run)
        execute(
            "UPDATE runs SET settings = ?, vanished = ? WHERE id = ?",
            (json.dumps(_common_settings(run), sort_keys=True), json.dumps(vanished), run_id),
        )
        self._put_tensors(run_id, list(tensors))
        self._put_metrics(metrics)
        return vanished

    def _put_metrics(self, metrics: Iterable[MetricRow]) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO metrics (name, family, unit, definition, source, version) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [astuple(row) for row in metrics],
        )

    def _drop_old_checkpoints(self, run_id: int, run: Run) -> list[str]:
        """Delete checkpoints that vanished or were replaced; return all that vanished so far and did not come back."""
        now = {one.name: _stamps_of(one) for one in run.checkpoints}
        known = dict(self._stamps(run_id))
        # Other bytes under the same name are another checkpoint: nothing that was measured of the old one holds.
        outdated = [name for name, stamps in known.items() if now.get(name) != stamps]
        self._connection.executemany(
            "DELETE FROM checkpoints WHERE run = ? AND name = ?", [(run_id, name) for name in outdated]
        )
        return [name for name in dict.fromkeys([*self.vanished(run.name), *outdated]) if name not in now]

    def _put_checkpoints(self, run_id: int, run: Run) -> None:
        listings: dict[str, int] = {}
        for position, checkpoint in enumerate(run.checkpoints):
            self._connection.execute(
                "INSERT INTO checkpoints (run, position, name, epoch, step, tokens, path, bytes, files, listing) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, name) DO UPDATE SET "
                "position = excluded.position, epoch = excluded.epoch, step = excluded.step, tokens = excluded.tokens, "
                "path = excluded.path, bytes = excluded.bytes, files = excluded.files, listing = excluded.listing",
                (
                    run_id,
                    position,
                    checkpoint.name,
                    checkpoint.epoch,
                    checkpoint.step,
                    checkpoint.tokens,
                    checkpoint.path,
                    sum(stamp.size for stamp in checkpoint.files),
                    json.dumps([astuple(stamp) for stamp in checkpoint.files]),
                    self._listing(run_id, checkpoint, listings),
                ),
            )
        ids = self._checkpoint_ids(run_id)
        self._connection.executemany("DELETE FROM scalars WHERE checkpoint = ?", [(one,) for one in ids.values()])
        self._connection.executemany(
            "INSERT INTO scalars VALUES (?, ?, ?)",
            [(ids[one.name], name, value) for one in run.checkpoints for name, value in one.scores.items()],
        )

    def _listing(self, run_id: int, checkpoint: Checkpoint, known: dict[str, int]) -> int:
        """Return the id of the list of tensors that a checkpoint has; most checkpoints of a run share one."""
        text = json.dumps([(one.name, one.dtype, one.shape, one.unsupported) for one in checkpoint.tensors.values()])
        digest = sha256(text.encode()).hexdigest()
        if digest not in known:
            self._connection.execute(
                "INSERT OR IGNORE INTO listings (run, digest, tensors) VALUES (?, ?, ?)", (run_id, digest, text)
            )
            (known[digest],) = self._connection.execute(
                "SELECT id FROM listings WHERE run = ? AND digest = ?", (run_id, digest)
            ).fetchone()
        return known[digest]

    def merge(self, path: str) -> list[str]:
        """Add what another store has measured of the same checkpoints, and return the names of its runs.

        Raises:
            StoreError: it rests on other files than this store, or on another version of a metric; nothing is changed
                then.
        """
        with open_store(path) as part:
            known = {name: part.run(name) for name in part.runs()}
            tensors = {name: part.tensors(name) for name in known}
            begun = {name: part.begun(name) for name in known}
            metrics = part.metrics()
        with attached(self._connection, path), self.transaction():
            for name, run in known.items():
                (of_part,) = self._connection.execute("SELECT id FROM part.runs WHERE name = ?", (name,)).fetchone()
                self._check_same(run, path, of_part)
                if name not in self.runs():
                    self.put_run(run, tensors[name], metrics.values())
                self._put_metrics(metrics.values())
                copy_run(self._connection, self._run_id(name), of_part, SKETCH_METRIC)
                for asked in begun[name]:
                    self.begin(name, asked)
        return list(known)

    def _check_same(self, run: Run, path: str, of_part: int) -> None:
        """Raise StoreError unless a run in another store rests on the same files and code as here."""
        if run.name not in self.runs():
            return
        here, there = self._placed(run.name), [(one.name, _stamps_of(one), one.step) for one in run.checkpoints]
        other = [(one or two)[0] for one, two in zip_longest(here, there) if one != two]
        if other:
            raise StoreError(
                f"{path}: {run.name} has other files than in {self.path}: {listed(other)} (size, time of change, step "
                "or order); measure all parts from the same files, copied with their times (rsync -a)"
            )
        run_id = self._run_id(run.name)
        ours, theirs = (codes_used(self._connection, *one) for one in (("main", run_id), ("part", of_part)))
        if other := sorted(name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]):
            raise StoreError(
                f"{path}: {listed(other)} of {run.name} were measured by another version than in {self.path}; measure "
                "all parts with one version"
            )

    def begin(self, run: str, asked: Asked) -> None:
        """Note what is going to be measured: it counts as unfinished until :meth:`finish`."""
        self._put_begun(run, [*(one for one in self.begun(run) if one != asked), asked])

    def finish(self, run: str, asked: Asked) -> None:
        """Note that this was measured, and with it whatever it includes that was begun earlier."""
        self._put_begun(run, [one for one in self.begun(run) if not asked.includes(one)])

    def _put_begun(self, run: str, begun: list[Asked]) -> None:
        self._connection.execute("UPDATE runs SET begun = ? WHERE name = ?", (json.dumps(begun), run))

    def has_only_grown(self, run: Run) -> bool:
        """Check whether the known checkpoints of a run are still its first ones, unchanged and in order."""
        if run.name not in self.runs():
            return True
        known = self._placed(run.name)
        return [(one.name, _stamps_of(one), one.step) for one in run.checkpoints[: len(known)]] == known

    def _placed(self, run: str) -> list[tuple[str, Stamps, int | None]]:
        """Return the name, the stamps and the step of each checkpoint of a run, in order."""
        stamps = self._stamps(self._run_id(run))
        return [(*one, row.step) for one, row in zip(stamps, self.checkpoints(run), strict=True)]

    def _stamps(self, run_id: int) -> list[tuple[str, Stamps]]:
        rows = self._connection.execute(
            "SELECT name, files FROM checkpoints WHERE run = ? ORDER BY position", (run_id,)
        )
        return [(name, [tuple(stamp) for _, *stamp in json.loads(files)]) for name, files in rows]

    def _put_tensors(self, run_id: int, tensors: list[TensorRow]) -> None:
        names = {row.name for row in tensors}
        execute = self._connection.execute
        known = {name for (name,) in execute("SELECT name FROM tensors WHERE run = ?", (run_id,))}
        for name in known - names:
            execute(
                f"DELETE FROM series WHERE run = ? AND scope = 'tensor' AND tensor = {NAMED}",  # noqa: S608 - our own text
                (run_id, run_id, name),
            )
            execute(
                f"DELETE FROM sketches WHERE tensor = {NAMED} "  # noqa: S608 - our own text
                "AND checkpoint IN (SELECT id FROM checkpoints WHERE run = ?)",
                (run_id, name, run_id),
            )
        execute("DELETE FROM tensors WHERE run = ?", (run_id,))
        self._connection.executemany(
            "INSERT INTO tensors (run, position, name, module, kind, shape, matrix_shape, rule, dtype) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (run_id, position, name, module, kind, json.dumps(shape), json.dumps(matrix_shape), rule, dtype)
                for position, (name, module, kind, shape, matrix_shape, rule, dtype) in enumerate(map(astuple, tensors))
            ],
        )

    def writer(self, run: str, needs: Mapping[str, Collection[Need]] | None = None) -> Writer:
        """Return the writer of one run's observations; ``needs`` are those that each metric is computed from."""
        run_id = self._run_id(run)
        return Writer(self._connection, run_id, self._checkpoint_ids(run_id), needs or {})

    def forget_rows(self, run: str, keys: Iterable[RowKey]) -> None:
        """Delete measured rows, by (matrix, metric, checkpoint)."""
        run_id, known = self._run_id(run), list(keys)
        at = "checkpoint = (SELECT id FROM checkpoints WHERE run = ? AND name = ?)"
        self._connection.executemany(
            "DELETE FROM measurements WHERE series = "  # noqa: S608 - our own text
            "(SELECT id FROM series WHERE run = ? AND scope = 'tensor' AND "
            f"tensor = {NAMED} AND metric = ?) AND {at}",
            [(run_id, run_id, tensor, metric, run_id, checkpoint) for tensor, metric, checkpoint in known],
        )
        self._connection.executemany(
            f"DELETE FROM sketches WHERE tensor = {NAMED} AND {at}",  # noqa: S608 - our own text
            [(run_id, tensor, run_id, checkpoint) for tensor, metric, checkpoint in known if metric == SKETCH_METRIC],
        )

    def drop_runs_but(self, names: set[str]) -> None:
        """Drop all runs but the named ones."""
        with self.transaction():
            for name in set(self.runs()) - names:
                self._connection.execute("DELETE FROM runs WHERE name = ?", (name,))

    def close(self) -> None:
        """Close the file."""
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
        create: create it where it does not exist; a store of an earlier schema is migrated. Without it, such a store
            is migrated in a temporary copy, and the file stays as it is.

    Raises:
        UnreadableStoreError: it is damaged, no store, or of a schema that this version cannot read (both are named).
        StoreError: it does not exist, or another process has locked it.
    """
    return Store(connect(path, create), path)


def _common_settings(run: Run) -> dict[str, str]:
    """Return the settings on which all checkpoints of a run agree."""
    first, *others = [set(one.settings.items()) for one in run.checkpoints] or [set()]
    return dict(first.intersection(*others))


def _stamps_of(checkpoint: Checkpoint) -> Stamps:
    return [(stamp.size, stamp.modified_ns, stamp.etag) for stamp in checkpoint.files]
