"""The classic picture: accuracy differences against the mean step distance over weight matrices, z-scored."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from analyzer.model.score_names import is_accuracy, leading
from analyzer.model.tables import ChangePair, Correlation, Tables, is_tested
from analyzer.statistics.coefficients import pearson, z_scores
from analyzer.statistics.curves import PICTURED, compared_positions, score_changes


def change_pairs(tables: Tables, rows: Iterable[Correlation] = ()) -> tuple[ChangePair, ...]:
    """Return one pair of z-scored series for each known accuracy; none without a mean step distance.

    Args:
        tables: the tables of one run.
        rows: the correlations of its step distances. Each pair refers to its stationary row among them.
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
