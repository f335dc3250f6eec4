"""The rows of ``correlations.csv``: one per series, score, transform, lag and method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from analyzer.model.run import Status
from analyzer.model.tables import Correlation
from analyzer.statistics.curves import WeightCurve
from analyzer.statistics.relating import METHODS
from analyzer.statistics.significance import FEWEST_EFFECTIVE
from analyzer.statistics.stationary import POSITIVE_SCALES

if TYPE_CHECKING:
    from analyzer.statistics.grid import Grid

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
