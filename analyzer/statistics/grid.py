"""The numbers of all pairs of a series and a score, as arrays."""

from __future__ import annotations

import numpy as np

from analyzer.model.run import BoolArray, IntArray
from analyzer.statistics.relating import METHODS, Relations


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
