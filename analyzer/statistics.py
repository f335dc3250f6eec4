"""How curves go together. Descriptions only: no p-value is printed here.

Accuracy and weight motion share drivers (schedule, saturation), so two such series correlate by construction and a
plain p-value would be wrong. Coefficients are given with the number of pairs they rest on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import frexp
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.run import ChangePair, CheckpointRow, Correlation, Curve, Status, Tables

if TYPE_CHECKING:
    from analyzer.run import FloatArray

FEWEST_PAIRS = 3
DIFFERENCED_SCORES = ("train_accuracy", "test_accuracy", "eval_accuracy", "accuracy")
LEVEL_SCORES = (
    "train_accuracy",
    "test_accuracy",
    "eval_accuracy",
    "accuracy",
    "train_loss",
    "test_loss",
    "eval_loss",
    "loss",
    "generalization_gap",
)


class Coefficient(NamedTuple):
    """A correlation coefficient, None unless ``status`` is ``ok``, and the number of pairs it rests on."""

    value: float | None
    n: int
    status: Status


def z_scores(values: FloatArray) -> FloatArray:
    """(x − mean) / standard deviation with ddof 0, shape as given; NaN throughout where all values are equal."""
    largest = float(np.abs(values).max(initial=0.0))
    scaled = np.ldexp(values, -frexp(largest)[1])  # exact; the squares of a diverged loss would overflow
    spread = float(np.std(scaled)) if len(values) else 0.0
    # A constant series has a spread of rounding noise only, which must not be blown up to one.
    if spread <= 1e-12:
        return np.full(len(values), np.nan)
    return (scaled - float(np.mean(scaled))) / spread


def pearson(first: FloatArray, second: FloatArray) -> Coefficient:
    """Pearson's r of the pairs (n,) in which both are numbers; ``undefined`` below 3 pairs or where one is constant."""
    both = np.isfinite(first) & np.isfinite(second)
    n = int(np.count_nonzero(both))
    if n < FEWEST_PAIRS:
        return Coefficient(None, n, "undefined")
    r = float(np.mean(z_scores(first[both]) * z_scores(second[both])))
    return Coefficient(max(-1.0, min(1.0, r)), n, "ok") if np.isfinite(r) else Coefficient(None, n, "undefined")


def spearman(first: FloatArray, second: FloatArray) -> Coefficient:
    """Spearman's ρ: Pearson's r of the ranks, ties at their mean rank."""
    both = np.isfinite(first) & np.isfinite(second)
    return pearson(ranks(first[both]), ranks(second[both]))


def ranks(values: FloatArray) -> FloatArray:
    """Ranks from 1 on, ties at their mean rank, shape as given.

    The same as scipy.stats.rankdata, whose import alone takes longer than measuring a small run.
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def score_differences(score: FloatArray, curve: Curve, checkpoints: Sequence[CheckpointRow]) -> FloatArray:
    """The score's change (checkpoints,) between the very two checkpoints that each row of the curve compares."""
    positions = {row.name: position for position, row in enumerate(checkpoints)}
    result = np.full(len(checkpoints), np.nan)
    for position, reference in enumerate(curve.references):
        if reference is not None:
            result[position] = score[position] - score[positions[reference]]
    return result


def change_pairs(tables: Tables) -> tuple[ChangePair, ...]:
    """The classic picture: accuracy differences beside the mean step distance over weight matrices, z-scored."""
    curve = tables.curves.get(("mean", "", "step_distance"))
    if curve is None:
        return ()
    pairs = []
    for name in DIFFERENCED_SCORES:
        if name not in tables.scalars:
            continue
        change = score_differences(tables.scalars[name], curve, tables.checkpoints)
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
            )
        )
    return tuple(pairs)


def correlations(tables: Tables) -> tuple[Correlation, ...]:
    """Accuracy differences against step distances, and scores against condition numbers, per tensor and in the mean."""
    return tuple(_correlations(tables))


def _correlations(tables: Tables) -> Iterator[Correlation]:
    for (scope, _, metric), curve in tables.curves.items():
        if metric == "step_distance" and scope in ("tensor", "total", "mean"):
            for name in _present(tables, DIFFERENCED_SCORES):
                change = score_differences(tables.scalars[name], curve, tables.checkpoints)
                yield from _both_methods(curve, name, "score difference, z-scored", change)
        elif metric == "condition_number":
            for name in _present(tables, LEVEL_SCORES):
                yield from _both_methods(curve, name, "levels", tables.scalars[name])


def _present(tables: Tables, names: Sequence[str]) -> list[str]:
    return [name for name in names if name in tables.scalars]


def _both_methods(curve: Curve, scalar: str, transform: str, score: FloatArray) -> Iterator[Correlation]:
    for method, function in (("pearson", pearson), ("spearman", spearman)):
        value, n, status = function(score, curve.values)
        yield Correlation(
            curve.scope,
            curve.tensor,
            curve.metric,
            scalar,
            transform,
            0,
            method,
            value,
            None,
            None,
            n,
            None,
            None,
            None,
            status,
        )
