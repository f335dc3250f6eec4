"""The distances between all checkpoints of a run, as the rules about their order read them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from analyzer.findings.curves import PARAMETERS, curves_of, total_curve
from analyzer.findings.histories import complete_digests
from analyzer.model.run import BoolArray, FloatArray
from analyzer.model.tables import Tables

ROUNDINGS = 2  # by which the storage of sketches is taken to have shortened a distance
FEWEST, MOST = 5, 2000  # checkpoints
PROGRESS = {2: 1.3, 3: 1.5}  # how many times as far to every second and third checkpoint as to the next
LONG = 3  # times as long as the median step; steps at random are hardly ever that long


@dataclass(frozen=True, slots=True)
class Distances:
    """The distances between all checkpoints of a run.

    ``apart`` (n, n) are the distances, NaN where undefined; ``at_most`` (n, n) are upper bounds in view of how sketches
    are stored; ``is_sure`` (n,) says whether the step into each checkpoint is known, above the precision of storage,
    and one of most tensors.
    """

    apart: FloatArray
    at_most: FloatArray
    is_sure: BoolArray

    def tell_order(self, first: int, last: int, without: Collection[int], steps: Collection[int]) -> bool:
        """Check whether distances tell the order of the checkpoints from one to another one, some of them left out.

        Where weights wander about one point, all are as far from each other, so some look exchanged. So in the median,
        every second and third checkpoint must be as many times as far as the next one as `PROGRESS` demands, or the
        steps into the checkpoints ``steps`` `LONG` times as long as those between the others.

        Measured here: in 63 trainings with something planted (`tests/benchmarks/planted_series.py` and the shared
        ones) every second checkpoint was 1.4 to 2.5 times as far as the next one and every third 1.8 to 3.7 times. In
        deep sigmoid networks that learned nothing and in recurrent ones that exploded, where something was reported
        wrongly, these were 0.9 to 1.25 and 1.0 to 2.1 times. Independent steps give √2 and √3.
        """
        kept = [at for at in range(max(0, first), min(last, len(self.apart) - 1) + 1) if at not in without]
        apart = self.apart[np.ix_(kept, kept)]
        usual = _median(apart.diagonal(1))
        is_long = _median(np.array([self.apart[at - 1, at] for at in steps if at > 0])) >= LONG * usual
        return is_long or all(_median(apart.diagonal(lag)) >= limit * usual for lag, limit in PROGRESS.items())

    def steps_are_sure(self, positions: Collection[int]) -> bool:
        """Check the steps into and out of these checkpoints."""
        n = len(self.is_sure)
        steps = {step for position in positions for step in (position, position + 1) if 0 < step < n}
        return all(self.is_sure[step] for step in steps)


def _median(lengths: FloatArray) -> float:
    """Return the median of the finite lengths; NaN if there are none, which compares as False."""
    known = lengths[np.isfinite(lengths)]
    return float(np.median(known)) if len(known) else float("nan")


def distances_of(tables: Tables) -> Distances | None:
    """Return the distances of a run; None if they are not known, or are too few or too many."""
    trajectory, steps = tables.trajectory, total_curve(tables, "step_distance")
    n = len(trajectory.parts)
    if steps is None or n != len(tables.checkpoints) or not FEWEST <= n <= MOST:
        return None
    is_sure = np.zeros(n, dtype=bool)
    is_sure[steps.places] = steps.values > 0  # NaN is not
    is_sure &= _most_tensors_move(tables)
    is_sure[copies(tables)] = False
    apart = trajectory.distances
    return Distances(apart, apart + ROUNDINGS * trajectory.roundings, is_sure)


def copies(tables: Tables) -> list[int]:
    """Return the positions of the checkpoints with exactly the weights of an earlier one, which are told as copies."""
    digests = complete_digests(tables)
    return [t for t, held in enumerate(digests) if held and held in digests[:t]]


def _most_tensors_move(tables: Tables) -> BoolArray:
    """Return a mask (n,) of the checkpoints into which half of the tensors or more move that ever do.

    Once units died, little more than the last bias moves, back and forth in so few directions that its points can be
    put into a shorter order by chance.
    """
    series = list(curves_of(tables, "step_distance", PARAMETERS))
    moved = np.zeros((len(series), len(tables.checkpoints)), dtype=bool)
    for row, one in zip(moved, series, strict=True):
        row[one.places] = one.stored > 0
    moved = moved[moved.any(axis=1)]
    most: BoolArray = 2 * moved.sum(axis=0) >= len(moved)
    return most
