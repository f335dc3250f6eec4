"""Report how training went, from weights and scores: nothing learned, weights at rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from analyzer.findings import score_choice
from analyzer.findings.curves import at_the_end, per_unit, smoothed, starts, total_curve, usual_step
from analyzer.findings.rules import Draft, rule
from analyzer.findings.score_choice import FEWEST_CHECKPOINTS, Score
from analyzer.findings.scores_lost import collapses
from analyzer.findings.steps import spikes_in
from analyzer.findings.wording import number, percent, place, span, times, unit
from analyzer.model.run import Severity
from analyzer.model.score_names import is_accuracy
from analyzer.model.tables import Tables

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

NOTHING_POINTS, NOTHING_LOSS = 5.0, 0.03  # percentage points, and share of the first loss, that count as nothing
HARDLY_MOVED, MOVED_FAR = 1e-3, 0.5  # shares of the weights' norm covered over the whole run
AT_REST = 20  # times slower than at the peak
REST_INTERVALS, REST_SHARE = 5, 0.2  # fewest intervals, and smallest share of all intervals
FLAT_POINTS, FLAT_LOSS = 1.0, 0.02  # largest change of an accuracy, and of a loss as a share of its value
LEARNED = 99.0  # training accuracy in percent at which nothing is left to learn


@rule("accuracy")
def nothing_learned(tables: Tables) -> Iterator[Draft]:
    """Report that no accuracy and no loss, on training or other data, ever became better than at the first checkpoint.

    What the weights did tells which way to change the learning rate: those that went less than `HARDLY_MOVED` of their
    norm call for a higher one, those that went `MOVED_FAR` or more for a lower one; between these, neither is said. A
    loss that rose beyond all measure is a collapse (`score_collapses`).

    Measured here: with a learning rate of 1.5 the accuracy rose by 1.8 points and the loss fell by 1 %, on 2000 test
    images; at chance among ten classes, medians of three swing by up to 4 points; less than 5 points and 3 % counts as
    nothing. With 1e-7 the weights went 1e-5 of their norm, in a network that trained too deep a stack of sigmoids a
    tenth, in networks that learn 0.2 to 3. Requires `FEWEST_CHECKPOINTS` with a test accuracy and a loss.
    """
    accuracies = _known(score_choice.accuracy(tables, trained=trained) for trained in (False, True))
    losses = _known(score_choice.loss(tables, trained=trained) for trained in (False, True))
    if score_choice.accuracy(tables, trained=False) is None or not losses or collapses(tables):
        return
    if min(len(values) for _, values in (*accuracies, *losses)) < FEWEST_CHECKPOINTS:
        return
    if any(float(smoothed(values).max()) - values[0] >= NOTHING_POINTS for _, values in accuracies):
        return
    firsts = (_first_loss(losses, number) for number in range(len(losses)))
    if any(
        not values.min() > (1 - NOTHING_LOSS) * first > 0 for (_, values), first in zip(losses, firsts, strict=True)
    ):
        return
    (accuracy, points), (loss, values) = accuracies[0], losses[0]
    moved = _moved(tables)
    yield Draft(
        "warning",
        f"The network learned almost nothing: {accuracy.words} was {points[0]:.1f} % at first and {points.max():.1f} % "
        f"at best, {loss.words} {values[0]:.4g} at first and {values.min():.4g} at best. {_why_nothing(moved)}",
        evidence={
            "best_accuracy_points": float(points.max()),
            "best_loss": float(values.min()),
            **({} if moved is None else {"moved": moved}),
        },
    )


def _known(scores: Iterable[Score | None]) -> list[tuple[Score, FloatArray]]:
    """Return the scores that exist, each with its finite values."""
    return [(score, score.values[np.isfinite(score.values)]) for score in scores if score is not None]


def _first_loss(losses: Sequence[tuple[Score, FloatArray]], number: int) -> float:
    """Return what a loss was at first: that of the first one where this one is not known so early.

    A training loss that is averaged over the epochs has no value before the first, in which it may have been huge.
    """
    (first, known), (score, values) = losses[0], losses[number]
    begins = [int(np.flatnonzero(np.isfinite(one.values))[0]) for one in (first, score)]
    return float(known[0] if begins[0] < begins[1] else values[0])


def _moved(tables: Tables) -> float | None:
    """Return how far all parameters went over the run, as a share of their norm at first; None if unknown."""
    distance, norm = total_curve(tables, "initial_distance"), total_curve(tables, "frobenius_norm")
    if distance is None or norm is None:
        return None
    ends = [series.stored[np.isfinite(series.stored)] for series in (distance, norm)]
    if min(map(len, ends)) == 0 or not ends[1][0] > 0:
        return None
    return float(ends[0][-1] / ends[1][0])


def _why_nothing(moved: float | None) -> str:
    """Name the causes that fit how far the weights went."""
    if moved is None or HARDLY_MOVED <= moved < MOVED_FAR:
        return "Possible causes are the learning rate, the initialization, and wrong labels."
    if moved == 0:
        return "The weights are those of the first checkpoint, so nothing was trained or the wrong weights were saved."
    if moved < HARDLY_MOVED:
        return (
            f"The weights went {percent(moved)} of their norm in the whole run: the learning rate is far too low, so "
            "raise it, or the gradients vanish."
        )
    far = f"{percent(moved)} of" if moved < 10 else times(moved)
    return (
        f"The weights went {far} their norm all the same. Possible causes are a learning rate that is "
        "too high, the initialization, and wrong labels."
    )


@rule("step_distance")
def training_at_rest(tables: Tables) -> Iterator[Draft]:
    """Report weights that move far less than at their peak, up to the end, while the score is flat.

    Measured here: healthy runs of 50 epochs that still learn ended 5 to 18 times below their peak, those with a
    training accuracy of 100 % 180 to 560 times. `AT_REST` is between these. A step that towers above its neighbors, as
    a checkpoint of another run does, is no peak. Both the distance and the distance per unit must be small, so that
    intervals of different length do not look like rest. Requires 5 intervals, and a fifth of the run, in which the test
    accuracy stays within one point (without an accuracy, the test loss within 2 %).
    """
    series = total_curve(tables, "relative_step_distance")
    score = score_choice.accuracy(tables, trained=False) or score_choice.loss(tables, trained=False)
    if series is None or score is None or any(nothing_learned(tables)):
        return
    rates = per_unit(tables, series)
    steady = np.where(spikes_in(tables, series), np.nan, rates)
    if not np.nanmax(steady, initial=0) > 0:
        return
    peak = int(np.nanargmax(steady))
    since = starts(tables, series)
    slow = np.maximum(rates / rates[peak], series.values / series.values[peak]) * AT_REST <= 1
    least = max(REST_INTERVALS, int(np.ceil(REST_SHARE * len(rates))))
    first = len(rates)
    while first > peak + 1 and slow[first - 1] and _flat(score, int(since[first - 1])):
        first -= 1
    if len(rates) - first < least:
        return
    start, end = int(since[first]), int(series.places[-1])
    calm = float(np.median(rates[first:]))
    during = score.values[start : end + 1]
    spread = float(np.nanmax(during) - np.nanmin(during))
    width = f"{spread:.1f} points" if is_accuracy(score.name) else number(spread)
    stayed = f"stayed within {width}" if spread else "did not change"
    trained = score_choice.accuracy(tables, trained=True)
    level = float("nan") if trained is None else at_the_end(trained.values)
    severity: Severity = "notice" if level < LEARNED else "info"
    yield Draft(
        severity,
        f"The weights hardly move any more: {percent(calm)} of their norm per {unit(tables)}"
        f"{usual_step(tables, (), start, end)} from {span(tables, start, end)}, "
        f"{times(float(rates[peak]) / calm) if calm else 'infinitely'} less than at the peak at "
        f"{place(tables, int(series.places[peak]))}, while {score.words} {stayed}. " + _why_rest(level),
        places=[start, end],
        evidence={"relative_rate": calm, "peak_rate": float(rates[peak]), "score": score.name, "spread": spread},
    )


def _why_rest(level: float) -> str:
    """Explain weights at rest, given the training accuracy in percent (NaN if unknown)."""
    if level >= LEARNED:
        return f"The training data is learned (about {level:.1f} % correct), so later epochs change little."
    if level < LEARNED:
        return (
            f"At a training accuracy of about {level:.1f} %, either the schedule has ended or the learning rate has "
            "fallen too far."
        )
    return "Either everything is learned, or the schedule has ended, or the learning rate has fallen too far."


def _flat(score: Score, start: int) -> bool:
    """Check whether the score hardly changes from a position to the end; this takes two values."""
    known = score.values[start:][np.isfinite(score.values[start:])]
    if len(known) < 2:
        return start >= len(score.values) - 2  # the last step alone has nothing to be compared with yet
    spread = float(known.max() - known.min())
    return spread <= (FLAT_POINTS if is_accuracy(score.name) else FLAT_LOSS * abs(float(known[0])))
