"""The final values of groups or runs, and the verdict on the difference between two groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.comparing.aligning import mean_of
from analyzer.comparing.answers.wording import MOST_LISTED, both, first_few, number, probability
from analyzer.comparing.quantities import by_name
from analyzer.comparing.testing import end_values
from analyzer.model.comparison import Comparison, Group, GroupDifference, Quantity
from analyzer.model.names import listed, printable

LEVEL = 0.05  # of the false discovery rate


@dataclass(frozen=True, slots=True)
class Side:
    """The final values of a group, or of a single run."""

    name: str
    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        spread = f" ({number(self.low)} to {number(self.high)})" if self.n > 1 else ""
        return f"{number(self.mean)}{spread} in {printable(self.name, 60)}"


def sides_of(comparison: Comparison, quantity: Quantity) -> list[Side]:
    """Return all groups (or all runs of the only group) that have a value, from the smallest to the largest.

    Runs without a value, as after NaN, are left out; :func:`left_out` names them.
    """
    groups: Sequence[Group] = comparison.groups
    if len(groups) == 1:
        groups = [Group(run, (run,), (run,)) for run in groups[0].runs]
    sides = []
    for group in groups:
        values = end_values(comparison, group, quantity)
        values = values[np.isfinite(values)]
        if len(values):
            mean = float(mean_of(values[:, None], ratio=quantity.ratio)[0])
            sides.append(Side(group.name, mean, float(values.min()), float(values.max()), len(values)))
    return sorted(sides, key=lambda side: side.mean)


def left_out(comparison: Comparison, quantity: Quantity) -> list[str]:
    """Return the independent runs that have no finite value of a quantity at the end."""
    return [
        run
        for group in comparison.groups
        for run, value in zip(group.independent, end_values(comparison, group, quantity), strict=True)
        if not np.isfinite(value)
    ]


def left_out_words(comparison: Comparison, quantity: Quantity) -> str:
    """Return a sentence that names the runs that are left out; empty if none is."""
    runs = left_out(comparison, quantity)
    one = len(runs) == 1
    verb = "is left out: it has" if one else "are left out: they have"
    return f" {listed(runs, MOST_LISTED, 60)} {verb} no finite value there." if runs else ""


def described(sides: Sequence[Side]) -> str:
    """List the values of the first sides."""
    return first_few([str(side) for side in sides], ", ")


def difference_of(comparison: Comparison, quantity: str, first: str, second: str) -> GroupDifference | None:
    """Return the difference between two groups, in either order, None for single runs."""
    names = {first, second}
    rows = (row for row in comparison.differences if row.quantity == quantity and {row.first, row.second} == names)
    return next(rows, None)


def is_significant(difference: GroupDifference) -> bool:
    """Return whether the q-value is at most :data:`LEVEL`."""
    return difference.q_value is not None and difference.q_value <= LEVEL


def verdict(comparison: Comparison, difference: GroupDifference | None) -> str:
    """Return a sentence on whether a difference may be chance; empty if there are too few runs to tell."""
    if len(comparison.groups) == 1:
        return " These runs differ only in their seed, so this is the spread that seeds alone cause."
    if difference is None or difference.difference is None:
        return " Nothing is tested where a run is left out."
    names = both(difference.first, difference.second)
    if difference.status == "too_few":
        return f" The ranges of {names} do not overlap." if _ranges_are_apart(comparison, difference) else ""
    if difference.p_value is None:
        return " All of these values are equal, so there is nothing to test."
    size = "more" if is_significant(difference) else "no more"
    return (
        f" {names} differ by {interval(difference)}, {size} than chance variation between seeds explains "
        f"(p = {probability(difference.p_value)}, q = {probability(difference.q_value)}, "
        f"{difference.first_n} and {difference.second_n} runs)."
    )


def _ranges_are_apart(comparison: Comparison, difference: GroupDifference) -> bool:
    """Return whether the ranges of two groups, with two runs or more in each, do not overlap."""
    quantity, groups = by_name(comparison.quantities)[difference.quantity], {one.name: one for one in comparison.groups}
    first, second = (end_values(comparison, groups[name], quantity) for name in (difference.first, difference.second))
    return min(len(first), len(second)) > 1 and bool(first.max() < second.min() or second.max() < first.min())


def interval(difference: GroupDifference) -> str:
    """Format a difference with its interval, as a positive number or as the larger value over the smaller."""
    numbers = [value for value in (difference.difference, difference.low, difference.high) if value is not None]
    is_ratio = difference.form == "ratio"
    if is_ratio and numbers[0] < 1:
        numbers = [1 / numbers[0], *sorted(1 / value for value in numbers[1:])]
    elif not is_ratio and numbers[0] < 0:
        numbers = [-numbers[0], *sorted(-value for value in numbers[1:])]
    text = f"a factor of {number(numbers[0])}" if is_ratio else number(numbers[0])
    return f"{text}, 95 % interval {number(numbers[1])} to {number(numbers[2])}" if len(numbers) == 3 else text
