"""How the weights move: too little, below what storage shows, in one jump, or to and fro."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analyzer.findings.curves import (
    PARAMETERS,
    count_of,
    curves_of,
    norm_jumps_at,
    per_unit,
    starts,
    stretches,
)
from analyzer.findings.rules import rule
from analyzer.findings.wording import finding, layers, number, percent, place, plural, span, times, unit
from analyzer.model.run import Finding, Tables

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray


HARDLY = 50  # times less than the median layer
FEWEST_INTERVALS = 3
SWINGS = 5  # on end; fewer are over before anyone can act
FEWEST_LAYERS = 3  # for a median of the others
SPIKE = 5  # times the largest of the steps around
AROUND = 3  # steps on each side of a spike
MOST_TOLD = 3  # spikes
RETURN_COSINE = -0.5
OSCILLATION = -0.2
CHANCE_DEVIATIONS = 4  # of the cosine of independent steps, 1/√elements each


@rule
def motion_below_precision(tables: Tables) -> Iterator[Finding]:
    """Steps that storage rounding alone could have brought about.

    Source: METRICS "Storage rounding": below six times the rounding displacement, a step is not told from rounding.
    """
    hidden: dict[str, int] = {}
    steps = 0
    dtypes: list[str] = []
    for series in curves_of(tables, "step_distance", PARAMETERS):
        below = [one == "below_precision" for one in series.statuses]
        count = int(np.count_nonzero(np.array(below, dtype=bool) & (series.stored > 0)))
        if count:
            hidden[series.tensor.name] = count
            steps += int(np.count_nonzero(series.stored > 0))
            dtypes.append(series.tensor.dtype)
    if hidden:
        total = sum(hidden.values())
        yield finding(
            tables,
            "motion_below_precision",
            "notice",
            f"{total} of {plural(steps, 'step')} of {layers(list(hidden))} are smaller than what rounding to "
            f"{' and '.join(dict.fromkeys(dtypes))} can show. Their numbers are those of the stored weights, and no "
            "other finding rests on them; store finer weights, or save less often, to see the true ones.",
            figure="step_distance",
            tensors=list(hidden),
            evidence={"steps": hidden},
        )


@rule
def layer_hardly_moves(tables: Tables) -> Iterator[Finding]:
    """Layers that move far less, in relation to their own norm, than the median of all layers does.

    Measured here: over 20 seeds and 7 initialisations the slowest layer moved a sixth of the median at least; `HARDLY`
    times less, over `FEWEST_INTERVALS` intervals on end, is none of these. Needs `FEWEST_LAYERS` matrices.
    """
    moving = [(series, per_unit(tables, series)) for series in curves_of(tables, "relative_step_distance")]
    rates = np.full((len(moving), len(tables.checkpoints)), np.nan)
    for row, (series, values) in zip(rates, moving, strict=True):
        row[series.places] = values
    known = np.isfinite(rates).sum(axis=0) >= FEWEST_LAYERS
    if not known.any():
        return
    median = np.full(rates.shape[1], np.nan)
    median[known] = np.nanmedian(rates[:, known], axis=0)
    slow: list[tuple[float, str, int, int, float]] = []
    for row, (series, _) in zip(rates, moving, strict=True):
        here = median[series.places]
        its_own = row[series.places]
        still = stretches((its_own > 0) & (its_own * HARDLY < here))  # not where it is exactly frozen
        first, last = max(still, key=lambda ends: ends[1] - ends[0], default=(0, -1))
        if last - first + 1 >= FEWEST_INTERVALS:
            its, others = (float(np.median(one[first : last + 1])) for one in (its_own, here))
            start, end = int(starts(tables, series)[first]), int(series.places[last])
            slow.append((others / its, series.tensor.name, start, end, its))
    if slow:
        slow.sort(reverse=True)
        ratio, worst, start, end, rate = slow[0]
        more = f"; so do {layers([name for _, name, *_ in slow[1:]])}" if len(slow) > 1 else ""
        yield finding(
            tables,
            "layer_hardly_moves",
            "notice",
            f"{layers([worst])} hardly moves: {percent(rate)} of its norm per {unit(tables)} from "
            f"{span(tables, start, end)}, {times(ratio)} less than the median layer{more}. Its gradient is tiny or its "
            "learning rate is; another initialisation, normalisation or a learning rate of its own may wake it.",
            figure="step_distance",
            tensors=[name for _, name, *_ in slow],
            places=[start, end],
            evidence={"times_less": {name: float(one) for one, name, *_ in slow}, "relative_rate": rate},
        )


@dataclass(frozen=True, slots=True)
class _Spike:
    first: int
    last: int
    ratio: float
    name: str
    returns: bool


@rule
def motion_spike(tables: Tables) -> Iterator[Finding]:
    """A step several times as long as each of the three before and after it; or two, there and back.

    Measured here: over 20 seeds no step was more than 1.2 times as long as the longest of those around it; `SPIKE`
    times is a jump. Distances as the figure shows them, for one in relation to the norm grows with what the norm was.
    Needs seven checkpoints. There and back (cosine of the two steps below −0.5) looks like a checkpoint of another run,
    and is a warning. Where the norm jumps too, `norm_jumps` says it.
    """
    damaged = {series.tensor.name: norm_jumps_at(series) for series in curves_of(tables, "rms")}
    turns = {series.tensor.name: series for series in curves_of(tables, "update_cosine")}
    groups: dict[tuple[int, int], list[_Spike]] = {}
    for series in curves_of(tables, "step_distance"):
        rates = per_unit(tables, series)
        for first, last, ratio in _jumps(rates):
            turn = turns.get(series.tensor.name)
            cosines = np.array([]) if turn is None else turn.values[turn.places == series.places[last]]
            returns = last > first and bool((cosines < RETURN_COSINE).any())
            where = (int(series.places[first]), int(series.places[last]))
            if np.isin(series.places[first - 1 : first + 1], damaged.get(series.tensor.name, [])).any():
                continue
            groups.setdefault(where, []).append(_Spike(*where, ratio, series.tensor.name, returns))
    every = count_of(tables, "step_distance")
    jumps = {
        where: spikes
        for where, spikes in groups.items()
        if where[0] == where[1] or any(spike.returns for spike in spikes)
    }
    told = sorted(jumps, key=lambda where: max(spike.ratio for spike in jumps[where]), reverse=True)[:MOST_TOLD]
    for first, last in sorted(told):
        spikes = jumps[first, last]
        returns = any(spike.returns for spike in spikes)
        worst = max(spikes, key=lambda spike: spike.ratio)
        names = [spike.name for spike in spikes]
        who = layers(names, every) if len(names) == 1 or len(names) == every else f"{len(names)} of {every} layers"
        far = f"{times(worst.ratio)} as far per {unit(tables)} as between any of the checkpoints around"
        if len(names) > 1:
            far += f" ({layers([worst.name])})"
        if returns:
            text = f"{who} jumped away at {place(tables, first)} and came back at {place(tables, last)}, {far}: this "
            text += "looks like a checkpoint of another run or a damaged one."
        else:
            text = f"{who} moved in one jump at {place(tables, first)}, {far}. A spike of the loss, a restart or a "
            text += "change of the learning rate does this; clipped gradients or a warm-up soften it."
        if len(jumps) > len(told):
            text += f" It is one of {len(jumps)} such jumps; the {len(told)} largest are told."
        yield finding(
            tables,
            "motion_spike",
            "warning" if returns else "notice",
            text,
            figure="step_distance",
            tensors=names,
            places=range(first, last + 1),
            evidence={"times_as_far": {spike.name: spike.ratio for spike in spikes}, "came_back": returns},
        )


def _jumps(rates: FloatArray) -> Iterator[tuple[int, int, float]]:
    """First and last index of one or two steps on end that tower above those around, and by how much."""
    for width in (1, 2):
        for first in range(AROUND, len(rates) - width - AROUND + 1):
            last = first + width - 1
            around = np.concatenate((rates[first - AROUND : first], rates[last + 1 : last + 1 + AROUND]))
            inside, usual = float(rates[first : last + 1].min()), float(around.max())
            if usual > 0 and inside > SPIKE * usual:  # not where a number is missing: NaN compares as False
                yield first, last, inside / usual


@rule
def oscillating_updates(tables: Tables) -> Iterator[Finding]:
    """Steps that undo a good part of the step before them, `SWINGS` times on end or more.

    Measured here: over 20 healthy seeds no matrix kept a cosine below −0.02 for three steps; with 30 % of the labels
    wrong, and in one of four runs at a learning rate of 0.1, some fell below −0.35 for three. `OSCILLATION` is chosen
    between. Independent steps of N elements scatter by 1/√N around 0, so small matrices need more.
    """
    found: list[tuple[float, str, int, int]] = []
    every = 0
    for series in curves_of(tables, "update_cosine"):
        every += 1
        chance = CHANCE_DEVIATIONS / np.sqrt(max(1.0, float(np.prod(series.tensor.shape, dtype=np.float64))))
        spells = stretches(series.values < min(OSCILLATION, -chance))
        first, last = max(spells, key=lambda ends: ends[1] - ends[0], default=(0, -1))
        if last - first + 1 >= SWINGS:
            middle = float(np.median(series.values[first : last + 1]))
            found.append((middle, series.tensor.name, int(series.places[first]), int(series.places[last])))
    if found:
        found.sort()
        cosine, worst, start, end = found[0]
        more = f", and so do {len(found) - 1} of {every - 1} other layers" if len(found) > 1 else ""
        yield finding(
            tables,
            "oscillating_updates",
            "notice",
            f"{layers([worst])} swings to and fro from {span(tables, start, end)}{more}: each step undoes part of the "
            f"one before (cosine {number(cosine)}; 0 would be chance). A lower or falling learning rate, larger "
            "batches or an average of the weights calm it.",
            figure="step_distance",
            tensors=[name for _, name, *_ in found],
            places=[start, end],
            evidence={"median_cosine": {name: one for one, name, *_ in found}},
        )
