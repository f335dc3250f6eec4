"""Correlate every weight curve of a run with every score.

Each pair is correlated three times: as it is (the classic picture, a description), as differences (a description
too), and as differences with the trend removed. Only the last carries an interval, a p-value and a q-value, and only
its lags are explored. Nothing is ever smoothed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.model.run import BoolArray, FloatArray, IntArray
from analyzer.model.tables import Correlation, Tables
from analyzer.statistics.coefficients import z_scores
from analyzer.statistics.curves import (
    PICTURED,
    WeightCurve,
    compared_positions,
    ordered_scalars,
    score_changes,
    weight_curves,
)
from analyzer.statistics.jumps import robust_residuals
from analyzer.statistics.periods import common_periods, common_waves
from analyzer.statistics.relating import relate
from analyzer.statistics.rows import (
    AS_IS,
    DIFFERENCES,
    LAGS,
    VARIANTS,
    WITHOUT_TREND,
    Grid,
    Variant,
    not_related,
    rows_of,
)
from analyzer.statistics.significance import benjamini_hochberg
from analyzer.statistics.stationary import POSITIVE_SCALES, logarithms
from analyzer.statistics.trends import Trend, trend_over

FEWEST_PAIRS_FOR_TREND = 10  # a trend of seven parameters leaves too little of fewer
STRONGEST = 3  # tensors of each metric and score that are always among the leading pairs
SIGNIFICANT = 0.05  # the largest q-value of a significant pair
FEWEST_BEYOND_PERIOD = 12  # points beyond the parameters of a trend with a period


class Correlations(Mapping[str, tuple[Correlation, ...]]):
    """Maps a metric to its rows: every layer, block and the whole network against every score, by both methods.

    The numbers are kept as arrays and converted to rows each time a metric is accessed: all rows of a large run at
    once would take gigabytes. ``left_out`` are the metrics with too many tensors to be correlated
    (:data:`analyzer.statistics.curves.MOST_PAIRS`); one row per score says so instead of theirs.
    """

    def __init__(self, tables: Tables) -> None:
        self._names = ordered_scalars(tables.scalars)
        self._series, self.left_out = weight_curves(tables, len(self._names)) if self._names else ([], ())
        self._members: dict[str, list[int]] = {metric: [] for metric in self.left_out}
        for row, series in enumerate(self._series):
            self._members.setdefault(series.metric, []).append(row)
        self._grids = _related(tables, self._series, self._names)

    def __getitem__(self, metric: str) -> tuple[Correlation, ...]:
        return tuple(self._rows(metric, np.ones((len(self._members[metric]), len(self._names)), dtype=bool)))

    def leading(self, metric: str, strongest: int | None = None) -> Iterator[Correlation]:
        """Yield the rows of the pairs that matter, all rows of each.

        These are all pairs of means and totals, the significant pairs (q ≤ 0.05), and for each score the
        ``strongest``, by default :data:`STRONGEST`: those of the tensors with the largest coefficients without trend,
        or as they are where that is not known.
        """
        members = self._members[metric]
        tested, as_is = self._grids[WITHOUT_TREND, 0], self._grids[AS_IS, 0]
        strength = np.where(np.isnan(tested.coefficient), as_is.coefficient, tested.coefficient)[members]
        strength = np.nan_to_num(np.abs(strength).max(axis=2, initial=0.0), nan=-1.0)
        of_tensors = np.array([self._series[row].scope == "tensor" for row in members], dtype=bool)
        strength[~of_tensors] = np.inf
        others = int(np.count_nonzero(~of_tensors))
        ranks = np.argsort(np.argsort(-strength, axis=0, kind="stable"), axis=0, kind="stable")
        significant = (tested.q_value[members] <= SIGNIFICANT).any(axis=2)
        return self._rows(metric, significant | (ranks < others + (STRONGEST if strongest is None else strongest)))

    def _rows(self, metric: str, chosen: BoolArray) -> Iterator[Correlation]:
        """Yield the rows of the pairs in a mask (series of the metric, scores)."""
        for row, mask in zip(self._members[metric], chosen, strict=True):
            names = {column: self._names[column] for column in np.flatnonzero(mask).tolist()}
            if names:
                yield from rows_of(self._series[row], row, names, self._grids)
        yield from (not_related(metric, name) for name in self._names if metric in self.left_out)

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def _related(tables: Tables, series: Sequence[WeightCurve], names: Sequence[str]) -> dict[Variant, Grid]:
    """Return the numbers of all pairs of a series and a score."""
    explored = np.array([one.scope in ("mean", "total") or one.metric == PICTURED for one in series], dtype=bool)
    grids = {variant: Grid(explored if variant[1] else np.ones_like(explored), len(names)) for variant in VARIANTS}
    if not series:
        return grids
    scores = np.array([tables.scalars[name] for name in names])
    positions = {row.name: position for position, row in enumerate(tables.checkpoints)}
    for stack in _stacks(series, positions):
        compared_scores = scores if stack.compared is None else score_changes(scores, stack.compared)
        for columns in _equal_rows(np.isfinite(compared_scores)):
            _fill(grids, stack, columns, compared_scores[columns], _largest(scores[columns]), tables.axis)
    tested = grids[WITHOUT_TREND, 0]
    for members in _families(series).values():
        tested.q_value[members] = benjamini_hochberg(tested.p_value[members])
    return grids


@dataclass(frozen=True, slots=True)
class _Stack:
    """Series with the same gaps and references: ``rows`` are their positions, ``values`` (rows, checkpoints).

    ``scaled`` are logarithms for metrics on positive scales. ``compared`` contains the position of the checkpoint that
    each checkpoint is compared with; it is None for metrics of states.
    """

    rows: IntArray
    values: FloatArray
    scaled: FloatArray
    compared: tuple[int | None, ...] | None


def _stacks(series: Sequence[WeightCurve], positions: dict[str, int]) -> Iterator[_Stack]:
    values = np.array([one.values for one in series])
    on_scales = np.array([one.metric in POSITIVE_SCALES for one in series])
    scaled = np.where(on_scales[:, None], logarithms(values), values)
    by_compared: dict[tuple[int | None, ...] | None, list[int]] = {}
    for row, one in enumerate(series):
        compared = compared_positions(one.references, positions) if one.of_intervals else None
        by_compared.setdefault(compared, []).append(row)
    for compared, members in by_compared.items():
        rows = np.array(members)
        for equal in _equal_rows(np.concatenate([np.isfinite(values[rows]), np.isfinite(scaled[rows])], axis=1)):
            chosen = rows[equal]
            yield _Stack(chosen, values[chosen], scaled[chosen], compared)


def _equal_rows(masks: BoolArray) -> Iterator[IntArray]:
    """Yield the positions of each set of equal rows of a boolean array."""
    groups: dict[bytes, list[int]] = {}
    for position, mask in enumerate(masks):
        groups.setdefault(mask.tobytes(), []).append(position)
    return (np.array(members) for members in groups.values())


def _fill(
    grids: dict[Variant, Grid],
    stack: _Stack,
    columns: IntArray,
    scores: FloatArray,
    magnitude: FloatArray,
    axis: FloatArray,
) -> None:
    """Correlate the series of a stack with scores that have the same gaps, in every variant."""
    both = np.isfinite(stack.values[0]) & np.isfinite(scores[0])
    magnitudes = (_largest(stack.values), magnitude)
    related = relate(stack.values[:, both], scores[:, both], magnitudes)
    grids[AS_IS, 0].put(stack.rows, columns, int(both.sum()), related)

    first, second = np.diff(stack.scaled), np.diff(scores)
    both = np.isfinite(first[0]) & np.isfinite(second[0])
    changes = _Changes(
        stack.rows,
        columns,
        np.flatnonzero(both),
        (first[:, both], second[:, both]),
        (_largest(stack.scaled), magnitude),
    )
    n = len(changes.positions)
    grids[DIFFERENCES, 0].put(stack.rows, columns, n, relate(*changes.series, changes.magnitudes))
    if n < FEWEST_PAIRS_FOR_TREND:
        grids[WITHOUT_TREND, 0].put(stack.rows, columns, n, None)
        return
    trend = trend_over(axis, stack.compared, changes.positions)
    periods, waves = _periods(changes, trend, len(axis) - 1)
    for period in np.unique(periods).tolist():
        with_period = trend.with_period(period, changes.positions) if period else trend
        for wave in np.unique(waves[periods == period]).tolist():
            removed = with_period.with_wave(wave, changes.positions) if wave else with_period
            _fill_without_trend(grids, changes, removed, (period, wave), (periods == period) & (waves == wave))


@dataclass(frozen=True, slots=True)
class _Changes:
    """Changes of series and of scores between checkpoints: ``series`` are arrays (rows, n) and (columns, n).

    ``positions`` (n,) are theirs in the run, ``magnitudes`` the largest of the numbers that they were computed from.
    """

    rows: IntArray
    columns: IntArray
    positions: IntArray
    series: tuple[FloatArray, FloatArray]
    magnitudes: tuple[FloatArray, FloatArray]

    def part(self, pairs: BoolArray) -> tuple[_Changes, BoolArray]:
        """Return the rows and columns that occur in a mask of pairs, and the mask of these."""
        rows, columns = np.flatnonzero(pairs.any(axis=1)), np.flatnonzero(pairs.any(axis=0))
        series = self.series[0][rows], self.series[1][columns]
        magnitudes = self.magnitudes[0][rows], self.magnitudes[1][columns]
        part = _Changes(self.rows[rows], self.columns[columns], self.positions, series, magnitudes)
        return part, pairs[np.ix_(rows, columns)]


def _periods(changes: _Changes, trend: Trend, length: int) -> tuple[IntArray, IntArray]:
    """Return the common period of what a trend leaves of each pair and that of a common wave, 0 where there is none.

    Both are (rows, columns). Pairs with a common period have no wave besides.

    Changes that are missing, of ``length`` in the run, count as 0: a period is a number of checkpoints.
    """
    kept = changes.positions[trend.kept]
    spread = []
    for series, magnitude in zip(changes.series, changes.magnitudes, strict=True):
        scored = np.zeros((len(series), length))
        scored[:, kept] = np.nan_to_num(z_scores(trend.removed(series), magnitude))
        spread.append(scored[:, kept[0] :] if len(kept) else scored)
    periods = common_periods(*spread)
    return periods, np.where(periods > 0, 0, common_waves(*spread))


def _fill_without_trend(
    grids: dict[Variant, Grid], changes: _Changes, trend: Trend, cycle: tuple[int, int], pairs: BoolArray
) -> None:
    """Correlate the pairs of one period and wave without the trend, which includes both, at lag 0 and at others."""
    changes, pairs = changes.part(pairs)
    first, second = (trend.removed(series) for series in changes.series)
    n = first.shape[1]
    if n < FEWEST_PAIRS_FOR_TREND:
        grids[WITHOUT_TREND, 0].put(changes.rows, changes.columns, n, None, pairs, cycle)
        return
    robust = robust_residuals(trend, changes.series[0]), robust_residuals(trend, changes.series[1])
    tested = pairs & (not cycle[0] or n - trend.parameters >= FEWEST_BEYOND_PERIOD)
    related = relate(first, second, changes.magnitudes, trend, robust, tested)
    grids[WITHOUT_TREND, 0].put(changes.rows, changes.columns, n, related, pairs, cycle)
    explored = grids[WITHOUT_TREND, LAGS[0]].included[changes.rows]
    rows, first, magnitudes = (
        changes.rows[explored],
        first[explored],
        (changes.magnitudes[0][explored], changes.magnitudes[1]),
    )
    for lag in LAGS if len(rows) else ():
        early, late = slice(0, n - abs(lag)), slice(abs(lag), n)
        weights, score = (first[:, early], second[:, late]) if lag > 0 else (first[:, late], second[:, early])
        related = relate(weights, score, magnitudes)
        grids[WITHOUT_TREND, lag].put(rows, changes.columns, n - abs(lag), related, pairs[explored], cycle)


def _largest(values: FloatArray) -> FloatArray:
    """Return the largest magnitude (rows,) of the finite values in each row, 0 where there are none."""
    return np.asarray(np.where(np.isfinite(values), np.abs(values), 0.0).max(axis=1, initial=0.0))


def _families(series: Sequence[WeightCurve]) -> dict[tuple[str, str], list[int]]:
    """Return the positions of the series that are tested together: those of one scope and metric."""
    families: dict[tuple[str, str], list[int]] = {}
    for row, one in enumerate(series):
        families.setdefault((one.scope, one.metric), []).append(row)
    return families
