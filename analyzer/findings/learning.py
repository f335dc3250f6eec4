"""How training went, weights and scores together: nothing learned, come to rest, learned by heart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np

from analyzer.findings import scores
from analyzer.findings.registry import rule
from analyzer.findings.scores import Score
from analyzer.findings.series import at_the_end, per_unit, series_of, smoothed, starts, total_series
from analyzer.findings.wording import finding, layers, number, percent, place, plural, span, times, unit
from analyzer.run import Finding, Severity, Tables
from analyzer.scores import is_accuracy

FEWEST_CHECKPOINTS = 6  # with a score, for a trend
NOTHING_POINTS, NOTHING_LOSS = 3.0, 0.03  # percentage points and share of the first loss that count as nothing
AT_REST = 20  # times less than at the peak
REST_INTERVALS, REST_SHARE = 5, 0.2  # at least so many intervals, and this share of them all
FLAT_POINTS, FLAT_LOSS = 1.0, 0.02
LEARNED = 99.0  # training accuracy in per cent at which there is nothing left to learn
GAP_NOTICE, GAP_WARNING = 5.0, 10.0  # percentage points
FALL_POINTS = 3.0  # of test accuracy below its best
GAP_DEVIATIONS = 1.5  # about two of a median of three, so that a small test set makes no gap by chance
FALL_DEVIATIONS = 4  # and so many standard deviations of it from one checkpoint to the next
DEVIATION_PER_CHANGE = 1.4826 / sqrt(2)  # of independent normal values, from the median size of their differences
LOSS_RISE = 0.15  # share of its least value
KAPPA_RISE = 1.25


@rule
def nothing_learned(tables: Tables) -> Iterator[Finding]:
    """Neither accuracy nor loss ever became better than at the first checkpoint.

    Measured here: with a learning rate of 1.5 the accuracy rose by 1.8 points and the loss fell by 1 %, on 2000 test
    images; 3 points and 3 % are called nothing. Needs `FEWEST_CHECKPOINTS` with a test accuracy and a loss.
    """
    accuracy = scores.accuracy(tables, trained=False)
    loss = scores.loss(tables, trained=False) or scores.loss(tables, trained=True)
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
    series = total_series(tables, "relative_step_distance")
    score = scores.accuracy(tables, trained=False) or scores.loss(tables, trained=False)
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
    trained = scores.accuracy(tables, trained=True)
    level = float("nan") if trained is None else at_the_end(trained.values)
    severity: Severity = "info"
    if level >= LEARNED:
        advice = f"The training data are learned ({level:.1f} % right): later epochs cost time and change little."
    elif level < LEARNED:
        severity = "notice"
        advice = (
            f"At a training accuracy of {level:.1f} % this is the end of a schedule, or the learning rate has fallen "
            "too far."
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


@dataclass(frozen=True, slots=True)
class _Gap:
    """How far training accuracy is ahead of test accuracy at the ``end``, in points, and how far the latter fell.

    ``onset`` is the position since when it is ahead by 5 points or more, where it has ``grown`` to that, or since when
    the test accuracy falls.
    """

    test: Score
    train: Score
    end: float
    grown: bool
    onset: int
    fall: float
    best: int


def _gap(tables: Tables) -> _Gap | None:
    """The gap, where it grew to 5 points or more, or the test accuracy fell by 3 while training accuracy rose."""
    test, train = scores.accuracy(tables, trained=False), scores.accuracy(tables, trained=True)
    if test is None or train is None:
        return None
    places = np.flatnonzero(np.isfinite(test.values) & np.isfinite(train.values))
    if len(places) < FEWEST_CHECKPOINTS:
        return None
    tested, ahead = test.values[places], (train.values - test.values)[places]
    gaps, levels = smoothed(ahead), smoothed(tested)
    end, best = at_the_end(ahead), int(np.argmax(levels))
    noise = float(np.median(np.abs(np.diff(tested)))) * DEVIATION_PER_CHANGE
    fall = float(levels[best]) - at_the_end(tested)
    if at_the_end(train.values) <= train.values[places[best]] or fall < max(FALL_POINTS, FALL_DEVIATIONS * noise):
        fall = 0.0
    grown = end - GAP_DEVIATIONS * noise >= GAP_NOTICE and end - float(gaps.min()) >= GAP_NOTICE
    if not grown and not fall:
        return None
    close = np.flatnonzero(gaps < GAP_NOTICE)
    onset = min(int(close[-1]) + 1 if len(close) else 0, len(places) - 1) if grown else best
    return _Gap(test, train, end, grown, int(places[onset]), fall, int(places[best]))


@rule
def overfitting(tables: Tables) -> Iterator[Finding]:
    """The training accuracy runs ahead of the test accuracy, more and more; or the test accuracy falls again.

    Source: Goodfellow, Bengio & Courville, Deep Learning (2016), sec. 5.2 and 7.8. Measured here: healthy runs on 8000
    images ended with gaps of 1.6 to 5.0 points; on 500 images with 17, with 30 % wrong labels with 26; 400
    simulated runs with a test accuracy that scatters by 4 points had none. Needs `FEWEST_CHECKPOINTS` with both
    accuracies.
    """
    gap = _gap(tables)
    if gap is None:
        return
    last = len(tables.checkpoints) - 1
    parts = []
    if gap.grown:
        parts.append(
            f"{gap.train.words} ended {gap.end:.1f} points ahead of {gap.test.words}, and has been ahead by more than "
            f"{GAP_NOTICE:g} points since {place(tables, gap.onset)}"
        )
    if gap.fall:
        best = gap.test.values[gap.best]
        parts.append(
            f"{gap.test.words} was best at {place(tables, gap.best)} ({best:.1f} %) and lost {gap.fall:.1f} "
            "points since"
        )
    rise = _loss_rise(tables)
    if rise is not None:
        parts.append(
            f"{rise.loss.words} was least at {place(tables, rise.place)} and rose by {percent(rise.share)} since"
        )
    stop = rise.place if rise is not None else gap.best if gap.fall else None
    early = f", or stopping near {place(tables, stop)}" if stop is not None else ""
    yield finding(
        tables,
        "overfitting",
        "warning" if gap.end >= GAP_WARNING or gap.fall else "notice",
        f"The network learns its training data by heart (overfitting): {'; '.join(parts)}. More data or augmentation, "
        f"weight decay, dropout{early} are the usual remedies.",
        figure="accuracy",
        places=[gap.onset, last],
        evidence={"gap_points": gap.end, "fall_points": gap.fall, "since": tables.checkpoints[gap.onset].name},
    )


@dataclass(frozen=True, slots=True)
class _Rise:
    loss: Score
    place: int
    least: float
    share: float


def _loss_rise(tables: Tables) -> _Rise | None:
    """A test loss that is well above its least value at the end while the training loss, if known, fell on."""
    test, train = scores.loss(tables, trained=False), scores.loss(tables, trained=True)
    if test is None or np.isfinite(test.values).sum() < FEWEST_CHECKPOINTS:
        return None
    lowest = int(np.nanargmin(test.values))
    least, end = float(test.values[lowest]), at_the_end(test.values)
    if least <= 0 or end < (1 + LOSS_RISE) * least or np.isfinite(test.values[lowest + 1 :]).sum() < 3:
        return None
    if train is not None and not at_the_end(train.values) < train.values[lowest]:
        return None
    return _Rise(test, lowest, least, end / least - 1)


@rule
def test_loss_rises(tables: Tables) -> Iterator[Finding]:
    """The test loss rises again although the accuracies keep together: the network grows too sure of its errors.

    Source: Guo et al., On calibration of modern neural networks (ICML 2017), sec. 3: loss overfits before accuracy
    does. Measured here: runs that still learn ended at most 5 % above the least test loss, those with a training
    accuracy of 100 % 25 to 43 %. `LOSS_RISE`, with a training loss that still falls, lies between. Needs
    `FEWEST_CHECKPOINTS`.
    """
    rise = _loss_rise(tables)
    if rise is None or _gap(tables) is not None:
        return
    yield finding(
        tables,
        "test_loss_rises",
        "notice",
        f"{rise.loss.words.capitalize()} was least at {place(tables, rise.place)} ({number(rise.least)}) and rose by "
        f"{percent(rise.share)} since: the network grows too sure of its wrong answers, an early form of overfitting. "
        "Where probabilities matter, use the weights from there, label smoothing or weight decay.",
        figure="accuracy",
        places=[rise.place, len(tables.checkpoints) - 1],
        evidence={"least": rise.least, "rise": rise.share, "score": rise.loss.name},
    )


@rule
def condition_beside_overfitting(tables: Tables) -> Iterator[Finding]:
    """Layers whose condition number rose while the test accuracy fell behind: said as association only.

    Source: METRICS "Statistics of curves": two drifting series go together by construction, so no cause is claimed.
    Measured here: on 500 images κ of the first layer doubled while the gap grew to 17 points; it also rises in healthy
    runs, so a rise (by a quarter or more) is mentioned only where there is overfitting.
    """
    gap = _gap(tables)
    if gap is None:
        return
    rises: list[tuple[float, str, float, float]] = []
    count = 0
    for series in series_of(tables, "condition_number"):
        known = np.flatnonzero(np.isfinite(series.values) & (series.places >= gap.onset))
        if len(known) < FEWEST_CHECKPOINTS:
            continue
        count += 1
        before, after = float(np.median(series.values[known[:3]])), at_the_end(series.values)
        if after >= KAPPA_RISE * before:
            rises.append((after / before, series.tensor.name, before, after))
    if rises:
        rises.sort(reverse=True)
        most = ", ".join(f"{layers([name])} from {number(a)} to {number(b)}" for _, name, a, b in rises[:3])
        yield finding(
            tables,
            "condition_beside_overfitting",
            "notice",
            f"While {gap.test.words} fell behind, from {span(tables, gap.onset, len(tables.checkpoints) - 1)}, "
            f"the condition number rose in {len(rises)} of {plural(count, 'layer')} ({most}). The two often go "
            "together; this does not say that one causes the other. Weight decay tends to lower both.",
            figure="condition_number",
            tensors=[name for _, name, *_ in rises],
            places=[gap.onset, len(tables.checkpoints) - 1],
            evidence={"rise": {name: ratio for ratio, name, *_ in rises}},
        )
