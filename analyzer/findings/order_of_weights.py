"""Report checkpoints that are not where the path of the weights has them, from the distances between all of them.

Three rules ask in this order, and the first that explains a place is the only one to report it: two checkpoints in each
other's place, a checkpoint of another run, weights that go back to an older checkpoint. All three compare distances of
all parameters together, whose relative error is at most a few percent. They rest only on steps that storage rounding
cannot have made, and count the rounding of the sketches against themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from analyzer.findings.curves import PARAMETERS, curves_of, stretches, total_curve
from analyzer.findings.histories import complete_digests
from analyzer.findings.rules import Draft, rule
from analyzer.findings.wording import capitalized, place, times
from analyzer.model.run import BoolArray, FloatArray, IntArray
from analyzer.model.tables import Tables

# Of the affected edges of the path, after an exchange against before; less of neighbors, for which chance is enough.
EXCHANGED, EXCHANGED_NEIGHBORS = 0.75, 0.65
MOST_EXCHANGED = 2  # pairs; where more would shorten the path, its order is not what is wrong
FOREIGN = 0.5  # of d(t, t + 1): d(t − 1, t + 1)
RETURN_COSINE = -0.5  # of two steps; below it, the second returns
GOES_BACK = 0.4  # of d(t − 1, t): d(s, t) to an older checkpoint
GOES_MOSTLY_BACK, UNDOING_COSINE = 0.7, 0.8  # enough where the step also points to s, at least three checkpoints before
ROUNDINGS = 2  # by which the storage of sketches is taken to have shortened a distance
FEWEST, MOST = 5, 2000  # checkpoints
MOST_REPORTED = 3  # of one kind


@dataclass(frozen=True, slots=True)
class _Return:
    """The weights at ``first`` go back to those of ``to``, and repeat what followed it for ``length`` checkpoints."""

    first: int
    to: int
    length: int
    ratio: float


@dataclass(frozen=True, slots=True)
class _Distances:
    """The distances between all checkpoints of a run.

    ``apart`` (n, n) are the distances, NaN where undefined; ``at_most`` (n, n) are upper bounds in view of how sketches
    are stored; ``is_sure`` (n,) says whether the step into each checkpoint is known, above the precision of storage,
    and one of most tensors.
    """

    apart: FloatArray
    at_most: FloatArray
    is_sure: BoolArray

    def steps_are_sure(self, positions: Collection[int]) -> bool:
        """Check the steps into and out of these checkpoints."""
        n = len(self.is_sure)
        steps = {step for position in positions for step in (position, position + 1) if 0 < step < n}
        return all(self.is_sure[step] for step in steps)


@rule("checkpoint_distances")
def exchanged_checkpoints(tables: Tables) -> Iterator[Draft]:
    """Report two checkpoints that are in each other's place: exchanged, the path through the weights is far shorter.

    Compares the at most four edges of the path that change. Both checkpoints must be nearer to their new neighbors, and
    afterwards no exchange may shorten the path any more: weights that swing between two states can be ordered at will.

    Measured here: on 40 trainings no exchange shortened a right order to less than 0.90 (in a network that hardly
    moves; otherwise none at all); files that were exchanged gave 0.16 to 0.27. Near neighbors share most of their way:
    exchanged they give 0.5 on a straight path, 0.7 on one of random steps, and 0.54 to 0.58 in three trainings. In ten
    deep sigmoid networks that learned nothing, neighbors gave 0.69 to 0.81 in right order, so the limit is 0.65 for
    them and 0.75 for others. Of the exchanges simulated in 11 trainings 97 % were found five places apart.
    """
    for first, second, ratio in _exchanged(_distances(tables)):
        yield Draft(
            "warning",
            f"{capitalized(place(tables, first))} and {place(tables, second)} are in each other's place: if they are "
            f"exchanged, the path of the weights from and to them is {times(1 / ratio)} shorter. Their files were "
            "probably renamed or exchanged; rename them, or expect wrong steps at both.",
            places=[first, second],
            evidence={"path_after_exchange": ratio},
            apart=True,
        )


@rule("checkpoint_distances")
def foreign_checkpoint(tables: Tables) -> Iterator[Draft]:
    """Report a checkpoint whose two neighbors are far nearer to each other than to it, in most tensors.

    In most tensors the step out of it must return (cosine below `RETURN_COSINE`): a few damaged elements do not make
    another run. Where it holds at consecutive checkpoints, the weights swing, and nothing is said.

    Measured here: d(t − 1, t + 1) / d(t, t + 1) was at least 0.74 in 29 trainings in right order, and 0.046 where one
    checkpoint was that of another seed.
    """
    foreign = _foreign(tables, _distances(tables))
    for position, ratio in foreign[:MOST_REPORTED]:
        yield Draft(
            "warning",
            f"{capitalized(place(tables, position))} does not belong to this run, or is damaged: the checkpoints "
            f"before and after it are {times(1 / ratio)} nearer to each other than to it. Check where the file comes "
            "from, for example another run of the same network.",
            places=[position],
            evidence={"neighbors_distance": ratio, "found": len(foreign)},
        )


@rule("checkpoint_distances")
def goes_back(tables: Tables) -> Iterator[Draft]:
    """Report weights that go back to an older checkpoint, which is far nearer than the one before.

    Consecutive places are one finding: a training that is resumed repeats what it did. If more checkpoints in a row
    repeat older ones than lie between the two, the weights swing or several series alternate, which is not reported.

    Measured here: d(s, t) / d(t − 1, t) of older checkpoints s was at least 0.74 in all trainings in right order, 0.45
    to 0.66 in weights that had decayed to noise, and 0.007 to 0.32 where training was resumed from an older checkpoint.
    A training resumed from near by, with other batches, is less near (0.41 to 0.61), but its step undoes the way gone
    since then (`UNDOING_COSINE`): of ten resumed 2 to 15 checkpoints back, 9 were found, by `GOES_BACK` alone 6. In 24
    further healthy runs no ratio was below 1.
    """
    returns = _returns(tables, _distances(tables))
    for one in returns[:MOST_REPORTED]:
        last, until = one.first + one.length - 1, one.to + one.length - 1
        repeats = f" From there to {place(tables, last)} they repeat those up to {place(tables, until)}."
        # The first checkpoint after resuming is one interval further than the one that was resumed from.
        sources = [place(tables, position) for position in range(max(0, one.to - 1), one.to + 1)]
        yield Draft(
            "warning",
            f"The weights at {place(tables, one.first)} go back to those of {place(tables, one.to)}, to which they are "
            f"{times(1 / one.ratio)} nearer than to the checkpoint before.{repeats if one.length > 1 else ''} Training "
            f"was probably resumed from {' or '.join(sources)}; what was learned in between is lost.",
            places=[one.to, one.first],
            evidence={"distance": one.ratio, "repeated": one.length, "found": len(returns)},
            apart=True,
        )


def misplaced_steps(tables: Tables) -> frozenset[int]:
    """Return the checkpoints, by position, into which a step leads that these rules or copies explain."""
    distances = _distances(tables)
    exchanged = [position for first, second, _ in _exchanged(distances) for position in (first, second)]
    foreign = [position for position, _ in _foreign(tables, distances)]
    returns = [one.first for one in _returns(tables, distances)]
    out_of_place = (*exchanged, *foreign, *_copies(tables))
    return frozenset((*(step for position in out_of_place for step in (position, position + 1)), *returns))


def _distances(tables: Tables) -> _Distances | None:
    """Return the distances of a run; None if they are not known, or are too few or too many."""
    trajectory, steps = tables.trajectory, total_curve(tables, "step_distance")
    n = len(trajectory.parts)
    if steps is None or n != len(tables.checkpoints) or not FEWEST <= n <= MOST:
        return None
    is_sure = np.zeros(n, dtype=bool)
    is_sure[steps.places] = steps.values > 0  # NaN is not
    is_sure &= _most_tensors_move(tables)
    is_sure[_copies(tables)] = False
    apart = trajectory.distances
    return _Distances(apart, apart + ROUNDINGS * trajectory.roundings, is_sure)


def _copies(tables: Tables) -> list[int]:
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


def _exchanged(distances: _Distances | None) -> list[tuple[int, int, float]]:
    """Return the pairs of checkpoints in each other's place, with the ratio of the affected edges."""
    if distances is None:
        return []
    order = np.arange(len(distances.is_sure))
    found: list[tuple[int, int, float]] = []
    while best := _best_exchange(distances, order):
        found.append(best)
        first, second, _ = best
        order[[first, second]] = order[[second, first]]
        if len(found) > MOST_EXCHANGED or len({place for pair in found for place in pair[:2]}) < 2 * len(found):
            return []
    return sorted(found) if all(distances.steps_are_sure(pair[:2]) for pair in found) else []


def _best_exchange(distances: _Distances, order: IntArray) -> tuple[int, int, float] | None:
    """Return the exchange that shortens the path in this order the most, if it shortens the affected edges enough."""
    apart, at_most = (one[np.ix_(order, order)] for one in (distances.apart, distances.at_most))
    n = len(apart)
    edges = np.diagonal(apart, 1)
    # How long the edges at place i are with each checkpoint j in it; those between neighbors stay in an exchange.
    after = np.zeros((n, n))
    after[1:] += at_most[:-1]
    after[:-1] += at_most[1:]
    before = np.repeat((np.concatenate(([0.0], edges)) + np.concatenate((edges, [0.0])))[:, None], n, axis=1)
    neighbors = np.arange(n - 1)
    before[neighbors, neighbors + 1] -= edges
    before[neighbors + 1, neighbors] -= edges
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = (after + after.T) / (before + before.T)
    improves = (after < before) & (after.T < before.T)
    improves[[0, n - 2], [1, n - 1]] = False  # a single edge does not tell an exchange from a way back
    improves &= np.triu(np.ones((n, n), dtype=bool), 1)
    if not improves.any():
        return None
    gain = np.where(improves, before + before.T - after - after.T, -np.inf)
    first, second = np.unravel_index(np.argmax(gain), gain.shape)
    ratio = float(ratios[first, second])
    limit = EXCHANGED_NEIGHBORS if second == first + 1 else EXCHANGED
    return (int(first), int(second), ratio) if ratio < limit else None


def _foreign(tables: Tables, distances: _Distances | None) -> list[tuple[int, float]]:
    """Return the checkpoints of another run, with the ratio of the distances around them."""
    if distances is None:
        return []
    n = len(distances.is_sure)
    exchanged = {place for pair in _exchanged(distances) for place in pair[:2]}
    around, away = np.diagonal(distances.at_most, 2), np.diagonal(distances.apart, 1)[1:]
    is_foreign = np.zeros(n, dtype=bool)
    is_foreign[1:-1] = around < FOREIGN * away
    return [
        (first, float(around[first - 1] / away[first - 1]))
        for first, last in stretches(is_foreign)
        if first == last
        and exchanged.isdisjoint(range(first - 1, first + 2))
        and distances.steps_are_sure([first])
        and _most_tensors_return(tables, first + 1)
    ]


def _most_tensors_return(tables: Tables, position: int) -> bool:
    """Check whether the step into a checkpoint points back along the one before it in most tensors that it moves."""
    cosines = [series.values[series.places == position] for series in curves_of(tables, "update_cosine", PARAMETERS)]
    known = np.concatenate([*cosines, np.zeros(0)])
    known = known[np.isfinite(known)]
    return bool(known.size) and bool(np.median(known) < RETURN_COSINE)


def _returns(tables: Tables, distances: _Distances | None) -> list[_Return]:
    """Return the places at which weights go back to an older checkpoint, consecutive ones as one."""
    if distances is None:
        return []
    n = len(distances.is_sure)
    misplaced = {place for pair in _exchanged(distances) for place in pair[:2]}
    misplaced |= {position for position, _ in _foreign(tables, distances)}
    out_of_place = misplaced.union(_copies(tables))
    explained = {step for position in out_of_place for step in (position, position + 1)}
    older = np.tri(n, n, -2, dtype=bool)  # [t, s]: s < t − 1
    away = np.concatenate(([np.nan], np.diagonal(distances.apart, 1)))
    ratios = np.full((n, n), np.inf)
    np.divide(distances.at_most, away[:, None], out=ratios, where=older & (away > 0)[:, None])
    ratios[~(ratios >= 0)] = np.inf  # undefined
    ratios[:, [*misplaced]] = np.inf  # weights of later on, for example, to which the run comes near
    is_near = (ratios < GOES_BACK) | _undoes(distances.apart, away, ratios)
    goes_back = is_near.any(axis=1) & distances.is_sure
    goes_back[2:] &= np.diagonal(ratios, -2) >= GOES_BACK  # otherwise t − 1 alone is out of place
    goes_back[[*explained - {n}]] = False
    found: list[_Return] = []
    for first, last in stretches(goes_back):
        places = np.arange(first, last + 1)
        nearest = np.where(is_near, ratios, np.inf)[places].argmin(axis=1)
        if len(places) <= np.min(places - nearest):
            found.append(_Return(first, int(nearest[0]), len(places), float(ratios[first, nearest[0]])))
    return found


def _undoes(apart: FloatArray, away: FloatArray, ratios: FloatArray) -> BoolArray:
    """Return a mask (n, n) of the steps into t that undo most of the way from an older checkpoint s to t − 1.

    Args:
        apart: (n, n) distances.
        away: (n,) lengths d(t − 1, t) of the steps.
        ratios: (n, n) of d(s, t) to the step's length.
    """
    n = len(away)
    with np.errstate(invalid="ignore", divide="ignore"):
        gone = np.vstack((np.full(n, np.nan), apart[:-1])) / away[:, None]  # d(s, t − 1)
        cosines = (1 + gone**2 - ratios**2) / (2 * gone)
        undoes: BoolArray = (cosines > UNDOING_COSINE) & (ratios < GOES_MOSTLY_BACK) & np.tri(n, n, -3, dtype=bool)
    return undoes
