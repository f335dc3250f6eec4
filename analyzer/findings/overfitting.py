"""Report overfitting: training accuracy that runs ahead, test scores that get worse again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analyzer.findings import score_choice
from analyzer.findings.collapse import collapse_of
from analyzer.findings.curves import at_the_end, curves_of, deviation, smoothed
from analyzer.findings.rules import Draft, rule
from analyzer.findings.score_choice import FEWEST_CHECKPOINTS, Score
from analyzer.findings.wording import layers, number, percent, place, plural, span
from analyzer.model.tables import Tables

GAP_NOTICE, GAP_WARNING = 5.0, 10.0  # percentage points
FALL_POINTS = 3.0  # of test accuracy below its best
GAP_DEVIATIONS = 1.5  # about two of a median of three, so that a small test set shows no gap by chance
FALL_DEVIATIONS = 4  # standard deviations between neighboring checkpoints that the fall must exceed as well
LOSS_RISE = 0.15  # share of the lowest test loss
KAPPA_RISE = 1.25  # times the condition number at the onset


@dataclass(frozen=True, slots=True)
class Gap:
    """A training accuracy that is ahead of the test accuracy, or a test accuracy that fell.

    Attributes:
        test: the test accuracy, in percentage points.
        train: the training accuracy, in percentage points.
        end: how far the training accuracy is ahead at the end, in points.
        grown: whether it is ahead by `GAP_NOTICE` or more, and has moved ahead by as much during the run.
        onset: position since when it is that far ahead if the gap has grown, else position of the best test accuracy.
        fall: how far the test accuracy fell below its best, in points; 0 if it did not fall significantly.
        best: position of the best test accuracy.
    """

    test: Score
    train: Score
    end: float
    grown: bool
    onset: int
    fall: float
    best: int


def gap_between(tables: Tables) -> Gap | None:
    """Return the gap if it grew to 5 points or more, or if the test accuracy fell by 3 while training accuracy rose.

    Returns:
        None if there is no such gap, or if the training accuracy collapsed: a network that forgets does not memorize.
    """
    test, train = score_choice.accuracy(tables, trained=False), score_choice.accuracy(tables, trained=True)
    if test is None or train is None or collapse_of(train) is not None:
        return None
    places = np.flatnonzero(np.isfinite(test.values) & np.isfinite(train.values))
    if len(places) < FEWEST_CHECKPOINTS:
        return None
    tested, ahead = test.values[places], (train.values - test.values)[places]
    gaps, levels = smoothed(ahead), smoothed(tested)
    end, best = at_the_end(ahead), int(np.argmax(levels))
    noise = deviation(tested)
    fall = float(levels[best]) - at_the_end(tested)
    if at_the_end(train.values) <= train.values[places[best]] or fall < max(FALL_POINTS, FALL_DEVIATIONS * noise):
        fall = 0.0
    grown = end - GAP_DEVIATIONS * noise >= GAP_NOTICE and end - float(gaps.min()) >= GAP_NOTICE
    if not grown and not fall:
        return None
    close = np.flatnonzero(gaps < GAP_NOTICE)
    onset = min(int(close[-1]) + 1 if len(close) else 0, len(places) - 1) if grown else best
    return Gap(test, train, end, grown, int(places[onset]), fall, int(places[best]))


@rule("accuracy")
def overfitting(tables: Tables) -> Iterator[Draft]:
    """Report that the training accuracy moves ahead of the test accuracy, or that the test accuracy falls again.

    Source: Goodfellow, Bengio & Courville, Deep Learning (2016), sec. 5.2 and 7.8. Measured here: healthy runs on 8000
    images ended with gaps of 1.6 to 5.0 points, runs on 500 images with 17, runs with 30 % wrong labels with 26; 400
    simulated runs with a test accuracy that scatters by 4 points had none. Requires `FEWEST_CHECKPOINTS` with both
    accuracies.
    """
    gap = gap_between(tables)
    if gap is None:
        return
    last = len(tables.checkpoints) - 1
    parts = []
    if gap.grown:
        parts.append(
            f"{gap.train.words} ended about {gap.end:.1f} points ahead of {gap.test.words}, and has been ahead by more "
            f"than {GAP_NOTICE:g} points since {place(tables, gap.onset)}"
        )
    if gap.fall:
        best = gap.test.values[gap.best]
        parts.append(
            f"{gap.test.words} was best at {place(tables, gap.best)} ({best:.1f} %) and has lost about {gap.fall:.1f} "
            "points since"
        )
    rise = _loss_rise(tables)
    if rise is not None:
        parts.append(
            f"{rise.loss.words} was lowest at {place(tables, rise.place)} and has risen by about {percent(rise.share)} "
            "since"
        )
    stop = rise.place if rise is not None else gap.best if gap.fall else None
    early = f" Use the weights from near {place(tables, stop)}, or stop there." if stop is not None else ""
    yield Draft(
        "warning" if gap.end >= GAP_WARNING or gap.fall else "notice",
        f"The network memorizes its training data (overfitting): {'; '.join(parts)}.{early}",
        places=[gap.onset, last],
        evidence={"gap_points": gap.end, "fall_points": gap.fall, "since": tables.checkpoints[gap.onset].name},
    )


@dataclass(frozen=True, slots=True)
class _Rise:
    """A test loss that rose, by a share of its lowest value at a place, which is the position among checkpoints."""

    loss: Score
    place: int
    least: float
    share: float


def _loss_rise(tables: Tables) -> _Rise | None:
    """Return the rise of a test loss that ends well above its lowest value while any training loss kept falling."""
    test, train = score_choice.loss(tables, trained=False), score_choice.loss(tables, trained=True)
    if test is None or np.isfinite(test.values).sum() < FEWEST_CHECKPOINTS:
        return None
    lowest = int(np.nanargmin(test.values))
    least, end = float(test.values[lowest]), at_the_end(test.values)
    if least <= 0 or end < (1 + LOSS_RISE) * least or np.isfinite(test.values[lowest + 1 :]).sum() < 3:
        return None
    if train is not None and not at_the_end(train.values) < train.values[lowest]:
        return None
    return _Rise(test, lowest, least, end / least - 1)


@rule("accuracy")
def test_loss_rises(tables: Tables) -> Iterator[Draft]:
    """Report a test loss that rises again while the accuracies stay together: the network becomes overconfident.

    Source: Guo et al., On calibration of modern neural networks (ICML 2017), sec. 3: loss overfits before accuracy
    does. Measured here: runs that still learn ended at most 5 % above the lowest test loss, those with a training
    accuracy of 100 % 25 to 43 %. `LOSS_RISE`, with a training loss that still falls, is between these. Requires
    `FEWEST_CHECKPOINTS`.
    """
    rise = _loss_rise(tables)
    judged = (
        score_choice.accuracy(tables, trained=False),
        score_choice.accuracy(tables, trained=True),
        score_choice.minimized(tables),
    )
    if rise is None or gap_between(tables) is not None or any(map(collapse_of, judged)):
        return
    yield Draft(
        "notice",
        f"{rise.loss.words.capitalize()} was lowest at {place(tables, rise.place)} ({number(rise.least)}) and has "
        f"risen by about {percent(rise.share)} since: the network becomes overconfident in its wrong answers, an early "
        "form of overfitting. If probabilities matter, use the weights from there.",
        places=[rise.place, len(tables.checkpoints) - 1],
        evidence={"least": rise.least, "rise": rise.share, "score": rise.loss.name},
    )


@rule("condition_number")
def condition_beside_overfitting(tables: Tables) -> Iterator[Draft]:
    """Report layers whose condition number rose while the test accuracy fell behind, as an association only.

    Source: docs/metrics.md, "Statistics of curves": two drifting series are associated by construction, so no cause is
    claimed. Measured here: on 500 images κ of the first layer doubled while the gap grew to 17 points; it also rises in
    healthy runs, so a rise (by a quarter or more) is reported only together with overfitting.
    """
    gap = gap_between(tables)
    if gap is None:
        return
    rises: list[tuple[float, str, float, float]] = []
    count = 0
    for series in curves_of(tables, "condition_number"):
        known = np.flatnonzero(np.isfinite(series.values) & (series.places >= gap.onset))
        if len(known) < FEWEST_CHECKPOINTS:
            continue
        count += 1
        before, after = float(np.median(series.values[known[:3]])), at_the_end(series.values)
        if after >= KAPPA_RISE * before:
            rises.append((after / before, series.tensor.name, before, after))
    if rises:
        rises.sort(reverse=True)
        most = ", ".join(f"{layers([name])} from about {number(a)} to about {number(b)}" for _, name, a, b in rises[:3])
        yield Draft(
            "notice",
            f"While {gap.test.words} fell behind, from {span(tables, gap.onset, len(tables.checkpoints) - 1)}, "
            f"the condition number rose in {len(rises)} of {plural(count, 'layer')} ({most}). The two often "
            "occur together; this does not show that one causes the other.",
            tensors=[name for _, name, *_ in rises],
            places=[gap.onset, len(tables.checkpoints) - 1],
            evidence={"rise": {name: ratio for ratio, name, *_ in rises}},
        )
