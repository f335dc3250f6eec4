"""Read from a store what was measured of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from analyzer.model.describing import axis_of
from analyzer.model.run import FloatArray, Measurement, Status
from analyzer.model.tables import Curve
from analyzer.model.trajectory import StepSketch
from analyzer.store.packed_sums import unpack
from analyzer.store.run_reader import RunReader, nested
from analyzer.store.sketches import SKETCH_METRIC, decode

TextT = TypeVar("TextT", bound=str)
RowKey = tuple[str, str, str]  # (matrix, metric, checkpoint)


class Series(NamedTuple):
    """One row of the table ``series`` with the name of its tensor."""

    id: int
    scope: str
    tensor: str
    metric: str


StoredRow = tuple[Series, float | None, float | None, Status, str | None]  # series, value, bound, status, reference


class _Spread(Generic[TextT]):
    """Spreads what numbers mean over all checkpoints of a run; most curves share their statuses and references."""

    def __init__(self, count: int, meanings: Mapping[int, TextT]) -> None:
        self._count = count
        self._meanings = meanings
        self._known: dict[tuple[int | None, ...], tuple[TextT | None, ...]] = {}

    def at(self, places: Sequence[int], numbers: Sequence[int | None]) -> tuple[TextT | None, ...]:
        """Return what the numbers at some places mean, None elsewhere and where there is no number."""
        key = (*places, *numbers)
        if key not in self._known:
            spread: list[TextT | None] = [None] * self._count
            for place, number in zip(places, numbers, strict=True):
                spread[place] = None if number is None else self._meanings[number]
            self._known[key] = tuple(spread)
        return self._known[key]


class Reader(RunReader):
    """An open store that is only read."""

    def curves(
        self, run: str, scope: str | None = None, metric: str | None = None, tensor: str | None = None
    ) -> Iterator[Curve]:
        """Yield the curves of a run, optionally of one scope, metric or tensor, sorted by scope, tensor and metric."""
        positions = self._positions(run)
        axis, label = axis_of(self.checkpoints(run))
        statuses, references = _Spread(len(positions), self._statuses()), _Spread(len(positions), self._names(run))
        for one in self._series(run, "scope, tensors.position, names.name, series.id", scope, metric, tensor):
            rows = self._connection.execute(
                "SELECT checkpoint, value, status, reference FROM measurements WHERE series = ?", (one.id,)
            ).fetchall()
            values = np.full(len(positions), np.nan)
            checkpoints, numbers, of_status, compared = zip(*rows, strict=True) if rows else ((), (), (), ())
            places = [positions[checkpoint] for checkpoint in checkpoints]
            values[places] = np.array(numbers, dtype=np.float64)
            texts = statuses.at(places, of_status), references.at(places, compared)
            yield Curve(one.scope, one.tensor, one.metric, values, *texts, axis, label)

    def _series(
        self, run: str, order: str, scope: str | None = None, metric: str | None = None, tensor: str | None = None
    ) -> list[Series]:
        rows = self._connection.execute(
            "SELECT series.id, scope, names.name, metric FROM series JOIN names ON names.id = series.tensor "  # noqa: S608 - our own text
            "LEFT JOIN tensors ON tensors.run = series.run AND tensors.name = names.name WHERE series.run = ? "
            "AND (? IS NULL OR scope = ?) AND (? IS NULL OR metric = ?) AND (? IS NULL OR names.name = ?) "
            f"ORDER BY {order}",
            (self._run_id(run), scope, scope, metric, metric, tensor, tensor),
        )
        return [Series(*row) for row in rows]

    def measurements(self, run: str) -> Iterator[Measurement]:
        """Yield every row of a run by checkpoint, scope, tensor (in the model's order) and name of the metric."""
        for checkpoint, rows in self.rows_by_checkpoint(run):
            for (_, scope, tensor, metric), value, bound, status, reference in rows:
                yield Measurement(checkpoint, scope, tensor, metric, value, bound, status, reference)

    def rows_by_checkpoint(self, run: str) -> Iterator[tuple[str, Iterator[StoredRow]]]:
        """Yield each checkpoint with its rows, in the order of :meth:`measurements`."""
        positions, checkpoints = self._positions(run), self.checkpoints(run)
        every = self._series(run, "scope = 'tensor' DESC, scope, tensors.position, names.name, metric")
        # The file has the rows by series: SQLite takes longer to sort them by checkpoint than to read them.
        values = np.empty((len(checkpoints), len(every)))
        statuses = np.full(values.shape, -1, dtype=np.int16)
        references = np.empty(values.shape, dtype=np.int32)
        bounds: dict[tuple[int, int], float] = {}
        for column, one in enumerate(every):
            rows = self._connection.execute(
                "SELECT checkpoint, value, status, coalesce(reference, 0), bound FROM measurements WHERE series = ?",
                (one.id,),
            ).fetchall()
            if not rows:
                continue
            ids, numbers, of_status, compared, known = zip(*rows, strict=True)
            places = [positions[identity] for identity in ids]
            values[places, column] = np.array(numbers, dtype=np.float64)
            statuses[places, column], references[places, column] = of_status, compared
            if known.count(None) < len(known):
                bounds |= {(at, column): one for at, one in zip(places, known, strict=True) if one is not None}
        texts, names = self._statuses(), {**self._names(run), 0: None}

        def rows_at(at: int) -> Iterator[StoredRow]:
            its = zip(every, values[at].tolist(), statuses[at].tolist(), references[at].tolist(), strict=True)
            for column, (one, value, status, reference) in enumerate(its):
                if status >= 0:
                    bound = bounds.get((at, column)) if bounds else None
                    yield one, None if value != value else value, bound, texts[status], names[reference]

        return ((checkpoint.name, rows_at(at)) for at, checkpoint in enumerate(checkpoints))

    def sums(self, run: str, checkpoint: str) -> dict[str, dict[str, tuple[float, ...]]]:
        """Return the additive needs at one checkpoint: need -> tensor -> numbers."""
        rows = self._connection.execute(
            "SELECT names.name, format, numbers FROM sums JOIN checkpoints ON checkpoints.id = checkpoint "
            "JOIN names ON names.id = tensor WHERE checkpoints.run = ? AND checkpoints.name = ? ORDER BY names.name",
            (self._run_id(run), checkpoint),
        )
        formats = self._sum_formats()
        return nested(
            (need, tensor, numbers)
            for tensor, described, data in rows
            for need, numbers in unpack(formats[described], data).items()
        )

    def _sum_formats(self) -> dict[int, str]:
        return dict(self._connection.execute("SELECT id, format FROM sum_formats"))

    def spectra(self, run: str, tensor: str) -> dict[str, FloatArray]:
        """Return the float64 singular values of one matrix, in falling order, by checkpoint."""
        rows = self._connection.execute(
            "SELECT checkpoints.name, singular_values FROM spectra JOIN checkpoints ON checkpoints.id = checkpoint "
            "JOIN names ON names.id = tensor WHERE checkpoints.run = ? AND names.name = ? ORDER BY position",
            (self._run_id(run), tensor),
        )
        return {name: np.frombuffer(blob, dtype="<f8") for name, blob in rows}

    def sketches(self, run: str) -> Iterator[tuple[str, str, str, StepSketch | None]]:
        """Yield the sketches of steps as (checkpoint, tensor, earlier checkpoint, sketch), in the checkpoints' order.

        The sketch is None if a state is missing, reshaped or not finite.
        """
        rows = self._of_run(
            run,
            "SELECT checkpoints.name, names.name, reference, buckets, first, exponent, numbers FROM sketches "
            "JOIN checkpoints ON checkpoints.id = checkpoint JOIN names ON names.id = tensor "
            "WHERE checkpoints.run = ? ORDER BY position, names.name",
        )
        names = self._names(run)
        for checkpoint, tensor, reference, buckets, first, exponent, numbers in rows:
            is_known = numbers is not None
            sketch = StepSketch(buckets, first, decode(exponent, numbers)) if is_known else None
            yield checkpoint, tensor, names[reference], sketch

    def contents(self, run: str) -> dict[str, dict[str, str]]:
        """Return the BLAKE3 hash of each tensor's bytes: checkpoint -> tensor -> hash."""
        rows = self._of_run(
            run,
            "SELECT checkpoints.name, names.name, blake3 FROM contents JOIN checkpoints "
            "ON checkpoints.id = checkpoint JOIN names ON names.id = tensor "
            "WHERE checkpoints.run = ? ORDER BY position, names.name",
        )
        return nested(rows)

    def nan_counts(self, run: str) -> dict[str, dict[str, int]]:
        """Return how many of the non-finite elements are NaN, where there are any: checkpoint -> tensor -> count."""
        rows = self._of_run(
            run,
            "SELECT checkpoints.name, names.name, format, numbers FROM sums JOIN checkpoints "
            "ON checkpoints.id = checkpoint JOIN names ON names.id = tensor WHERE checkpoints.run = ?",
        )
        formats = self._sum_formats()
        counts = (
            (checkpoint, tensor, unpack(formats[described], data).get("finiteness", (0, 0, 0)))
            for checkpoint, tensor, described, data in rows
        )
        return nested((checkpoint, tensor, nan) for checkpoint, tensor, (_, nonfinite, nan) in counts if nonfinite > 0)

    def problems(self, run: str) -> list[tuple[str, str, str, str]]:
        """Return (checkpoint, tensor, metric, reason) of whatever could not be measured."""
        return self._of_run(
            run,
            "SELECT name, tensor, metric, reason FROM problems JOIN checkpoints ON checkpoints.id = checkpoint "
            "WHERE run = ? ORDER BY position, tensor, metric",
        ).fetchall()

    def bases(self, run: str, tensor: str) -> dict[RowKey, str]:
        """Return what a tensor's stored rows were computed from: (matrix, metric, checkpoint) -> fingerprint."""
        parameters = (self._run_id(run), tensor, tensor + "[", tensor + "\\")
        matrices = "names.run = ? AND (names.name = ? OR (names.name >= ? AND names.name < ?))"
        digests = {
            (matrix, checkpoint): known.split(",")
            for matrix, checkpoint, known in self._connection.execute(
                "SELECT names.id, checkpoint, digests FROM names "  # noqa: S608 - our own text
                "JOIN checkpoints ON checkpoints.run = names.run "
                f"JOIN states ON tensor = names.id AND checkpoint = checkpoints.id WHERE {matrices}",
                parameters,
            )
        }
        codes = {
            (metric, number): digest
            for metric, number, digest in self._connection.execute("SELECT metric, number, digest FROM codes")
        }
        rows = self._connection.execute(
            "SELECT names.id, names.name, metric, checkpoint, checkpoints.name, states, code FROM names "  # noqa: S608
            "JOIN series ON series.run = names.run AND scope = 'tensor' AND series.tensor = names.id "
            "JOIN measurements ON series = series.id JOIN checkpoints ON checkpoints.id = checkpoint "
            f"WHERE {matrices} AND states IS NOT NULL UNION ALL "
            "SELECT names.id, names.name, ?, checkpoint, checkpoints.name, states, code FROM names "
            "JOIN checkpoints ON checkpoints.run = names.run JOIN sketches ON sketches.tensor = names.id "
            "AND checkpoint = checkpoints.id WHERE names.run = ? AND names.name = ?",
            (*parameters, SKETCH_METRIC, *parameters[:2]),
        )
        return {
            (name, metric, checkpoint): digests[matrix, at][states] + codes[metric, code]
            for matrix, name, metric, at, checkpoint, states, code in rows
        }

    def _positions(self, run: str) -> dict[int, int]:
        """Return the place of each checkpoint in the run, by its id."""
        ids = self._of_run(run, "SELECT id FROM checkpoints WHERE run = ? ORDER BY position")
        return {identity: position for position, (identity,) in enumerate(ids)}

    def _names(self, run: str) -> dict[int, str]:
        return dict(self._of_run(run, "SELECT id, name FROM names WHERE run = ?"))

    def _statuses(self) -> dict[int, Status]:
        return dict(self._connection.execute("SELECT id, name FROM statuses"))
