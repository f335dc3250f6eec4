"""Report scores that were lost: a collapse, a change of the task, values that no accuracy can have."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyzer.findings import score_choice
from analyzer.findings.collapse import LOST_POINTS, Collapse, change_of_task, collapse_of
from analyzer.findings.curves import per_unit, total_curve
from analyzer.findings.overfitting import gap_between
from analyzer.findings.rules import Draft, rule
from analyzer.findings.score_choice import Score
from analyzer.findings.wording import capitalized, number, place, plural, times
from analyzer.model.score_names import is_accuracy
from analyzer.model.tables import Tables

LONG_STEP = 3  # times the step before; such a step is worth a word


@rule("accuracy")
def score_collapses(tables: Tables) -> Iterator[Draft]:
    """Report a score that fell far below its best and stayed there to the end: accuracies first, otherwise losses.

    Measured here: over 20 seeds no accuracy was ever more than 6 % below its best so far, and no loss more than 1 %
    above its lowest. A third of the best (`LOST_SHARE`, `LOST_POINTS`) and three times the lowest (`LOSS_FACTOR`,
    `REGAINED`) are chosen far beyond these. The fall must also exceed `COLLAPSE_DEVIATIONS` standard deviations between
    neighboring checkpoints: of 3000 simulated accuracies on 100 images, at most 0.9 % collapsed by chance. Requires
    `FEWEST_CHECKPOINTS` with the score. If the training accuracy does not collapse, `overfitting` reports it.
    """
    fallen = collapses(tables)
    if not fallen:
        return
    worst, others = fallen[0], fallen[1:]
    accurate = is_accuracy(worst.score.name)
    fell, best, far = ("fell", "best", "lower by a third") if accurate else ("rose", "lowest", "three times as high")
    kept = f", and has been {far} or more since {place(tables, worst.since)}" if worst.since < worst.end else ""
    likewise = "".join(
        f"; so did {other.score.words}, from {other.level(other.best)} to {other.level(other.end)}" for other in others
    )
    yield Draft(
        "warning",
        f"{capitalized(worst.score.words)} {fell} from its {best}, {worst.level(worst.best)} at "
        f"{place(tables, worst.best)}, to {worst.level(worst.end)} at {place(tables, worst.end)}{kept}{likewise}. "
        f"The last checkpoint before the collapse is that of {place(tables, worst.before)}. Possible causes "
        "are a learning rate that is too high, damaged data, and an error in the evaluation.",
        places=[worst.best, worst.since, worst.end],
        evidence={
            "best": {one.score.name: float(one.score.values[one.best]) for one in fallen},
            "end": {one.score.name: float(one.score.values[one.end]) for one in fallen},
            "since": tables.checkpoints[worst.since].name,
        },
    )


def collapses(tables: Tables) -> list[Collapse]:
    """Return the scores that collapsed, held-out scores first; none if the network memorizes or the task changed."""
    if change_of_task(tables) is not None:
        return []
    accuracies, found = _of_each(
        score_choice.accuracy(tables, trained=False), score_choice.accuracy(tables, trained=True)
    )
    if found and (len(found) == accuracies or gap_between(tables) is None):
        return found
    minimized = score_choice.minimized(tables)
    losses, found = _of_each(score_choice.loss(tables, trained=False), minimized)
    return found if minimized is not None and len(found) == losses else []


def _of_each(*each: Score | None) -> tuple[int, list[Collapse]]:
    """Return how many of the scores exist, and the collapses among them."""
    known = [score for score in each if score is not None]
    return len(known), [collapse for score in known if (collapse := collapse_of(score)) is not None]


@rule("accuracy")
def task_changes(tables: Tables) -> Iterator[Draft]:
    """Report a score on held-out data that is lost at once, while the score on training data holds or starts anew.

    Overfitting is gradual, and a network that falls apart loses both. Half of the fall (`SUDDEN`) in one interval, or a
    sudden fall of the training score that recovers, is a change of the training data or the task, or of the data that
    the score is computed on. Where the training accuracy starts anew, `LOST_ANEW` points lost to the end are enough.
    The sentence also says how much longer the step of the weights was there.

    Measured here: in `p_forget` of the shared trainings, where digits 5-9 replaced 0-4 at epoch 16, the test accuracy
    fell from 96.6 to 0 % in one interval and the step was 35 times as long; with 40 % wrong labels no interval had more
    than a fifth of the fall. In ten trainings that went on with permuted pixels (`tests/benchmarks/planted_series.py`)
    the training accuracy fell at once by 21 to 57 points and regained at least 87 % of that, while the test accuracy
    lost 5 points to the end or more. Source: McCloskey & Cohen, Catastrophic interference (1989), on networks that
    forget a task in learning another one.
    """
    fall = change_of_task(tables)
    if fall is None:
        return
    accurate = is_accuracy(fall.score.name)
    train = (score_choice.accuracy if accurate else score_choice.loss)(tables, trained=True)
    after = Collapse(train, fall.before, fall.before, fall.since, fall.end) if train is not None else fall
    known = np.flatnonzero(np.isfinite(after.score.values))
    level = after.level(int(known[-1]))
    restarts = accurate and after.score.values[fall.before] - after.score.values[fall.since] >= LOST_POINTS
    anew = f"fell from {after.level(fall.before)} to {after.level(fall.since)} there and " if restarts else ""
    fell = fall.score.values[fall.since] <= fall.score.values[fall.before]
    moved = _step_ratio(tables, fall.since)
    weights = f" The weights moved {times(moved)} as far there as in the interval before." if moved >= LONG_STEP else ""
    yield Draft(
        "warning",
        f"{capitalized(fall.score.words)} {'fell' if fell else 'rose'} from {fall.level(fall.before)} at "
        f"{place(tables, fall.before)} to {fall.level(fall.since)} at {place(tables, fall.since)} and is "
        f"{fall.level(fall.end)} at {place(tables, fall.end)}, while {after.score.words} {anew}is {level} "
        f"at {place(tables, int(known[-1]))}.{weights} This is no overfitting: the training data or the task changed "
        f"there, or the data of {fall.score.words}.",
        places=[fall.before, fall.since, fall.end],
        evidence={
            "since": tables.checkpoints[fall.since].name,
            "before": float(fall.score.values[fall.before]),
            "after": float(fall.score.values[fall.since]),
            "times_as_far": moved,
        },
    )


def _step_ratio(tables: Tables, position: int) -> float:
    """Return how many times as far the weights moved per unit into a checkpoint as into the last one, 0 if unknown."""
    series = total_curve(tables, "step_distance")
    if series is None:
        return 0.0
    rates = per_unit(tables, series)
    here, before = (rates[series.places == spot] for spot in (position, position - 1))
    return float(here[0] / before[0]) if len(here) and len(before) and here[0] > 0 and before[0] > 0 else 0.0


@rule("accuracy")
def impossible_accuracy(tables: Tables) -> Iterator[Draft]:
    """Report accuracies below 0 or above 100 %, which no count of right answers gives; the rules leave them out.

    Source: the definition of an accuracy. Whether it is recorded as a share or in percent is told by its values
    (`score_choice.is_percentage`). Less than a point beyond (`SLIGHTLY`, chosen) is rounding, or a score that is
    adjusted for chance: information.
    """
    for name, places in score_choice.impossible(tables).items():
        values = tables.scalars[name]
        known, first = int(np.isfinite(values).sum()), int(places[0])
        scale = "0 to 100" if score_choice.is_percentage(tables, name) else "0 to 1"
        slight = score_choice.is_slight(tables, name, places)
        why = "Rounding does this, or a score that is no plain accuracy" if slight else "Look at how it is computed"
        yield Draft(
            "info" if slight else "warning",
            f"{capitalized(name.replace('_', ' '))} is {'slightly ' if slight else ''}outside {scale} in "
            f"{len(places)} of {plural(known, 'value')}, first {number(float(values[first]))} at "
            f"{place(tables, first)}, which no accuracy is. These values are left out of the findings. {why}.",
            places=places,
            evidence={"score": name, "values": {tables.checkpoints[int(at)].name: float(values[at]) for at in places}},
            apart=True,
        )
