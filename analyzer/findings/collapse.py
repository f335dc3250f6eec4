"""Scores that fell far below their best and did not come back."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import TYPE_CHECKING

import numpy as np

from analyzer.findings.curves import deviation, smoothed
from analyzer.findings.score_choice import FEWEST_CHECKPOINTS, Score
from analyzer.findings.wording import number
from analyzer.model.score_names import is_accuracy

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

LOST_SHARE = 1 / 3  # of the best accuracy: from 97 % to the 50 % of chance among two classes is a half
LOST_POINTS = 10  # and so many percentage points
LOSS_FACTOR = 3  # times the least loss
REGAINED = 0.1  # and so much of what training had taken from the first loss, or what is near zero could only rise
COLLAPSE_DEVIATIONS = 5  # and so many standard deviations of a score from one checkpoint to the next


@dataclass(frozen=True, slots=True)
class Collapse:
    """A score that is far worse than at its ``best``, ``since`` a position up to the ``end``; not yet ``before``."""

    score: Score
    best: int
    before: int
    since: int
    end: int

    def level(self, position: int) -> str:
        """The score there: ``97.1 %``, or the loss."""
        value = float(self.score.values[position])
        return f"{value:.1f} %" if is_accuracy(self.score.name) else number(value)


def collapse_of(score: Score | None) -> Collapse | None:
    """The collapse that an accuracy or a loss ends with; None where there is none, or no score to judge by."""
    if score is None:
        return None
    places = np.flatnonzero(np.isfinite(score.values))
    known = score.values[places]
    if len(known) < FEWEST_CHECKPOINTS or (not is_accuracy(score.name) and known.min() <= 0):
        return None
    merit = known if is_accuracy(score.name) else -np.log(known)
    below = merit <= _limit(merit, score)
    if not below[-1] or below.all() or not (is_accuracy(score.name) or _has_regained(known)):
        return None
    since = len(below) - int(np.argmin(below[::-1]))
    best = int(np.argmax(merit[:since]))
    return Collapse(score, *(int(places[one]) for one in (best, since - 1, since, -1)))


def _limit(merit: FloatArray, score: Score) -> float:
    """What a score must be above that has not collapsed: of the accuracy, or of −log of the loss."""
    top = float(smoothed(merit).max())
    far = max(LOST_SHARE * top, LOST_POINTS) if is_accuracy(score.name) else log(LOSS_FACTOR)
    return top - max(far, COLLAPSE_DEVIATIONS * _scatter(merit))


def _scatter(merit: FloatArray) -> float:
    """Standard deviation of a score (n,) about its course, from its falls alone: a score that is learned rises.

    The furthest fall may be the collapse and is left out. The median size of changes would be zero where most of them
    are, as with few images or rounded losses.
    """
    falls = np.sort(np.minimum(np.diff(merit), 0.0))[1:]
    return max(deviation(merit), sqrt(float((falls**2).sum()) / (len(falls) + 1)))


def _has_regained(losses: FloatArray) -> bool:
    least = float(losses.min())
    return float(losses[-1]) - least >= REGAINED * (float(losses[0]) - least)
