"""Report how training went, from weights and scores: nothing learned, weights at rest, scores that collapsed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyzer.findings import score_choice
from analyzer.findings.collapse import Collapse, collapse_of
from analyzer.findings.curves import at_the_end, per_unit, starts, total_curve
from analyzer.findings.overfitting import gap_between
from analyzer.findings.rules import Draft, rule
from analyzer.findings.score_choice import FEWEST_CHECKPOINTS, Score
from analyzer.findings.wording import number, percent, place, span, times, unit
from analyzer.model.run import Severity
from analyzer.model.score_names import is_accuracy
from analyzer.model.tables import Tables

NOTHING_POINTS, NOTHING_LOSS = 3.0, 0.03  # percentage points, and share of the first loss, that count as nothing
AT_REST = 20  # times slower than at the peak
REST_INTERVALS, REST_SHARE = 5, 0.2  # fewest intervals, and smallest share of all intervals
FLAT_POINTS, FLAT_LOSS = 1.0, 0.02  # largest change of an accuracy, and of a loss as a share of its value
LEARNED = 99.0  # training accuracy in percent at which nothing is left to learn


@rule("accuracy")
def nothing_learned(tables: Tables) -> Iterator[Draft]:
    """Report that neither accuracy nor loss ever became better than at the first checkpoint.

    Measured here: with a learning rate of 1.5 the accuracy rose by 1.8 points and the loss fell by 1 %, on 2000 test
    images; less than 3 points and 3 % counts as nothing. Requires `FEWEST_CHECKPOINTS` with a test accuracy and a loss.
    """
    accuracy = score_choice.accuracy(tables, trained=False)
    loss = score_choice.loss(tables, trained=False) or score_choice.loss(tables, trained=True)
    if accuracy is None or loss is None:
        return
    known = accuracy.values[np.isfinite(accuracy.values)]
    losses = loss.values[np.isfinite(loss.values)]
    if min(len(known), len(losses)) < FEWEST_CHECKPOINTS:
        return
    if known.max() - known[0] < NOTHING_POINTS and losses.min() > (1 - NOTHING_LOSS) * losses[0] > 0:
        yield Draft(
            "warning",
            f"The network learned almost nothing: {accuracy.words} was {known[0]:.1f} % at first and "
            f"{known.max():.1f} % at best, {loss.words} {losses[0]:.4g} at first and {losses.min():.4g} at "
            "best. Possible causes are the learning rate (often too high), the initialization, and wrong labels.",
            evidence={"best_accuracy_points": float(known.max()), "best_loss": float(losses.min())},
        )


@rule("step_distance")
def training_at_rest(tables: Tables) -> Iterator[Draft]:
    """Report weights that move far less than at their peak, up to the end, while the score is flat.

    Measured here: healthy runs of 50 epochs that still learn ended 5 to 18 times below their peak, those with a
    training accuracy of 100 % 180 to 560 times. `AT_REST` is between these. Requires 5 intervals, and a fifth of the
    run, in which the test accuracy stays within one point (without an accuracy, the test loss within 2 %).
    """
    series = total_curve(tables, "relative_step_distance")
    score = score_choice.accuracy(tables, trained=False) or score_choice.loss(tables, trained=False)
    if series is None or score is None or any(nothing_learned(tables)):
        return
    rates = per_unit(tables, series)
    if not np.isfinite(rates).any():
        return
    peak = int(np.nanargmax(rates))
    since = starts(tables, series)
    least = max(REST_INTERVALS, int(np.ceil(REST_SHARE * len(rates))))
    first = len(rates)
    while first > peak + 1 and rates[first - 1] * AT_REST <= rates[peak] and _flat(score, int(since[first - 1])):
        first -= 1
    if len(rates) - first < least:
        return
    start, end = int(since[first]), int(series.places[-1])
    calm = float(np.median(rates[first:]))
    during = score.values[start : end + 1]
    spread = float(np.nanmax(during) - np.nanmin(during))
    stayed = f"{spread:.1f} points" if is_accuracy(score.name) else number(spread)
    trained = score_choice.accuracy(tables, trained=True)
    level = float("nan") if trained is None else at_the_end(trained.values)
    severity: Severity = "notice" if level < LEARNED else "info"
    yield Draft(
        severity,
        f"The weights stopped moving: {percent(calm)} of their norm per {unit(tables)} from "
        f"{span(tables, start, end)}, {times(float(rates[peak]) / calm) if calm else 'infinitely'} less than at the "
        f"peak at {place(tables, int(series.places[peak]))}, while {score.words} stayed within {stayed}. "
        + _why_rest(level),
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


@rule("accuracy")
def score_collapses(tables: Tables) -> Iterator[Draft]:
    """Report a score that fell far below its best and stayed there to the end: accuracies first, otherwise losses.

    Measured here: over 20 seeds no accuracy was ever more than 6 % below its best so far, and no loss more than 1 %
    above its lowest. A third of the best (`LOST_SHARE`, `LOST_POINTS`) and three times the lowest (`LOSS_FACTOR`,
    `REGAINED`) are chosen far beyond these. The fall must also exceed `COLLAPSE_DEVIATIONS` standard deviations between
    neighboring checkpoints: of 3000 simulated accuracies on 100 images, at most 0.9 % collapsed by chance. Requires
    `FEWEST_CHECKPOINTS` with the score. If the training accuracy does not collapse, `overfitting` reports it.
    """
    collapses = _collapses(tables)
    if not collapses:
        return
    worst, others = collapses[0], collapses[1:]
    accurate = is_accuracy(worst.score.name)
    fell, best, far = ("fell", "best", "lower by a third") if accurate else ("rose", "lowest", "three times as high")
    kept = f", and has been {far} or more since {place(tables, worst.since)}" if worst.since < worst.end else ""
    likewise = "".join(
        f"; so did {other.score.words}, from {other.level(other.best)} to {other.level(other.end)}" for other in others
    )
    yield Draft(
        "warning",
        f"{worst.score.words} {fell} from its {best}, {worst.level(worst.best)} at {place(tables, worst.best)}, to "
        f"{worst.level(worst.end)} at {place(tables, worst.end)}{kept}{likewise}. The last checkpoint "
        f"before the collapse is that of {place(tables, worst.before)}. Possible causes are a learning rate that is "
        "too high, damaged data, and an error in the evaluation.",
        places=[worst.best, worst.since, worst.end],
        evidence={
            "best": {fallen.score.name: float(fallen.score.values[fallen.best]) for fallen in collapses},
            "end": {fallen.score.name: float(fallen.score.values[fallen.end]) for fallen in collapses},
            "since": tables.checkpoints[worst.since].name,
        },
    )


def _collapses(tables: Tables) -> list[Collapse]:
    """Return the scores that collapsed, held-out scores first; none if the network memorizes instead."""
    accuracies, collapses = _of_each(
        score_choice.accuracy(tables, trained=False), score_choice.accuracy(tables, trained=True)
    )
    if collapses and (len(collapses) == accuracies or gap_between(tables) is None):
        return collapses
    minimized = score_choice.minimized(tables)
    losses, collapses = _of_each(score_choice.loss(tables, trained=False), minimized)
    return collapses if minimized is not None and len(collapses) == losses else []


def _of_each(*each: Score | None) -> tuple[int, list[Collapse]]:
    """Return how many of the scores exist, and the collapses among them."""
    known = [score for score in each if score is not None]
    return len(known), [collapse for score in known if (collapse := collapse_of(score)) is not None]
