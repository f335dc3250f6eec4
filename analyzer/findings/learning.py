"""How training went, weights and scores together: nothing learned, come to rest, fallen from its best."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyzer.findings import score_choice
from analyzer.findings.collapse import Collapse, collapse_of
from analyzer.findings.curves import at_the_end, per_unit, starts, total_curve
from analyzer.findings.overfitting import gap_between
from analyzer.findings.rules import rule
from analyzer.findings.score_choice import FEWEST_CHECKPOINTS, Score
from analyzer.findings.wording import finding, number, percent, place, span, times, unit
from analyzer.model.run import Finding, Severity, Tables
from analyzer.model.score_names import is_accuracy

NOTHING_POINTS, NOTHING_LOSS = 3.0, 0.03  # percentage points and share of the first loss that count as nothing
AT_REST = 20  # times less than at the peak
REST_INTERVALS, REST_SHARE = 5, 0.2  # at least so many intervals, and this share of them all
FLAT_POINTS, FLAT_LOSS = 1.0, 0.02
LEARNED = 99.0  # training accuracy in per cent at which there is nothing left to learn


@rule
def nothing_learned(tables: Tables) -> Iterator[Finding]:
    """Neither accuracy nor loss ever became better than at the first checkpoint.

    Measured here: with a learning rate of 1.5 the accuracy rose by 1.8 points and the loss fell by 1 %, on 2000 test
    images; 3 points and 3 % are called nothing. Needs `FEWEST_CHECKPOINTS` with a test accuracy and a loss.
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
        yield finding(
            tables,
            "nothing_learned",
            "warning",
            f"The network learned next to nothing: {accuracy.words} was {known[0]:.1f} % at first and "
            f"{known.max():.1f} % at best, {loss.words} {losses[0]:.4g} at first and {losses.min():.4g} at "
            "best. Try another learning rate (often a lower one) or initialisation, and check the labels.",
            figure="accuracy",
            evidence={"best_accuracy_points": float(known.max()), "best_loss": float(losses.min())},
        )


@rule
def training_at_rest(tables: Tables) -> Iterator[Finding]:
    """The weights move far less than at their own peak, up to the end, while the score is flat.

    Measured here: healthy runs of 50 epochs that still learn ended 5 to 18 times below their peak, those with a
    training accuracy of 100 % 180 to 560 times. `AT_REST` lies between. Needs 5 intervals, and a fifth of the run,
    in which the test accuracy stays within one point (without one, a loss within 2 %).
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
    severity: Severity = "info"
    if level >= LEARNED:
        advice = f"The training data are learned (about {level:.1f} % right): later epochs cost time and change little."
    elif level < LEARNED:
        severity = "notice"
        advice = (
            f"At a training accuracy of about {level:.1f} % this is the end of a schedule, or the learning rate has "
            "fallen too far."
        )
    else:
        advice = "Either all is learned, or a schedule ended, or the learning rate has fallen too far."
    yield finding(
        tables,
        "training_at_rest",
        severity,
        f"The weights came to rest: they moved {percent(calm)} of their norm per {unit(tables)} from "
        f"{span(tables, start, end)}, {times(float(rates[peak]) / calm) if calm else 'infinitely'} less than at the "
        f"peak at {place(tables, int(series.places[peak]))}, while {score.words} stayed within {stayed}. {advice}",
        figure="step_distance",
        places=[start, end],
        evidence={"relative_rate": calm, "peak_rate": float(rates[peak]), "score": score.name, "spread": spread},
    )


def _flat(score: Score, start: int) -> bool:
    """Whether the score hardly changes from a position to the end; it must be known there more than once."""
    known = score.values[start:][np.isfinite(score.values[start:])]
    if len(known) < 2:
        return start >= len(score.values) - 2  # the last step alone has nothing to compare yet
    spread = float(known.max() - known.min())
    return spread <= (FLAT_POINTS if is_accuracy(score.name) else FLAT_LOSS * abs(float(known[0])))


@rule
def score_collapses(tables: Tables) -> Iterator[Finding]:
    """A score that fell far below its best and is there at the end: accuracies, else losses.

    Measured here: over 20 seeds no accuracy was ever more than 6 % below its best so far, and no loss 1 % above its
    least; a third of the best (`LOST_SHARE`, `LOST_POINTS`) and three times the least (`LOSS_FACTOR`, `REGAINED`) are
    chosen far beyond. A fall of `COLLAPSE_DEVIATIONS` standard deviations from one checkpoint to the next is asked for
    besides: of 3000 simulated accuracies on 100 images up to 0.9 % collapsed by chance. Needs `FEWEST_CHECKPOINTS` with
    the score. Where the training accuracy holds, `overfitting` tells it.
    """
    collapses = _collapses(tables)
    if not collapses:
        return
    worst, others = collapses[0], collapses[1:]
    accurate = is_accuracy(worst.score.name)
    fell, best, far = ("fell", "best", "lower by a third") if accurate else ("rose", "least", "three times as high")
    kept = f", and has been {far} or more since {place(tables, worst.since)}" if worst.since < worst.end else ""
    likewise = "".join(
        f"; so did {one.score.words}, from {one.level(one.best)} to {one.level(one.end)}" for one in others
    )
    yield finding(
        tables,
        "score_collapses",
        "warning",
        f"{worst.score.words} {fell} from its {best}, {worst.level(worst.best)} at {place(tables, worst.best)}, to "
        f"{worst.level(worst.end)} at {place(tables, worst.end)}{kept}{likewise}. A learning rate that is too high, "
        f"damaged data or a fault of the evaluation do this; the last checkpoint before it is that of "
        f"{place(tables, worst.before)}.",
        figure="accuracy",
        places=[worst.best, worst.since, worst.end],
        evidence={
            "best": {one.score.name: float(one.score.values[one.best]) for one in collapses},
            "end": {one.score.name: float(one.score.values[one.end]) for one in collapses},
            "since": tables.checkpoints[worst.since].name,
        },
    )


def _collapses(tables: Tables) -> list[Collapse]:
    """The scores that collapsed, those on data held out first; none where it is learning by heart."""
    accuracies, told = _of_each(
        score_choice.accuracy(tables, trained=False), score_choice.accuracy(tables, trained=True)
    )
    if told and (len(told) == accuracies or gap_between(tables) is None):
        return told
    lowered = score_choice.minimised(tables)
    losses, told = _of_each(score_choice.loss(tables, trained=False), lowered)
    return told if lowered is not None and len(told) == losses else []


def _of_each(*each: Score | None) -> tuple[int, list[Collapse]]:
    """How many of the scores there are, and their collapses."""
    known = [one for one in each if one is not None]
    return len(known), [collapse for one in known if (collapse := collapse_of(one)) is not None]
