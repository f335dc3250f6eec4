"""Detect scores that fell far below their best value and did not recover."""

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

LOST_SHARE = 1 / 3  # of the best accuracy; a fall from 97 % to chance level with two classes (50 %) loses half
LOST_POINTS = 10  # percentage points that must be lost as well
LOSS_FACTOR = 3  # times the lowest loss
REGAINED = 0.1  # share of the total improvement that a loss must give up; a loss near zero triples easily
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
    """Return the collapse that an accuracy or a loss ends in, or None if it did not collapse or cannot be judged."""
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
    return Collapse(score, *(int(places[index]) for index in (best, since - 1, since, -1)))


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
