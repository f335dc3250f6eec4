"""Tables made of nothing but curves and scores, for the statistics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analyzer.model.tables import CheckpointRow, Correlation, Curve, Tables, TensorRow
from analyzer.statistics.correlating import Correlations
from analyzer.statistics.trends import Trend, trend_over

OF_INTERVALS = frozenset({"step_distance", "relative_step_distance", "update_cosine", "norm_change"})


def tables_of(
    curves: Mapping[tuple[str, str, str], np.ndarray],
    scores: Mapping[str, np.ndarray],
    kind: str = "matrix",
    axis: np.ndarray | None = None,
) -> Tables:
    """A run whose checkpoints are ``c0``, ``c1``, ...; curves of intervals have no value at the first of them."""
    n = len(next(iter(scores.values())))
    axis = np.arange(float(n)) if axis is None else axis
    names = [f"c{position}" for position in range(n)]
    rows = tuple(CheckpointRow(name, float(place), None, "", 0) for name, place in zip(names, axis, strict=True))
    built = {}
    for (scope, tensor, metric), values in curves.items():
        values = np.array(values, dtype=float)
        references: tuple[str | None, ...] = (None,) * n
        if metric in OF_INTERVALS:
            values[0], references = np.nan, (None, *names[:-1])
        built[scope, tensor, metric] = Curve(scope, tensor, metric, values, ("ok",) * n, references)
    tensors = dict.fromkeys(tensor for scope, tensor, _ in curves if scope == "tensor")
    listed = tuple(TensorRow(name, name, kind, (4, 4), (4, 4), "linear", "float32") for name in tensors)
    return Tables("run", axis, "epoch", rows, listed, {}, dict(scores), built, {}, (), ())


def correlations(tables: Tables) -> tuple[Correlation, ...]:
    """All rows of all metrics."""
    return tuple(one for rows in Correlations(tables).values() for one in rows)


def even_trend(changes: int) -> Trend:
    """The trend of so many changes between evenly spaced checkpoints."""
    return trend_over(np.arange(changes + 1.0), None, np.arange(changes))
