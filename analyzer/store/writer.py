"""Writes what the engine found out about one run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analyzer.run import Measurement

if TYPE_CHECKING:
    from analyzer.run import FloatArray


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
