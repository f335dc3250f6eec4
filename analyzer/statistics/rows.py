"""The rows of ``correlations.csv``, one per series, score, transform, lag and method, from arrays of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from analyzer.model.run import BoolArray, IntArray, Status
from analyzer.model.tables import REMOVED, Correlation
from analyzer.statistics.curves import WeightCurve
from analyzer.statistics.power import DETECTABLE
from analyzer.statistics.relating import METHODS, Relations
from analyzer.statistics.significance import FEWEST_EFFECTIVE
from analyzer.statistics.stationary import POSITIVE_SCALES

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
        self.power = np.full((*shape, len(DETECTABLE)), np.nan)
        self.cycle = np.zeros((series, scores, 2), dtype=np.int64)

    def put(
        self,
        rows: IntArray,
        columns: IntArray,
        n: int,
        relations: Relations | None,
        pairs: BoolArray | None = None,
        cycle: tuple[int, int] = (0, 0),
    ) -> None:
        """Store the numbers of the series ``rows``, all of them included, with the scores ``columns``.

        Args:
            rows: (a,) positions of the series.
            columns: (b,) positions of the scores.
            n: the number of points of each pair.
            relations: the numbers; None if there are too few points.
            pairs: mask (a, b) of the pairs to store, by default all.
            cycle: the period and the period of the wave that were removed from both, 0 if none.
        """
        first, second = np.nonzero(np.ones((len(rows), len(columns)), dtype=bool) if pairs is None else pairs)
        where = self._row[rows][first], columns[second]
        self.n[where], self.cycle[where] = n, cycle
        if relations is not None:
            for name in ("coefficient", "low", "high", "past", "n_effective", "p_value", "power"):
                getattr(self, name)[where] = getattr(relations, name)[first, second]

    def cells(self, row: int) -> tuple[list[int], list[list[int]], list[list[list[float | None]]]]:
        """Return the counts [score] and cycles [score] of a series, and its numbers [score][method][field].

        The fields are coefficient, low, high, n_effective, p, q, the autocorrelations of metric and score, and the
        power at each of :data:`DETECTABLE`; None for NaN.
        """
        row = int(self._row[row])
        fields = (self.coefficient, self.low, self.high, self.n_effective, self.p_value, self.q_value)
        alone = np.stack([field[row] for field in fields], axis=-1)
        known = np.concatenate([alone, self.past[row], self.power[row]], axis=-1)
        numbers = known.astype(object)
        numbers[np.isnan(known)] = None
        return self.n[row].tolist(), self.cycle[row].tolist(), numbers.tolist()


def rows_of(
    series: WeightCurve, position: int, scalars: Mapping[int, str], grids: Mapping[Variant, Grid]
) -> Iterator[Correlation]:
    """Yield the rows of one series by score, variant and method.

    Args:
        series: the weight curve.
        position: its position in the grids.
        scalars: the names of the scores by their position in the grids.
        grids: the numbers of each variant. A grid may leave the series out: lags are computed for the whole network
            and for the motion of each layer only.
    """
    cells = {variant: grid.cells(position) for variant, grid in grids.items() if grid.included[position]}
    for column, scalar in scalars.items():
        for (transform, lag), (counts, cycles, numbers) in cells.items():
            described = transform_name(series, transform, *cycles[column])
            for method, name in enumerate(METHODS):
                coefficient, low, high, n_effective, p, q, past, score_past, *power = numbers[column][method]
                if lag and coefficient is None:
                    continue
                if transform == WITHOUT_TREND and lag == 0:
                    defined = cells[DIFFERENCES, 0][2][column][method][0] is not None
                    status = _tested_status(coefficient, p, defined)
                else:
                    status = _status(transform, coefficient, n_effective)
                yield Correlation(
                    series.scope,
                    series.tensor,
                    series.metric,
                    scalar,
                    described,
                    lag,
                    name,
                    coefficient,
                    low,
                    high,
                    counts[column],
                    n_effective,
                    p,
                    q,
                    status,
                    None if past is None or score_past is None else (score_past, past),
                    *power,
                )


def not_related(metric: str, scalar: str) -> Correlation:
    """Return the row that stands for all tensors of a metric that was left out."""
    empty = (None,) * 3
    return Correlation("tensor", "", metric, scalar, NOT_RELATED, 0, "", *empty, 0, None, None, None, "missing")


def transform_name(series: WeightCurve, transform: str, period: int = 0, wave: int = 0) -> str:
    """Describe in words how score and metric are transformed before they are correlated."""
    if transform == AS_IS:
        return "score difference, z-scored" if series.of_intervals else "levels"
    score = "score differences" if series.of_intervals else "score"
    metric = "log metric" if series.metric in POSITIVE_SCALES else "metric"
    removed = f", trend and period of {period}" if period else f", trend and wave of {wave}" if wave else ", trend"
    return f"differences of {score} and of {metric}" + (removed + REMOVED if transform == WITHOUT_TREND else "")


def _tested_status(coefficient: float | None, p: float | None, defined: bool) -> Status:
    """Return the status of a tested row; without a coefficient there may be too few pairs to fit a trend."""
    if coefficient is None:
        return "too_few" if defined else "undefined"
    return "too_few" if p is None else "ok"


def _status(transform: str, coefficient: float | None, n_effective: float | None) -> Status:
    """Return the status of a described row; below 10 effective pairs differences are a description only."""
    if coefficient is None:
        return "undefined"
    return "ok" if transform == AS_IS or (n_effective or 0.0) >= FEWEST_EFFECTIVE else "too_few"
