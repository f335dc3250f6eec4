"""Report overfitting: training accuracy that runs ahead, test scores that get worse again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analyzer.findings import score_choice
from analyzer.findings.collapse import change_of_task, collapse_of
from analyzer.findings.curves import at_the_end, curves_of, deviation, largest_recovered_fall, smoothed
from analyzer.findings.rules import Draft, rule
from analyzer.findings.score_choice import FEWEST_CHECKPOINTS, Score
from analyzer.findings.wording import layers, number, percent, place, plural, span
from analyzer.model.tables import Tables

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

GAP_NOTICE, GAP_WARNING = 5.0, 15.0  # percentage points
FALL_POINTS = 3.0  # of test accuracy below its best
GAP_DEVIATIONS = 1.5  # about two of a median of three, so that a small test set shows no gap by chance
FALL_DEVIATIONS = 4  # standard deviations between neighboring checkpoints that the fall must exceed as well
SWINGS = 1.5  # times the largest fall from which the score recovered before
LEARNED = 99.0  # training accuracy in percent at which a gap that was always there counts
CHANCE_POINTS = 3.0  # above its first value, a test accuracy is still at chance
LOSS_RISE = 0.15  # share of the lowest test loss
KAPPA_RISE = 1.25  # times the condition number at the onset


@dataclass(frozen=True, slots=True)
class Gap:
    """A training accuracy that is ahead of the test accuracy, or a test accuracy that fell.

    All positions and values are those of single checkpoints; whether there is a gap is judged by medians.

    Attributes:
        test: the test accuracy, in percentage points.
        train: the training accuracy, in percentage points.
        ahead: by how many points the training accuracy is ahead at `last`.
        grown: whether it is ahead by `GAP_NOTICE` or more and moved ahead during the run, or the data is learned.
        onset: position since when it is that far ahead without a break if the gap has grown, else that of the best test
            accuracy.
        last: the last position at which it is that far ahead if the gap has grown, else the last with both accuracies.
        end: the last position with both accuracies.
        fall: how far the test accuracy fell from its best to the end, in points; 0 if it did not fall significantly.
        best: position of the best test accuracy.
    """

    test: Score
    train: Score
    ahead: float
    grown: bool
    onset: int
    last: int
    end: int
    fall: float
    best: int

    @property
    def is_wide(self) -> bool:
        """Whether the gap is a warning rather than what most networks have that learned all of their data."""
        return self.ahead >= GAP_WARNING or self.fall > 0

    @property
    def is_memorized(self) -> bool:
        """Whether the test accuracy never rose above chance while the training data was learned."""
        known = self.test.values[np.isfinite(self.test.values)]
        return self.grown and self.ahead >= GAP_WARNING and bool(known.max() < known[0] + CHANCE_POINTS)


def gap_between(tables: Tables) -> Gap | None:
    """Return the gap if it grew to 5 points or more, or if the test accuracy fell by 3 while training accuracy rose.

    A gap that was there from the first checkpoint on counts if it is a warning and the training data is learned.

    Returns:
        None if there is no such gap, if the training accuracy collapsed, because a network that forgets does not
        memorize, or if the task changed.
    """
    test, train = score_choice.accuracy(tables, trained=False), score_choice.accuracy(tables, trained=True)
    if test is None or train is None or collapse_of(train) is not None or change_of_task(tables) is not None:
        return None
    places = np.flatnonzero(np.isfinite(test.values) & np.isfinite(train.values))
    if len(places) < FEWEST_CHECKPOINTS:
        return None
    tested, trained = test.values[places], train.values[places]
    best = int(np.argmax(tested))
    fell = _has_fallen(tested, trained)
    wide = trained - tested >= GAP_NOTICE
    grown = bool(wide.any()) and _has_grown(trained, tested)
    if not grown and not fell:
        return None
    last = int(np.flatnonzero(wide)[-1]) if grown else len(places) - 1
    close = np.flatnonzero(~wide[:last])
    onset = (int(close[-1]) + 1 if len(close) else 0) if grown else best
    fall = float(tested[best] - tested[-1]) if fell else 0.0
    ahead = float(trained[last] - tested[last])
    first, until, end, top = (int(places[index]) for index in (onset, last, -1, best))
    return Gap(test, train, ahead, grown, onset=first, last=until, end=end, fall=fall, best=top)


def _has_grown(trained: FloatArray, tested: FloatArray) -> bool:
    """Check whether the training accuracy ends well ahead, and more so than it was at some time."""
    ahead = trained - tested
    end, least = at_the_end(ahead), min(float(smoothed(ahead).min()), float(ahead[0]))
    if end - GAP_DEVIATIONS * deviation(tested) < GAP_NOTICE:
        return False
    return end - least >= GAP_NOTICE or (end >= GAP_WARNING and at_the_end(trained) >= LEARNED)


def _has_fallen(tested: FloatArray, trained: FloatArray) -> bool:
    """Check whether the test accuracy fell from its best, further than it swings, while the training accuracy rose."""
    levels = smoothed(tested)
    best = int(np.argmax(levels))
    fall = float(levels[best]) - at_the_end(tested)
    least = max(FALL_POINTS, FALL_DEVIATIONS * deviation(tested), SWINGS * largest_recovered_fall(levels))
    return at_the_end(trained) > trained[best] and tested[-1] < tested.max() and fall >= least


@rule("accuracy")
def overfitting(tables: Tables) -> Iterator[Draft]:
    """Report that the training accuracy moves ahead of the test accuracy, or that the test accuracy falls again.

    A test accuracy that never rose above chance beside a learned training set was memorized. The place to stop is named
    if the test accuracy fell; if only the loss rose, accuracy and loss point to different places.

    Source: Goodfellow, Bengio & Courville, Deep Learning (2016), sec. 5.2 and 7.8; Power et al., Grokking (2022), on
    networks that generalize long after they have memorized. Measured here: healthy runs on 8000 images ended with gaps
    of 1.6 to 5.0 points, on 2000 images with 10 to 12, runs on 500 images with 17, on 100 images with 38, with 40 %
    wrong labels with 36; 400 simulated runs with a test accuracy that scatters by 4 points had none. Requires
    `FEWEST_CHECKPOINTS` with both accuracies.
    """
    gap = gap_between(tables)
    if gap is None:
        return
    parts = []
    if gap.grown:
        parts.append(_gap_words(tables, gap))
    if gap.fall:
        parts.append(
            f"{gap.test.words} was best at {place(tables, gap.best)} ({gap.test.values[gap.best]:.1f} %) and is "
            f"{gap.test.values[gap.end]:.1f} % at {place(tables, gap.end)}"
        )
    rise = loss_rise(tables)
    if rise is not None:
        parts.append(f"{rise.loss.words} {_rise_words(tables, rise)}")
    if gap.is_memorized:
        advice = (
            f" Nothing that was learned holds for other data: {gap.test.words} was never above "
            f"{np.nanmax(gap.test.values):.1f} %. Causes are too little data, test data of another kind, and a rule "
            "that is found late, if at all (grokking)."
        )
    else:
        advice = f" Use the weights from near {place(tables, gap.best)}, or stop there." if gap.fall else ""
    learned = gap.train.values[gap.last] >= LEARNED or gap.is_wide
    what = "memorizes its training data" if learned else "fits its training data better than other data"
    yield Draft(
        "warning" if gap.is_wide else "notice",
        f"The network {what} (overfitting): {'; '.join(parts)}.{advice}",
        places=[gap.onset, gap.end],
        evidence={
            "gap_points": gap.ahead,
            "fall_points": gap.fall,
            "since": tables.checkpoints[gap.onset].name,
            "best": tables.checkpoints[gap.best].name,
        },
    )


def _gap_words(tables: Tables, gap: Gap) -> str:
    """Say how far the training accuracy is ahead, and since when without a break."""
    trained, tested = gap.train.values[gap.last], gap.test.values[gap.last]
    levels = (
        f"at {place(tables, gap.last)}, {gap.train.words} is {trained:.1f} % and {gap.test.words} {tested:.1f} %, "
        f"{gap.ahead:.1f} points less"
    )
    if gap.onset == gap.last:
        return levels
    if gap.last == gap.end:
        return f"{levels}; it has been behind by {GAP_NOTICE:g} points or more since {place(tables, gap.onset)}"
    return f"{levels}; it was behind by {GAP_NOTICE:g} points or more from {span(tables, gap.onset, gap.last)}"


@dataclass(frozen=True, slots=True)
class Rise:
    """A test loss that rose from its lowest value to its last one; both places are positions among checkpoints."""

    loss: Score
    lowest: int
    end: int

    @property
    def share(self) -> float:
        """By what share of the lowest value it rose."""
        return float(self.loss.values[self.end] / self.loss.values[self.lowest]) - 1


def loss_rise(tables: Tables) -> Rise | None:
    """Return the rise of a test loss that ends well above its lowest value while any training loss kept falling.

    A loss that had risen nearly as far before and had fallen again follows a cyclic schedule, or is noisy.
    """
    test, train = score_choice.loss(tables, trained=False), score_choice.loss(tables, trained=True)
    if test is None or np.isfinite(test.values).sum() < FEWEST_CHECKPOINTS:
        return None
    known = np.flatnonzero(np.isfinite(test.values))
    lowest, last = int(np.nanargmin(test.values)), int(known[-1])
    least, end = float(test.values[lowest]), min(at_the_end(test.values), float(test.values[last]))
    if least <= 0 or end < (1 + LOSS_RISE) * least or np.isfinite(test.values[lowest + 1 :]).sum() < 3:
        return None
    if end - least < SWINGS * largest_recovered_fall(-test.values[known]):
        return None
    if train is not None and not at_the_end(train.values) < train.values[lowest]:
        return None
    return Rise(test, lowest, last)


def _rise_words(tables: Tables, rise: Rise) -> str:
    least, end = (number(float(rise.loss.values[position])) for position in (rise.lowest, rise.end))
    return f"was lowest at {place(tables, rise.lowest)} ({least}) and is {end} at {place(tables, rise.end)}"


@rule("accuracy")
def test_loss_rises(tables: Tables) -> Iterator[Draft]:
    """Report a test loss that rises again while the accuracies stay together: the network becomes overconfident.

    Source: Guo et al., On calibration of modern neural networks (ICML 2017), sec. 3: loss overfits before accuracy
    does. Measured here: runs that still learn ended at most 5 % above the lowest test loss, those with a training
    accuracy of 100 % 25 to 43 %. `LOSS_RISE`, with a training loss that still falls, is between these. Requires
    `FEWEST_CHECKPOINTS`.
    """
    rise = loss_rise(tables)
    judged = (
        score_choice.accuracy(tables, trained=False),
        score_choice.accuracy(tables, trained=True),
        score_choice.minimized(tables),
    )
    if rise is None or gap_between(tables) is not None or change_of_task(tables) is not None:
        return
    if any(map(collapse_of, judged)):
        return
    words = rise.loss.words
    yield Draft(
        "notice",
        f"{words[:1].upper()}{words[1:]} {_rise_words(tables, rise)}, {percent(rise.share)} more: the network becomes "
        "overconfident in its wrong answers, an early form of overfitting. If probabilities matter, use the weights "
        "from there.",
        places=[rise.lowest, rise.end],
        evidence={
            "least": float(rise.loss.values[rise.lowest]),
            "rise": rise.share,
            "score": rise.loss.name,
        },
    )


@rule("condition_number")
def condition_beside_overfitting(tables: Tables) -> Iterator[Draft]:
    """Report layers whose condition number rose while the test accuracy fell behind, as an association only.

    Source: docs/metrics.md, "Statistics of curves": two drifting series are associated by construction, so no cause is
    claimed. Measured here: on 500 images κ of the first layer doubled while the gap grew to 17 points; it also rises in
    healthy runs, so a rise (by a quarter or more) is reported only together with overfitting that is a warning.
    """
    gap = gap_between(tables)
    if gap is None or not gap.is_wide:
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
