"""Compute final values, test differences between groups, and run swap tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from analyzer.comparing.aligning import ALONG_PATH, in_common, mean_of
from analyzer.comparing.quantities import by_name
from analyzer.model.comparison import Comparison, FinalValue, Group, GroupDifference, Quantity, SwapRow
from analyzer.model.run import STATUSES_WITH_VALUE, Status
from analyzer.statistics.significance import benjamini_hochberg
from analyzer.statistics.swap import swap_test
from analyzer.statistics.two_groups import compare_groups

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

OF_TENSORS = ("initial_distance", "path_length", "condition_number", "effective_rank", "stable_rank", "frobenius_norm")
SWAPPED_SCORES = 2
SWAPPED_WEIGHTS = (ALONG_PATH, "condition_number")
Row = TypeVar("Row", GroupDifference, SwapRow)


def final_values(comparison: Comparison) -> tuple[FinalValue, ...]:
    """Return each run's final values, of the network and of each tensor, with the difference to the first run."""
    first: dict[tuple[str, str, str], float | None] = {}
    found = []
    for one in _final_values(comparison):
        base = first.setdefault((one.scope, one.tensor, one.quantity), one.value)
        known = one.value is not None and base is not None
        found.append(replace(one, difference=one.value - base) if known else one)  # type: ignore[operator]
    return tuple(found)


def _final_values(comparison: Comparison) -> Iterator[FinalValue]:
    groups = {run: group.name for group in comparison.groups for run in group.runs}
    for run in comparison.runs:
        position = _end(comparison, run.name)
        where = (run.name, groups[run.name], run.tables.checkpoints[position].name)

        def row(scope: str, tensor: str, name: str, value: float, status: Status) -> FinalValue:
            known = status in STATUSES_WITH_VALUE and bool(np.isfinite(value))
            return FinalValue(*where, scope, tensor, name, value if known else None, status, None)  # noqa: B023

        for quantity in comparison.quantities:
            course = comparison.courses[run.name, quantity.name]
            yield row(quantity.scope, "", quantity.name, float(course.values[position]), course.statuses[position])
        for (scope, tensor, metric), curve in run.tables.curves.items():
            status = curve.statuses[position]
            if scope == "tensor" and metric in OF_TENSORS and status is not None:
                yield row("tensor", tensor, metric, float(curve.values[position]), status)


def end_values(comparison: Comparison, group: Group, quantity: Quantity) -> FloatArray:
    """Return the final values (runs,) of a group's independent runs, NaN where there is none."""
    return np.array([comparison.courses[run, quantity.name].values[_end(comparison, run)] for run in group.independent])


def _end(comparison: Comparison, run: str) -> int:
    """Return the index of the checkpoint with a run's final values."""
    return int(np.searchsorted(comparison.places[run], comparison.ends[run]))


def differences(comparison: Comparison) -> tuple[GroupDifference, ...]:
    """Return the difference of every two groups in every quantity at the end, with q-values over all of them."""
    rows = [
        _difference(comparison, quantity, first, second)
        for quantity in comparison.quantities
        for first, second in combinations(comparison.groups, 2)
    ]
    return _with_q_values(rows)


def _difference(comparison: Comparison, quantity: Quantity, first: Group, second: Group) -> GroupDifference:
    sides = [end_values(comparison, group, quantity) for group in (first, second)]
    means = [float(mean_of(side[:, None], ratio=quantity.ratio)[0]) for side in sides]
    if quantity.ratio:
        with np.errstate(divide="ignore"):
            sides = [np.log(side) for side in sides]
    test = compare_groups(*sides)
    numbers = [test.difference, test.low, test.high]
    if quantity.ratio:
        numbers = [None if number is None else float(np.exp(number)) for number in numbers]
    return GroupDifference(
        quantity=quantity.name,
        first=first.name,
        second=second.name,
        first_n=len(first.independent),
        second_n=len(second.independent),
        first_mean=_or_none(means[0]),
        second_mean=_or_none(means[1]),
        form="ratio" if quantity.ratio else "difference",
        difference=numbers[0],
        low=numbers[1],
        high=numbers[2],
        p_value=test.p_value,
        q_value=None,
        status=test.status,
    )


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _with_q_values(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Add Benjamini–Hochberg q-values over the p-values that are not None."""
    p = np.array([np.nan if row.p_value is None else row.p_value for row in rows], dtype=np.float64)
    q = benjamini_hochberg(p) if rows else p
    return tuple(replace(row, q_value=_or_none(float(one))) for row, one in zip(rows, q, strict=True))


def swap_rows(comparison: Comparison) -> tuple[SwapRow, ...]:
    """Return the swap tests in each group of two or more runs and over all runs, with q-values over all of them.

    Both series are changes between the checkpoints that these runs have in common: of a score, and of the path length
    or ln κ.
    """
    named = by_name(comparison.quantities)
    scores = [one for one in comparison.quantities if one.is_score][:SWAPPED_SCORES]
    sets: list[tuple[str | None, tuple[str, ...]]] = [
        (group.name, group.independent) for group in comparison.groups if len(group.independent) > 1
    ]
    if len(comparison.groups) > 1:
        sets.append((None, tuple(run for group in comparison.groups for run in group.independent)))
    rows = [
        _swap(comparison, group, runs, score, named[name])
        for group, runs in sets
        for score in scores
        for name in SWAPPED_WEIGHTS
        if name in named
    ]
    return _with_q_values(rows)


def _swap(
    comparison: Comparison, group: str | None, runs: tuple[str, ...], score: Quantity, weights: Quantity
) -> SwapRow:
    test = swap_test(_changes(comparison, runs, score), _changes(comparison, runs, weights))
    return SwapRow(group=group, score=score.name, quantity=weights.name, q_value=None, **asdict(test))


def _changes(comparison: Comparison, runs: tuple[str, ...], quantity: Quantity) -> FloatArray:
    """Return changes (runs, intervals) between the common positions; of ln κ for the condition number."""
    common = in_common([comparison.places[run] for run in runs])
    rows = np.stack(
        [comparison.courses[run, quantity.name].values[np.isin(comparison.places[run], common)] for run in runs]
    )
    return np.diff(np.log(rows) if quantity.scale == "log" else rows, axis=1)
