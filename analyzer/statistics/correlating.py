"""The rows of ``correlations.csv``, and the classic picture.

Each weight curve and each score are set against each other three times: as they are (the classic picture, a
description), as differences (a description too), and as differences without trend, which alone carry an interval, a
p-value and a q-value, and whose lags are there to explore. Nothing is ever smoothed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analyzer.model.run import ChangePair, Correlation, Status, Tables
from analyzer.model.score_names import is_accuracy, leading
from analyzer.statistics.coefficients import pearson, z_scores
from analyzer.statistics.curves import (
    Series,
    compared_positions,
    ordered_scalars,
    score_changes,
    weight_series,
)
from analyzer.statistics.moments import without_jumps
from analyzer.statistics.relating import METHODS, Relations, relate
from analyzer.statistics.significance import FEWEST_EFFECTIVE, benjamini_hochberg
from analyzer.statistics.stationary import POSITIVE_SCALES, logarithms, trend_over

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzer.model.run import FloatArray

PICTURED = "step_distance"
TREND_REMOVED = ", trend removed"
FEWEST_PAIRS_FOR_TREND = 10  # a trend of seven parameters leaves too little of fewer
AS_IS, DIFFERENCES, WITHOUT_TREND = "as is", "differences", "without trend"
LAGS = (-3, -2, -1, 1, 2, 3)
Way = tuple[str, int]  # how a pair is transformed, and by how many checkpoints the score is taken later
NOT_RELATED = "not related: too many tensors"  # stands where a row tells what was done to a pair
WAYS: tuple[Way, ...] = ((AS_IS, 0), (DIFFERENCES, 0), (WITHOUT_TREND, 0), *((WITHOUT_TREND, lag) for lag in LAGS))


def is_tested(row: Correlation) -> bool:
    """Whether a row is of a stationary pair at lag 0: those that carry a p-value where there are enough checkpoints."""
    return row.lag == 0 and row.transform.endswith(TREND_REMOVED)


class Correlations(Mapping[str, tuple[Correlation, ...]]):
    """Metric -> its rows: every layer, block and the whole network against every score, by Pearson and Spearman.

    The numbers are kept as arrays, and made rows each time that a metric is asked for: all rows of a large run at once
    would take gigabytes. ``left_out`` are the metrics whose tensors are too many to be related (:data:`MOST_PAIRS`);
    one row for each score says so in place of theirs.
    """

    def __init__(self, tables: Tables) -> None:
        self._names = ordered_scalars(tables.scalars)
        self._series, self.left_out = weight_series(tables, len(self._names)) if self._names else ([], ())
        self._members: dict[str, list[int]] = {metric: [] for metric in self.left_out}
        for row, one in enumerate(self._series):
            self._members.setdefault(one.metric, []).append(row)
        self._grids = _related(tables, self._series, self._names)

    def __getitem__(self, metric: str) -> tuple[Correlation, ...]:
        rows = [one for row in self._members[metric] for one in _rows(self._series[row], row, self._names, self._grids)]
        return (*rows, *(_not_related(metric, name) for name in self._names if metric in self.left_out))

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def _related(tables: Tables, series: Sequence[Series], names: Sequence[str]) -> dict[Way, _Grid]:
    """The numbers of all pairs of a series and a score."""
    explored = np.array([one.scope in ("mean", "total") or one.metric == PICTURED for one in series], dtype=bool)
    grids = {way: _Grid(explored if way[1] else np.ones_like(explored), len(names)) for way in WAYS}
    if not series:
        return grids
    scores = np.array([tables.scalars[name] for name in names])
    positions = {row.name: position for position, row in enumerate(tables.checkpoints)}
    for stack in _stacks(series, positions):
        its_scores = scores if stack.compared is None else score_changes(scores, stack.compared)
        for columns in _alike(np.isfinite(its_scores)):
            _fill(grids, stack, columns, its_scores[columns], _largest(scores[columns]))
    tested = grids[WITHOUT_TREND, 0]
    for members in _families(series).values():
        tested.q_value[members] = benjamini_hochberg(tested.p_value[members])
    return grids


class _Grid:
    """Numbers (series, scores, methods) of one way to set series against scores, NaN where there is none.

    It has room for the series that are ``told`` of in this way; the others are passed over.
    """

    def __init__(self, told: npt.NDArray[np.bool_], scores: int) -> None:
        self.told = told
        self._place = np.cumsum(told) - 1
        series = int(np.count_nonzero(told))
        shape = (series, scores, len(METHODS))
        self.n = np.zeros((series, scores), dtype=np.int64)
        self.past = np.full((*shape, 2), np.nan)
        self.coefficient, self.low, self.high = (np.full(shape, np.nan) for _ in range(3))
        self.n_effective, self.p_value, self.q_value = (np.full(shape, np.nan) for _ in range(3))

    def put(
        self, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], n: int, relations: Relations | None
    ) -> None:
        """Keep the numbers of the series ``rows``, all of them told of, beside the scores ``columns``."""
        where = np.ix_(self._place[rows], columns)
        self.n[where] = n
        if relations is not None:
            for name in ("coefficient", "low", "high", "past", "n_effective", "p_value"):
                getattr(self, name)[where] = getattr(relations, name)

    def cells(self, row: int) -> tuple[list[int], list[list[list[float | None]]]]:
        """The pairs [score] of a series and its numbers [score][method][field], from r to both pasts, None for NaN."""
        row = int(self._place[row])
        fields = (self.coefficient, self.low, self.high, self.n_effective, self.p_value, self.q_value)
        known = np.concatenate([np.stack([field[row] for field in fields], axis=-1), self.past[row]], axis=-1)
        numbers = known.astype(object)
        numbers[np.isnan(known)] = None
        return self.n[row].tolist(), numbers.tolist()


@dataclass(frozen=True, slots=True)
class _Stack:
    """Series whose gaps and references are the same: ``rows`` are their places, ``values`` (rows, checkpoints).

    ``scaled`` are logarithms for metrics that are positive scales; ``compared`` tells with which checkpoint each is
    compared, None for metrics of states.
    """

    rows: npt.NDArray[np.intp]
    values: FloatArray
    scaled: FloatArray
    compared: tuple[int | None, ...] | None


def _stacks(series: Sequence[Series], positions: dict[str, int]) -> Iterator[_Stack]:
    values = np.array([one.values for one in series])
    on_scales = np.array([one.metric in POSITIVE_SCALES for one in series])
    scaled = np.where(on_scales[:, None], logarithms(values), values)
    by_compared: dict[tuple[int | None, ...] | None, list[int]] = {}
    for row, one in enumerate(series):
        compared = compared_positions(one.references, positions) if one.of_intervals else None
        by_compared.setdefault(compared, []).append(row)
    for compared, members in by_compared.items():
        rows = np.array(members)
        for alike in _alike(np.concatenate([np.isfinite(values[rows]), np.isfinite(scaled[rows])], axis=1)):
            its = rows[alike]
            yield _Stack(its, values[its], scaled[its], compared)


def _alike(masks: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.intp]]:
    """The places of rows of a boolean array that are the same."""
    groups: dict[bytes, list[int]] = {}
    for place, mask in enumerate(masks):
        groups.setdefault(mask.tobytes(), []).append(place)
    return (np.array(places) for places in groups.values())


def _fill(
    grids: dict[Way, _Grid],
    stack: _Stack,
    columns: npt.NDArray[np.intp],
    scores: FloatArray,
    magnitude: FloatArray,
) -> None:
    """Relate the series of a stack with scores whose gaps are the same, in every way."""
    both = np.isfinite(stack.values[0]) & np.isfinite(scores[0])
    magnitudes = (_largest(stack.values), magnitude)
    related = relate(stack.values[:, both], scores[:, both], magnitudes)
    grids[AS_IS, 0].put(stack.rows, columns, int(both.sum()), related)

    first, second = np.diff(stack.scaled), np.diff(scores)
    both = np.isfinite(first[0]) & np.isfinite(second[0])
    first, second, magnitudes = first[:, both], second[:, both], (_largest(stack.scaled), magnitude)
    n = int(both.sum())
    grids[DIFFERENCES, 0].put(stack.rows, columns, n, relate(first, second, magnitudes))

    if n >= FEWEST_PAIRS_FOR_TREND:
        trend = trend_over(tuple(np.flatnonzero(both).tolist()))
        usual = without_jumps(trend, first), without_jumps(trend, second)
        first, second = trend.removed(first), trend.removed(second)
        n = first.shape[1]
    if n < FEWEST_PAIRS_FOR_TREND:
        grids[WITHOUT_TREND, 0].put(stack.rows, columns, n, None)
        return
    grids[WITHOUT_TREND, 0].put(stack.rows, columns, n, relate(first, second, magnitudes, trend, usual))
    explored = grids[WITHOUT_TREND, LAGS[0]].told[stack.rows]
    rows, first, magnitudes = stack.rows[explored], first[explored], (magnitudes[0][explored], magnitude)
    for lag in LAGS if len(rows) else ():
        early, late = slice(0, n - abs(lag)), slice(abs(lag), n)
        weights, score = (first[:, early], second[:, late]) if lag > 0 else (first[:, late], second[:, early])
        grids[WITHOUT_TREND, lag].put(rows, columns, n - abs(lag), relate(weights, score, magnitudes))


def _largest(values: FloatArray) -> FloatArray:
    """The largest magnitude (rows,) of the finite values in each row, 0 where there are none."""
    return np.asarray(np.where(np.isfinite(values), np.abs(values), 0.0).max(axis=1, initial=0.0))


def _families(series: Sequence[Series]) -> dict[tuple[str, str], list[int]]:
    """The series that are tested together: those of one metric and scope."""
    families: dict[tuple[str, str], list[int]] = {}
    for row, one in enumerate(series):
        families.setdefault((one.scope, one.metric), []).append(row)
    return families


def _rows(series: Series, row: int, names: Sequence[str], grids: dict[Way, _Grid]) -> Iterator[Correlation]:
    """A series' rows by score, way and method. Lags are told of the whole network, and of the motion of each layer."""
    cells = {way: grid.cells(row) for way, grid in grids.items() if grid.told[row]}
    names_of_ways = {way: transform_name(series, way) for way in (AS_IS, DIFFERENCES, WITHOUT_TREND)}
    for column, scalar in enumerate(names):
        for (way, lag), (counts, numbers) in cells.items():
            for method, name in enumerate(METHODS):
                coefficient, low, high, n_effective, p, q, past, score_past = numbers[column][method]
                if lag and coefficient is None:
                    continue
                defined = cells[DIFFERENCES, 0][1][column][method][0] is not None
                yield Correlation(
                    series.scope,
                    series.tensor,
                    series.metric,
                    scalar,
                    names_of_ways[way],
                    lag,
                    name,
                    coefficient,
                    low,
                    high,
                    counts[column],
                    n_effective,
                    p,
                    q,
                    _status(way, coefficient, n_effective, defined),
                    None if past is None or score_past is None else (score_past, past),
                )


def _not_related(metric: str, scalar: str) -> Correlation:
    """The row that stands for all tensors of a metric that was left out."""
    empty = (None,) * 3
    return Correlation("tensor", "", metric, scalar, NOT_RELATED, 0, "", *empty, 0, None, None, None, "missing")


def transform_name(series: Series, way: str) -> str:
    """What was done to score and metric before they were set against each other, in words."""
    if way == AS_IS:
        return "score difference, z-scored" if series.of_intervals else "levels"
    score = "score differences" if series.of_intervals else "score"
    metric = "log metric" if series.metric in POSITIVE_SCALES else "metric"
    return f"differences of {score} and of {metric}" + (TREND_REMOVED if way == WITHOUT_TREND else "")


def _status(way: str, coefficient: float | None, n_effective: float | None, defined: bool) -> Status:
    """Below 10 effective pairs a coefficient only describes; without a coefficient there may be too few for a trend."""
    if coefficient is None:
        return "too_few" if way == WITHOUT_TREND and defined else "undefined"
    return "ok" if way == AS_IS or (n_effective or 0.0) >= FEWEST_EFFECTIVE else "too_few"


def change_pairs(tables: Tables, rows: Iterable[Correlation] = ()) -> tuple[ChangePair, ...]:
    """The classic picture: accuracy differences beside the mean step distance over weight matrices, z-scored.

    Args:
        tables: one run.
        rows: the correlations of its step distances, of which the pairs pick theirs.
    """
    curve = tables.curves.get(("mean", "", PICTURED))
    if curve is None:
        return ()
    positions = {row.name: position for position, row in enumerate(tables.checkpoints)}
    compared = compared_positions(curve.references, positions)
    stationary = {
        row.scalar: row
        for row in rows
        if (row.scope, row.metric, row.method) == ("mean", PICTURED, "pearson") and is_tested(row)
    }
    pairs = []
    for name in filter(is_accuracy, leading(tables.scalars)):
        change = score_changes(tables.scalars[name], compared)
        both = np.isfinite(change) & np.isfinite(curve.values)
        coefficient = pearson(change, curve.values)
        pairs.append(
            ChangePair(
                name,
                tables.axis[both],
                z_scores(change[both]),
                z_scores(curve.values[both]),
                coefficient.value,
                coefficient.n,
                coefficient.status,
                stationary.get(name),
            )
        )
    return tuple(pairs)
