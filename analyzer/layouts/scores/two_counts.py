"""Compare the steps and epochs of rows that state both: whether steps restart, and which step ends an epoch."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

_UNEVEN = 1.01  # ratio of the longest to the shortest epoch; beyond it, the last rows are not at the ends of epochs
_FEW_ROWS = 10  # in an epoch; a step that rises by one in each of so few rows counts rows


class TwoCounts:
    """The steps of a column by the epochs of the same rows, in the order of the rows."""

    def __init__(self) -> None:
        self._last: dict[float, float] = {}
        self._largest: dict[float, float] = {}
        self._epoch_of: dict[float, float | None] = {}
        self._rows = 0
        self._before: float | None = None
        self._counts_rows = True

    def add(self, epoch: float, step: float) -> None:
        """Add a row."""
        self._last[epoch] = step
        self._largest[epoch] = max(step, self._largest.get(epoch, step))
        self._epoch_of[step] = epoch if self._epoch_of.get(step, epoch) == epoch else None
        self._rows += 1
        self._counts_rows &= self._before is None or step == self._before + 1
        self._before = step

    def restarts(self) -> bool:
        """Check whether most epochs do not go beyond the steps of those before: steps then count within an epoch."""
        advances = []
        reached = None
        for epoch in sorted(self._largest):
            if reached is not None:
                advances.append(self._largest[epoch] > reached)
            reached = self._largest[epoch] if reached is None else max(reached, self._largest[epoch])
        return 2 * advances.count(False) > len(advances)

    def steps(self) -> dict[float, int]:
        """Return the step at the end of each epoch; empty unless epochs are equally long and steps are no row numbers.

        The last row of an epoch is at its end only if the log has a row there. If it has, all epochs have the same
        number of steps.
        """
        ends = sorted(self._last.items())
        lengths = [(after[1] - before[1]) / (after[0] - before[0]) for before, after in pairwise(ends)]
        if not _are_whole(step for _, step in ends) or self._is_row_number():
            return {}
        if not lengths or min(lengths) < 1 or max(lengths) > _UNEVEN * min(lengths):
            return {}
        return {epoch: int(step) for epoch, step in ends}

    def epochs(self) -> dict[float, float]:
        """Return the epoch of each step that has only one; empty if steps are row numbers."""
        if self._is_row_number():
            return {}
        return {step: epoch for step, epoch in self._epoch_of.items() if epoch is not None}

    def _is_row_number(self) -> bool:
        return self._counts_rows and self._rows < _FEW_ROWS * len(self._last)


def _are_whole(steps: Iterable[float]) -> bool:
    return all(0 <= step <= 2**53 and step == int(step) for step in steps)
