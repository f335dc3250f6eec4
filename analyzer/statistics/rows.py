"""The rows of ``correlations.csv``, one per series, score, transform, lag and method, from arrays of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from analyzer.model.run import BoolArray, IntArray, Status
from analyzer.model.tables import Correlation
from analyzer.statistics.curves import WeightCurve
from analyzer.statistics.relating import METHODS, Relations
from analyzer.statistics.significance import FEWEST_EFFECTIVE
from analyzer.statistics.stationary import POSITIVE_SCALES

TREND_REMOVED = ", trend removed"
AS_IS, DIFFERENCES, WITHOUT_TREND = "as is", "differences", "without trend"
LAGS = (-3, -2, -1, 1, 2, 3)
Variant = tuple[str, int]  # the transform of a pair, and by how many checkpoints later the score is taken
VARIANTS: tuple[Variant, ...] = (
    (AS_IS, 0),
    (DIFFERENCES, 0),
    (WITHOUT_TREND, 0),
    *((WITHOUT_TREND, lag) for lag in LAGS),
)
NOT_RELATED = "not related: too many tensors"  # replaces the transform in the row of a metric that is left out


class Grid:
    """Numbers (series, scores, methods) of one variant, NaN where there is none.

    It has room for the ``included`` series only; the others are not computed in this variant.
    """

    def __init__(self, included: BoolArray, scores: int) -> None:
        self.included = included
        self._row = np.cumsum(included) - 1
        series = int(np.count_nonzero(included))
        shape = (series, scores, len(METHODS))
        self.n = np.zeros((series, scores), dtype=np.int64)
        self.past = np.full((*shape, 2), np.nan)
        self.coefficient, self.low, self.high = (np.full(shape, np.nan) for _ in range(3))
        self.n_effective, self.p_value, self.q_value = (np.full(shape, np.nan) for _ in range(3))

    def put(self, rows: IntArray, columns: IntArray, n: int, relations: Relations | None) -> None:
        """Store the numbers of the series ``rows``, all of them included, with the scores ``columns``."""
        where = np.ix_(self._row[rows], columns)
        self.n[where] = n
        if relations is not None:
            for name in ("coefficient", "low", "high", "past", "n_effective", "p_value"):
                getattr(self, name)[where] = getattr(relations, name)

    def cells(self, row: int) -> tuple[list[int], list[list[list[float | None]]]]:
        """Return the counts [score] of a series and its numbers [score][method][field], None for NaN.

        The fields are coefficient, low, high, n_effective, p, q, and the autocorrelations of metric and score.
        """
        row = int(self._row[row])
        fields = (self.coefficient, self.low, self.high, self.n_effective, self.p_value, self.q_value)
        known = np.concatenate([np.stack([field[row] for field in fields], axis=-1), self.past[row]], axis=-1)
        numbers = known.astype(object)
        numbers[np.isnan(known)] = None
        return self.n[row].tolist(), numbers.tolist()


def is_tested(row: Correlation) -> bool:
    """Return whether a row is of a stationary pair at lag 0; such rows have a p-value given enough checkpoints."""
    return row.lag == 0 and row.transform.endswith(TREND_REMOVED)


def rows_of(
    series: WeightCurve, position: int, scalars: Sequence[str], grids: Mapping[Variant, Grid]
) -> Iterator[Correlation]:
    """Yield the rows of one series by score, variant and method.

    Args:
        series: the weight curve.
        position: its position in the grids.
        scalars: the names of the scores, in the order of the grids.
        grids: the numbers of each variant. A grid may leave the series out: lags are computed for the whole network
            and for the motion of each layer only.
    """
    cells = {variant: grid.cells(position) for variant, grid in grids.items() if grid.included[position]}
    transforms = {transform: transform_name(series, transform) for transform in (AS_IS, DIFFERENCES, WITHOUT_TREND)}
    for column, scalar in enumerate(scalars):
        for (transform, lag), (counts, numbers) in cells.items():
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
                    transforms[transform],
                    lag,
                    name,
                    coefficient,
                    low,
                    high,
                    counts[column],
                    n_effective,
                    p,
                    q,
                    _status(transform, coefficient, n_effective, defined),
                    None if past is None or score_past is None else (score_past, past),
                )


def not_related(metric: str, scalar: str) -> Correlation:
    """Return the row that stands for all tensors of a metric that was left out."""
    empty = (None,) * 3
    return Correlation("tensor", "", metric, scalar, NOT_RELATED, 0, "", *empty, 0, None, None, None, "missing")


def transform_name(series: WeightCurve, transform: str) -> str:
    """Describe in words how score and metric are transformed before they are correlated."""
    if transform == AS_IS:
        return "score difference, z-scored" if series.of_intervals else "levels"
    score = "score differences" if series.of_intervals else "score"
    metric = "log metric" if series.metric in POSITIVE_SCALES else "metric"
    return f"differences of {score} and of {metric}" + (TREND_REMOVED if transform == WITHOUT_TREND else "")


def _status(transform: str, coefficient: float | None, n_effective: float | None, defined: bool) -> Status:
    """Return the status of a row.

    Below 10 effective pairs a coefficient is a description only. Without a coefficient there may be too few pairs to
    fit a trend.
    """
    if coefficient is None:
        return "too_few" if transform == WITHOUT_TREND and defined else "undefined"
    return "ok" if transform == AS_IS or (n_effective or 0.0) >= FEWEST_EFFECTIVE else "too_few"
