"""Report places from which on the weights take steps of another length: another optimizer, a restart, a schedule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analyzer.findings.collapse import change_of_task
from analyzer.findings.curves import PARAMETERS, curves_of, interval_lengths, total_curve
from analyzer.findings.norms import exploding
from analyzer.findings.rules import Draft, rule
from analyzer.findings.steps import spikes_in
from analyzer.findings.wording import layers, number, place, places, times
from analyzer.model.run import PRODUCT, Severity
from analyzer.model.tables import Tables

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

WINDOW = 4  # steps on each side of a change
LASTS = 12  # steps, as far as there are so many, in whose median the shares of layers must have changed, too
FACTOR = 2  # by which steps, or the shares of layers in them, change
OUTSTANDING_FACTOR = 1.75  # enough for shares whose change stands out
OUTSTANDING, NEAR = 4.5, 7  # times the usual change of shares between neighbors, in 7 intervals on each side
MUCH = 10  # times as long; such a rise beyond all steps before is a warning
WARM_UP = 1 / 3  # of the run, in which a schedule may begin with small steps
ROUGHNESS = 2  # times the largest deviation from the trend between neighbors, which a change must exceed
NOTABLE = 1.2  # times as long or short, compared with the median layer, from which on a layer is named
ALIKE = 1.5  # times the longest step before; a rise up to there may be a schedule that starts again
EXPONENTS = (0.0, 0.5, 1.0)  # of an interval's length in the distance covered: at rest, by chance, in one direction


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of the length of steps.

    Attributes:
        start: position of the checkpoint before the first step of another length.
        end: position of the checkpoint after it.
        ratio: of the typical step after to that before; 1 where only the layers' shares of the motion change.
        is_usual: whether a schedule does this: a fall, or a rise that is lost again or repeats, to no more than before.
        exceeds: of a rise, how many times as long the typical step after is as the longest one before.
        shares: how many times as long the steps of each layer became compared with the median layer, if these differ.
    """

    start: int
    end: int
    ratio: float
    is_usual: bool
    exceeds: float
    shares: dict[str, float]


@rule("step_distance")
def step_length_changes(tables: Tables) -> Iterator[Draft]:
    """Report that from one step to the next, steps became `FACTOR` times as long or short, and those after them, too.

    The medians of the `WINDOW` steps before and after are compared, without the trend on both sides. The difference
    must exceed `ROUGHNESS` times what neighbors on one side deviate from the trend: warm-up, one-cycle and cosine
    schedules change gradually, and one long step is `motion_spike`. All steps after are longer than all before (or
    shorter), and half of the change is in one step. How far weights get in an interval grows with its length, in
    proportion or less, so a change must be there for each of `EXPONENTS`: a long gap is no change. A fall of all layers
    alike is a schedule's step, and a rise to a length that was there before and is lost again a schedule that restarts:
    both are information. The layers' shares of the motion change with the optimizer; a learning rate changes all of
    them alike. Any other rise is a notice, and a warning from `MUCH` times on, beyond all steps before, if it comes
    later than a warm-up. The update of an adapter is a product, which does not move as its factors do, and has no
    share. Where less than half of the tensors jump, `norm_jumps_for_good` or `motion_spike` reports it.

    Measured here: see `docs/metrics.md`, "Findings about scores and steps": of 30 trainings with another optimizer or a
    higher learning rate from some epoch on (`tests/benchmarks/planted_series.py`) 29 were found at the right place; 41
    healthy ones (`tests/benchmarks/healthy_trainings.py`, four shared ones) had no more than information. In a healthy
    autoencoder the steps of the narrowest layer doubled for four epochs, which is why the shares must change for
    longer. Where the optimizer changed, nine of ten times the change of shares was 4.7 to 14 times the usual one
    between neighbors, in healthy trainings at most 3.5 times where it lasted (`OUTSTANDING` is chosen on these). In
    `p_optswitch` of the shared trainings (Adam to SGD) the total changed by a third only, but the steps of the first
    layer became 4 times as short compared with the last.
    """
    if exploding(tables):
        return  # the steps of a layer that explodes outweigh all others
    changes = [one for one in _changes(tables) if not (_is_explained(tables, one) or _follows_jump(tables, one))]
    for one in changes:
        if one.shares or not one.is_usual:
            yield _draft(tables, one)
    usual = [one for one in changes if one.is_usual and not one.shares]
    for rises, words in ((False, "shorter"), (True, "as long")):
        alike = [one for one in usual if (one.ratio > 1) == rises]
        if alike:
            why = (
                "for a while, as with a schedule that restarts"
                if rises
                else "as with a schedule that falls in steps, or once all training data is learned"
            )
            yield Draft(
                "info",
                f"The steps of the weights became {_factors(alike)} {words} at "
                f"{places(tables, [one.end for one in alike])}, in all layers alike, {why}.",
                places=sorted({position for one in alike for position in (one.start, one.end)}),
                evidence=_evidence(tables, alike),
                apart=True,
            )


def _is_explained(tables: Tables, change: _Change) -> bool:
    """Check whether `task_changes` reports the place: new data bring about long steps."""
    task = change_of_task(tables)
    return task is not None and change.end == task.since


def _follows_jump(tables: Tables, change: _Change) -> bool:
    """Check whether some tensors, but less than half of them, jump at the place: what follows is no optimizer's doing.

    Where a bias is moved or a matrix loses its rank, the network learns in other steps afterwards.
    """
    series = list(curves_of(tables, "step_distance", PARAMETERS))
    jumps = sum(bool(spikes_in(tables, one)[one.places == change.end].any()) for one in series)
    return 0 < 2 * jumps < len(series)


def _draft(tables: Tables, change: _Change) -> Draft:
    """Report one change that no usual schedule explains."""
    ratio, shares = change.ratio, change.shares
    share = (tables.axis[change.end] - tables.axis[0]) / (tables.axis[-1] - tables.axis[0])
    beyond = ratio >= MUCH and change.exceeds >= FACTOR and share > WARM_UP
    severity: Severity = "warning" if beyond else "notice"
    parts = [f"the steps of the weights are {'spread differently over the layers' if ratio == 1 else _times(ratio)}"]
    why = "A higher learning rate, another optimizer, or a restart does this."
    if shares:
        ends = (max(shares, key=shares.__getitem__), min(shares, key=shares.__getitem__))
        named = [name for name in ends if abs(log(shares[name])) >= log(NOTABLE)]
        compared = " and ".join(f"those of {layers([name])} are {_times(shares[name])}" for name in named)
        parts.append(f"compared with the median layer, {compared}")
        why = (
            "Probably the optimizer was exchanged there, or the learning rates of some layers; a learning-rate "
            "schedule changes all layers alike."
        )
    happened = f"Something changed in the training after {place(tables, change.start)}: from there on"
    return Draft(
        severity,
        f"{happened}, {'; '.join(parts)}. {why}",
        tensors=list(shares),
        places=[change.start, change.end],
        evidence=_evidence(tables, [change]),
    )


def _times(ratio: float) -> str:
    return f"{times(ratio)} as long" if ratio >= 1 else f"{times(1 / ratio)} as short"


def _factors(changes: Sequence[_Change]) -> str:
    """Return the factors of changes in one direction: "9.8 times" or "3.1 to 10 times"."""
    sizes = sorted(max(one.ratio, 1 / one.ratio) for one in changes)
    if len(sizes) == 1 or times(sizes[0]) == times(sizes[-1]):
        return times(sizes[0])
    return f"{number(float(f'{sizes[0]:.2g}'))} to {times(sizes[-1])}"


def _evidence(tables: Tables, changes: Sequence[_Change]) -> dict[str, object]:
    """Return the places, the ratios and, where layers differ, their shares."""
    return {
        "since": [tables.checkpoints[one.end].name for one in changes],
        "ratio": [one.ratio for one in changes],
        **({"compared_with_median": changes[0].shares} if changes[0].shares else {}),
    }


def _changes(tables: Tables) -> list[_Change]:
    """Return the changes of a run in order."""
    total = total_curve(tables, "step_distance")
    if total is None:
        return []
    lengths = interval_lengths(tables, total)
    known = np.flatnonzero((total.values > 0) & (lengths > 0) & ~spikes_in(tables, total))
    if len(known) < 2 * WINDOW:
        return []
    steps = np.log(total.values[known]) - np.outer(EXPONENTS, np.log(lengths[known]))  # (exponents, steps)
    names, relative = _compared(tables, total.places[known])
    changes: list[_Change] = []
    latest = -WINDOW
    for at in range(WINDOW, len(known) - WINDOW + 1):
        level, shares = _level(steps, at, log(FACTOR)), _shares(names, relative, at)
        if at - latest < WINDOW or not (level or shares):
            continue
        exceeds = float(np.median(steps[1, at : at + WINDOW]) - steps[1, :at].max())
        again = level > 0 and _repeats(changes)
        usual = level < 0 or (level > 0 and exp(exceeds) < ALIKE and (_returns(steps[1], at) or again))
        first = known[at - 1] + 1  # where a spike is left out, the change begins with it
        if first < known[at] and usual and not shares:
            continue  # nothing but that spike
        ends = int(total.places[first - 1]), int(total.places[first])
        changes.append(_Change(*ends, exp(level), usual, exp(exceeds), {} if usual and again else shares))
        latest = at
    return changes


def _repeats(changes: Sequence[_Change]) -> bool:
    """Check whether there was a usual rise before."""
    return any(one.is_usual and one.ratio > 1 for one in changes)


def _compared(tables: Tables, places: npt.NDArray[np.intp]) -> tuple[list[str], FloatArray]:
    """Return the matrices, and the logarithms (matrices, steps) of their steps over those of the median matrix."""
    series = [one for one in curves_of(tables, "step_distance") if one.tensor.rule != PRODUCT]
    rows = np.full((len(series), len(tables.checkpoints)), np.nan)
    for row, one in zip(rows, series, strict=True):
        moved = one.values > 0
        row[one.places[moved]] = np.log(one.values[moved])
    rows = rows[:, places]
    whole = np.isfinite(rows).all(axis=0) if len(rows) else np.zeros(len(places), dtype=bool)
    middle = np.where(whole, np.median(rows, axis=0) if len(rows) else np.nan, np.nan)
    return [one.tensor.name for one in series], rows - middle


def _level(rows: FloatArray, at: int, least: float) -> float:
    """Return by how much logarithms (rows, steps) change at a step, the least of all rows; 0 if that is no change.

    Args:
        rows: logarithms of the lengths of steps.
        at: index of the first step after the change.
        least: by how much they must change.
    """
    before, after = rows[:, at - WINDOW : at], rows[:, at : at + WINDOW]
    within = np.stack((np.diff(before, axis=1), np.diff(after, axis=1)))  # (sides, rows, steps - 1)
    slopes = np.median(within, axis=2)
    level = np.median(after, axis=1) - np.median(before, axis=1) - WINDOW * slopes.mean(axis=0)
    rough = np.abs(within - slopes[:, :, np.newaxis]).max(axis=(0, 2))
    sign = float(np.sign(level[0]))
    apart = (sign * after).min(axis=1) > (sign * before).max(axis=1)
    is_sudden = sign * (after[:, 0] - before[:, -1]) >= sign * level / 2
    enough = sign * level >= np.maximum(least, ROUGHNESS * rough)
    # Where a value is missing, NaN compares as False.
    return sign * float(np.abs(level).min()) if (apart & is_sudden & enough).all() else 0.0


def _shares(names: Sequence[str], rows: FloatArray, at: int) -> dict[str, float]:
    """Return by what factor each layer's steps changed at a step compared with the median layer; none if too little.

    The two layers that changed most in opposite directions must depart from each other as :func:`_level` demands, and
    still do so in the median of `LASTS` steps: a layer in which a unit begins to learn is ahead for a few steps. A
    change far beyond those between the neighbors around it needs to be `OUTSTANDING_FACTOR` only.
    """
    moved = np.median(rows[:, at : at + WINDOW], axis=1) - np.median(rows[:, at - WINDOW : at], axis=1)
    known = np.flatnonzero(np.isfinite(moved))
    if len(known) < 2:
        return {}
    most, least = known[np.argmax(moved[known])], known[np.argmin(moved[known])]
    apart = rows[most] - rows[least]
    lasting = float(np.nanmedian(apart[at : at + LASTS]) - np.nanmedian(apart[at - WINDOW : at]))
    enough = log(OUTSTANDING_FACTOR if _stands_out(apart, at) else FACTOR)
    if min(moved[most] - moved[least], lasting) < enough or _level(apart[np.newaxis], at, enough) <= 0:
        return {}
    return {names[int(row)]: exp(float(moved[row])) for row in known}


def _stands_out(apart: FloatArray, at: int) -> bool:
    """Check whether a difference (steps) changes far more into a step than between the other neighbors around it."""
    first = max(0, at - 1 - NEAR)
    around = np.diff(apart[first : at + NEAR])
    changes = np.abs(around - np.nanmedian(around))
    others = np.delete(changes, at - 1 - first)
    return bool(changes[at - 1 - first] >= OUTSTANDING * np.sqrt(np.nanmean(others**2)))


def _returns(steps: FloatArray, at: int) -> bool:
    """Check whether, after a rise at a step, the length (in the median of three) falls back half of the way."""
    before, after = (float(np.median(steps[part])) for part in (slice(at - WINDOW, at), slice(at, at + WINDOW)))
    later = np.median(np.lib.stride_tricks.sliding_window_view(steps[at:], 3), axis=1)
    return bool(later.min() <= (before + after) / 2)
