"""Detect scores that fell far below their best value and did not recover."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf, log, sqrt
from typing import TYPE_CHECKING

import numpy as np

from analyzer.findings import score_choice
from analyzer.findings.curves import at_the_end, deviation, smoothed
from analyzer.findings.score_choice import FEWEST_CHECKPOINTS, Score
from analyzer.findings.wording import number
from analyzer.model.score_names import is_accuracy, is_held_out
from analyzer.model.tables import Tables

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

LOST_SHARE = 1 / 3  # of the best accuracy; a fall from 97 % to chance level with two classes (50 %) loses half
LOST_POINTS = 10  # percentage points that must be lost as well
LOSS_FACTOR = 3  # times the lowest loss
REGAINED = 0.1  # share of the total improvement that a loss must give up; a loss near zero triples easily
AVERAGED_SHARE, FEWEST_AVERAGED = 0.2, 4  # of the checkpoints, in a mean that is compared with another one
MEAN_DEVIATIONS = 4  # standard deviations of the difference of two means; the best of all is among them
SUDDEN = 0.5  # of the whole fall in one interval
LOST_ANEW = 3  # percentage points that held-out data must lose where training starts anew
REGAINED_ANEW = 3 / 4  # of the fall of a training accuracy that starts anew
HELD = 0.5  # of the fall of the test score, the most that the training score may lose
COLLAPSE_DEVIATIONS = 5  # standard deviations between neighboring checkpoints that a fall must exceed


@dataclass(frozen=True, slots=True)
class Collapse:
    """A score that ends far worse than its best.

    Attributes:
        score: the score.
        best: position of its best value before the collapse.
        before: position of the last value before the collapse.
        since: position of the first value of the collapse.
        end: position of the last value.
    """

    score: Score
    best: int
    before: int
    since: int
    end: int

    def level(self, position: int) -> str:
        """Return the score at a position as text: ``97.1 %``, or the loss."""
        value = float(self.score.values[position])
        return f"{value:.1f} %" if is_accuracy(self.score.name) else number(value)


def collapse_of(score: Score | None) -> Collapse | None:
    """Return the collapse that an accuracy or a loss ends in, or None if it did not collapse or cannot be judged.

    Either the last value is far below the best by more than the scatter explains, or the mean of the last checkpoints
    is, or a loss ends far above that of the untrained network.
    """
    if score is None:
        return None
    places = np.flatnonzero(np.isfinite(score.values))
    known = score.values[places]
    if len(known) < FEWEST_CHECKPOINTS or (not is_accuracy(score.name) and known.min() <= 0):
        return None
    merit = known if is_accuracy(score.name) else -np.log(known)
    if is_accuracy(score.name):
        below = merit <= _limit(merit, score)
        if not below[-1] and _has_declined(merit):
            below = merit <= merit.max() - max(LOST_SHARE * float(merit.max()), LOST_POINTS)
    elif has_diverged(score):
        below = merit <= merit.max() - log(LOSS_FACTOR)
    else:
        below = (merit <= _limit(merit, score)) & _has_regained(known)
    if not below[-1] or below.all():
        return None
    since = len(below) - int(np.argmin(below[::-1]))
    best = int(np.argmax(merit[:since]))
    return Collapse(score, *(int(places[index]) for index in (best, since - 1, since, -1)))


def has_diverged(score: Score) -> bool:
    """Check whether a loss ends at `LOSS_FACTOR` times its first value or more: far worse than without training."""
    known = score.values[np.isfinite(score.values)]
    return len(known) >= FEWEST_CHECKPOINTS and bool(known[-1] >= LOSS_FACTOR * known[0] > 0)


def _has_declined(accuracies: FloatArray) -> bool:
    """Check whether the mean of the last checkpoints is far below the best mean of as many, beyond the scatter."""
    width = max(FEWEST_AVERAGED, round(AVERAGED_SHARE * len(accuracies)))
    means = np.convolve(accuracies, np.full(width, 1 / width), mode="valid")
    lost = float(means[:-width].max(initial=-np.inf)) - float(means[-1])
    scatter = deviation(accuracies) * sqrt(2 / width)
    return lost >= max(LOST_SHARE * (lost + float(means[-1])), LOST_POINTS, MEAN_DEVIATIONS * scatter)


def change_of_task(tables: Tables) -> Collapse | None:
    """Return the collapse of a held-out score that comes at once while the training score holds or starts anew.

    Overfitting is gradual, and a network that falls apart loses its training score as well. The fall comes at once if
    one interval has half of it, or if the training score falls there and recovers. A held-out accuracy that falls less
    than a collapse counts from where the training accuracy falls at once, if that regains `REGAINED_ANEW` of its fall.
    It holds if it ends below its best by at most half of that fall (`HELD`).

    Returns:
        None if there is no such collapse, or no training score of the same kind.
    """
    for choose in (score_choice.accuracy, score_choice.loss):
        tested, trained = choose(tables, trained=False), choose(tables, trained=True)
        if tested is None or trained is None:
            continue
        fall = collapse_of(tested)
        if collapse_of(trained) is not None or not is_held_out(tested.name):
            return None
        if fall is None:
            return _lost_since_restart(tested, trained) if is_accuracy(tested.name) else None
        whole = _merit(tested, fall.best) - _merit(tested, fall.end)
        if _lost(trained) > HELD * whole:
            return None
        drop = _merit(tested, fall.before) - _merit(tested, fall.since)
        if drop >= SUDDEN * whole:
            return fall
        both = _where_known(trained, tested)
        restart = _restart(both, max(0, fall.best - 1), fall.since)  # the best may be the first of the new task
        return None if restart is None else replace(fall, before=restart[0], since=restart[1])
    return None


def _lost_since_restart(tested: Score, trained: Score) -> Collapse | None:
    """Return how an accuracy on held-out data falls to the end from where one on training data starts anew, or None."""
    places = np.flatnonzero(np.isfinite(tested.values) & np.isfinite(trained.values))
    if len(places) < FEWEST_CHECKPOINTS:
        return None
    restart = _restart(_where_known(trained, tested), int(places[0]), int(places[-1]))
    if restart is None:
        return None
    before, since = restart
    known = tested.values[places]
    lost = float(tested.values[before]) - at_the_end(tested.values)
    regained = at_the_end(trained.values) - float(trained.values[since])
    if lost < max(LOST_ANEW, MEAN_DEVIATIONS * deviation(known)):
        return None
    if regained < REGAINED_ANEW * float(trained.values[before] - trained.values[since]):
        return None
    best = int(places[np.argmax(known[places <= before])])
    return Collapse(tested, best, before, since, int(places[-1]))


def _where_known(score: Score, other: Score) -> Score:
    """Return a score without its values where another one has none."""
    return replace(score, values=np.where(np.isfinite(other.values), score.values, np.nan))


def _lost(score: Score) -> float:
    """Return by how much a score ends below its best."""
    merits = [_merit(score, int(place)) for place in np.flatnonzero(np.isfinite(score.values))]
    return max(merits) - merits[-1]


def _restart(trained: Score, first: int, last: int) -> tuple[int, int] | None:
    """Return the positions around the largest sudden fall of a training score in a part of the run, if there is one."""
    known = [place for place in range(first, last + 1) if np.isfinite(trained.values[place])]
    falls = [(_merit(trained, a) - _merit(trained, b), a, b) for a, b in pairwise(known)]
    drop, before, since = max(falls, default=(0.0, first, last))
    enough = LOST_POINTS if is_accuracy(trained.name) else log(LOSS_FACTOR)
    merits = np.array([_merit(trained, int(place)) for place in np.flatnonzero(trained.values > 0)])
    return (before, since) if len(merits) > 1 and drop >= max(enough, 2 * _scatter(merits)) else None


def _merit(score: Score, position: int) -> float:
    value = float(score.values[position])
    return value if is_accuracy(score.name) else -log(value) if value > 0 else inf


def _limit(merit: FloatArray, score: Score) -> float:
    """Return the merit (accuracy, or −log of the loss) at or below which a score has collapsed."""
    top = float(smoothed(merit).max())
    far = max(LOST_SHARE * top, LOST_POINTS) if is_accuracy(score.name) else log(LOSS_FACTOR)
    return top - max(far, COLLAPSE_DEVIATIONS * _scatter(merit))


def _scatter(merit: FloatArray) -> float:
    """Return the standard deviation of a score (n,) about its trend, from its falls only, since learning raises it.

    The largest fall may be the collapse itself and is left out. The median absolute change alone would be zero if most
    changes are zero, as with few images or rounded losses.
    """
    falls = np.sort(np.minimum(np.diff(merit), 0.0))[1:]
    return max(deviation(merit), sqrt(float((falls**2).sum()) / (len(falls) + 1)))


def _has_regained(losses: FloatArray) -> bool:
    """Check whether a loss gave up enough of what training had gained."""
    least = float(losses.min())
    return float(losses[-1]) - least >= REGAINED * (float(losses[0]) - least)
