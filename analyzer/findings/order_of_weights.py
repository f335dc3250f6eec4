"""Report checkpoints that are not where the path of the weights has them, from the distances between all of them.

Three rules ask in this order, and the first that explains a place is the only one to report it: two checkpoints in each
other's place, a checkpoint of another run, weights that go back to an older checkpoint. All three compare distances of
all parameters together, whose relative error is at most a few percent. They rest only on steps that storage rounding
cannot have made, count the rounding of the sketches against themselves, and say nothing where weights wander about one
point (`Distances.tell_order`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analyzer.findings.curves import PARAMETERS, curves_of, stretches
from analyzer.findings.distances import Distances, copies, distances_of
from analyzer.findings.rules import Draft, rule
from analyzer.findings.wording import capitalized, place, places, times
from analyzer.model.run import BoolArray, FloatArray, IntArray
from analyzer.model.tables import Tables

# Of the affected edges of the path, after an exchange against before; and with one checkpoint between the two.
EXCHANGED, EXCHANGED_NEXT_BUT_ONE = 0.65, 0.75
MOST_EXCHANGED = 2  # pairs; where more would shorten the path, its order is not what is wrong
FOREIGN = 0.5  # of d(t, t + 1): d(t − 1, t + 1)
RETURN_COSINE = -0.5  # of two steps; below it, the second returns
GOES_BACK = 0.4  # of d(t − 1, t): d(s, t) to an older checkpoint
GOES_MOSTLY_BACK, UNDOING_COSINE = 0.7, 0.8  # enough where the step also points to s, at least three checkpoints before
NEAR = 4  # checkpoints on each side, whose distances must tell an order
MOST_REPORTED = 3  # of one kind


@dataclass(frozen=True, slots=True)
class _Return:
    """The weights at ``first`` go back to those of ``to``, and repeat what followed it for ``length`` checkpoints."""

    first: int
    to: int
    length: int
    ratio: float


@rule("checkpoint_distances")
def exchanged_checkpoints(tables: Tables) -> Iterator[Draft]:
    """Report two checkpoints that are in each other's place: exchanged, the path through the weights is far shorter.

    Compares the at most four edges of the path that change. Both checkpoints must be nearer to their new neighbors, and
    afterwards no exchange may shorten the path any more: weights that swing between two states can be ordered at will.

    Measured here: on 40 trainings no exchange shortened a right order to less than 0.90 (in a network that hardly
    moves; otherwise none at all); files that were exchanged gave 0.04 to 0.46 (`tests/benchmarks/planted_series.py`).
    Neighbors share most of their way: exchanged they give 0.5 on a straight path, 0.7 on one of random steps, and 0.51
    to 0.62 in ten trainings; with one checkpoint between them random steps give 0.73. In deep sigmoid networks that
    learned nothing, neighbors gave 0.57 to 0.81 in right order and others 0.70, in an exploding network 0.74. So the
    limit is 0.65, for checkpoints next but one 0.75.
    """
    for first, second, ratio in _exchanged(distances_of(tables)):
        yield Draft(
            "warning",
            f"{capitalized(places(tables, [first, second]))} are in each other's place: if they are exchanged, "
            f"the path of the weights from and to them is {times(1 / ratio)} shorter. Their files were "
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
    foreign = _foreign(tables, distances_of(tables))
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
    returns = _returns(tables, distances_of(tables))
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
    distances = distances_of(tables)
    exchanged = [position for first, second, _ in _exchanged(distances) for position in (first, second)]
    foreign = [position for position, _ in _foreign(tables, distances)]
    returns = [one.first for one in _returns(tables, distances)]
    out_of_place = (*exchanged, *foreign, *copies(tables))
    return frozenset((*(step for position in out_of_place for step in (position, position + 1)), *returns))


def _exchanged(distances: Distances | None) -> list[tuple[int, int, float]]:
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
    pairs = [pair[:2] for pair in found]
    misplaced = {place for pair in pairs for place in pair}
    is_sure = all(
        distances.steps_are_sure(pair) and distances.tell_order(pair[0] - NEAR, pair[1] + NEAR, misplaced, pair)
        for pair in pairs
    )
    return sorted(found) if is_sure else []


def _best_exchange(distances: Distances, order: IntArray) -> tuple[int, int, float] | None:
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
    limit = EXCHANGED_NEXT_BUT_ONE if second == first + 2 else EXCHANGED
    return (int(first), int(second), ratio) if ratio < limit else None


def _foreign(tables: Tables, distances: Distances | None) -> list[tuple[int, float]]:
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
        and distances.tell_order(first - NEAR, first + NEAR, {first}, [first, first + 1])
        and _most_tensors_return(tables, first + 1)
    ]


def _most_tensors_return(tables: Tables, position: int) -> bool:
    """Check whether the step into a checkpoint points back along the one before it in most tensors that it moves."""
    cosines = [series.values[series.places == position] for series in curves_of(tables, "update_cosine", PARAMETERS)]
    known = np.concatenate([*cosines, np.zeros(0)])
    known = known[np.isfinite(known)]
    return bool(known.size) and bool(np.median(known) < RETURN_COSINE)


def _returns(tables: Tables, distances: Distances | None) -> list[_Return]:
    """Return the places at which weights go back to an older checkpoint, consecutive ones as one."""
    if distances is None:
        return []
    n = len(distances.is_sure)
    misplaced = {place for pair in _exchanged(distances) for place in pair[:2]}
    misplaced |= {position for position, _ in _foreign(tables, distances)}
    out_of_place = misplaced.union(copies(tables))
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
        pairs = zip(places.tolist(), nearest.tolist(), strict=True)
        telling = [distances.tell_order(to - NEAR, at - 1, misplaced, [at]) for at, to in pairs]
        if not any(telling):
            continue
        places, nearest = places[np.argmax(telling) :], nearest[np.argmax(telling) :]
        if len(places) <= np.min(places - nearest):
            start, to = int(places[0]), int(nearest[0])
            found.append(_Return(start, to, len(places), float(ratios[start, to])))
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
