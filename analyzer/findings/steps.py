"""Report steps of the weights that are too small, hidden by rounding, far too long, or undone by the next step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analyzer.findings.broken_layers import zeroed_at_once
from analyzer.findings.collapse import change_of_task
from analyzer.findings.curves import (
    PARAMETERS,
    ReliableCurve,
    count_of,
    curves_of,
    longest_stretch,
    norm_jumps_at,
    per_unit,
    starts,
    usual_step,
)
from analyzer.findings.histories import NARROW
from analyzer.findings.order_of_weights import misplaced_steps
from analyzer.findings.quantization import trained_in_rounding
from analyzer.findings.rules import Draft, rule
from analyzer.findings.wording import agree, layers, number, percent, place, plural, span, times, unit
from analyzer.model.tables import Tables

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

HARDLY = 50  # times less than the median layer
FEWEST_INTERVALS = 3  # consecutive intervals of a layer that hardly moves
FEWEST_LAYERS = 3  # with a value, for a median of the layers
SWINGS = 5  # consecutive steps; fewer are over before anyone can act
SPIKE = 5  # times the longest of the steps around
AROUND = 3  # steps on each side of a spike
MOST_REPORTED = 3  # spikes
RETURN_COSINE = -0.5  # of two steps; below it, the second returns
OSCILLATION = -0.2  # cosine of two steps; below it, the second undoes part of the first
CHANCE_DEVIATIONS = 4  # of the cosine of independent steps, 1/√elements each


@rule("step_distance")
def motion_below_precision(tables: Tables) -> Iterator[Draft]:
    """Report steps that storage rounding alone could have produced.

    Unless it is clear that the weights were trained in a narrow dtype (`updates_lost_in_rounding`), they may also be
    rounded copies of finer weights, so both are named. A dtype in which networks are trained anyway (float32) calls for
    no advice.

    Source: docs/metrics.md, "Storage rounding": a step below six times the rounding displacement cannot be told from
    rounding.
    """
    hidden: dict[str, int] = {}
    steps = 0
    dtypes: list[str] = []
    for series in curves_of(tables, "step_distance", PARAMETERS):
        below = [status == "below_precision" for status in series.statuses]
        count = int(np.count_nonzero(np.array(below, dtype=bool) & (series.stored > 0)))
        if count:
            hidden[series.tensor.name] = count
            steps += int(np.count_nonzero(series.stored > 0))
            dtypes.append(series.tensor.dtype)
    if hidden:
        total = sum(hidden.values())
        narrow = [dtype for dtype in dict.fromkeys(dtypes) if dtype.startswith(NARROW)]
        advice = (
            f" If the network was trained in {' and '.join(narrow)}, these are its true steps, and smaller updates "
            "were lost: a float32 copy of the weights in the optimizer keeps them. If the files are rounded copies of "
            "finer weights, finer files show more."
            if narrow and not trained_in_rounding(tables)
            else ""
        )
        yield Draft(
            "notice",
            f"{total} of {plural(steps, 'step')} of {layers(list(hidden))} {agree(total, 'is', 'are')} smaller than "
            f"what rounding to {' and '.join(dict.fromkeys(dtypes))} can show. "
            f"{agree(total, 'Its value describes', 'Their values describe')} the stored weights, and no other finding "
            f"rests on {agree(total, 'it', 'them')}.{advice}",
            tensors=list(hidden),
            evidence={"steps": hidden},
        )


@rule("step_distance")
def layer_hardly_moves(tables: Tables) -> Iterator[Draft]:
    """Report layers that move far less, relative to their own norm, than the median layer.

    Measured here: over 20 seeds and 7 initializations the slowest layer moved at least a sixth of the median; `HARDLY`
    times less, over `FEWEST_INTERVALS` consecutive intervals, is none of these. Requires `FEWEST_LAYERS` matrices.
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
    slow: list[tuple[float, str, int, int, float]] = []  # times less, layer, first and last position, its rate
    for series, own in moving:
        others = median[series.places]
        first, last = longest_stretch((own > 0) & (own * HARDLY < others))  # an exactly frozen layer is not slow
        if last - first + 1 >= FEWEST_INTERVALS:
            rate, usual = (float(np.median(values[first : last + 1])) for values in (own, others))
            start, end = int(starts(tables, series)[first]), int(series.places[last])
            slow.append((usual / rate, series.tensor.name, start, end, rate))
    if slow:
        slow.sort(reverse=True)
        ratio, worst, start, end, rate = slow[0]
        so = f"so {agree(len(slow) - 1, 'does', 'do')}"
        more = f"; {so} {layers([name for _, name, *_ in slow[1:]])}" if len(slow) > 1 else ""
        yield Draft(
            "notice",
            f"{layers([worst])} hardly moves: {percent(rate)} of its norm per {unit(tables)}"
            f"{usual_step(tables, [worst], start, end)} from {span(tables, start, end)}, {times(ratio)} less "
            f"than the median layer{more}. Its gradient or its learning rate is tiny.",
            tensors=[name for _, name, *_ in slow],
            places=[start, end],
            evidence={"times_less": {name: float(less) for less, name, *_ in slow}, "relative_rate": rate},
        )


@dataclass(frozen=True, slots=True)
class _Spike:
    """A jump of one layer: ``ratio`` times as far as the steps around it, and whether the layer came back."""

    name: str
    ratio: float
    returns: bool


@rule("step_distance")
def motion_spike(tables: Tables) -> Iterator[Draft]:
    """Report a step several times as long as each of the three before and after it, or two such steps that cancel.

    Measured here: over 20 seeds no step was more than 1.2 times as long as the longest of those around it; `SPIKE`
    times is a jump. The distances are absolute, as the figure shows them, since a distance relative to the norm also
    grows when the norm was small. Requires seven checkpoints. Two steps that cancel (cosine below `RETURN_COSINE`) look
    like a checkpoint of another run, which is a warning. If the norm jumps too, `norm_jumps` reports it; what
    `order_of_weights`, `task_changes` or `weights_become_zero` explains is left to them. A cause that moves all layers
    is not named where less than half of them jump.
    """
    jumps = {
        where: spikes
        for where, spikes in _spikes(tables).items()
        if where[0] == where[1] or any(spike.returns for spike in spikes)
    }
    largest = sorted(jumps, key=lambda where: max(spike.ratio for spike in jumps[where]), reverse=True)[:MOST_REPORTED]
    for first, last in sorted(largest):
        spikes = jumps[first, last]
        returns = any(spike.returns for spike in spikes)
        sentence = _spike_sentence(tables, first, last, spikes)
        if len(jumps) > len(largest):
            sentence += f" There are {len(jumps)} such jumps; only the {len(largest)} largest are reported."
        yield Draft(
            "warning" if returns else "notice",
            sentence,
            tensors=[spike.name for spike in spikes],
            places=range(first, last + 1),
            evidence={"times_as_far": {spike.name: spike.ratio for spike in spikes}, "came_back": returns},
        )


def _spikes(tables: Tables) -> dict[tuple[int, int], list[_Spike]]:
    """Return the spikes of all layers, by the positions at which they begin and end."""
    norm_jumps = {series.tensor.name: norm_jumps_at(series) for series in curves_of(tables, "rms")}
    cosines = {series.tensor.name: series for series in curves_of(tables, "update_cosine")}
    task = change_of_task(tables)
    explained = misplaced_steps(tables) | ({task.since} if task else set())
    zeroed = zeroed_at_once(tables)
    spikes: dict[tuple[int, int], list[_Spike]] = {}
    for series in curves_of(tables, "step_distance"):
        name = series.tensor.name
        for first, last, ratio in _jumps(tables, series):
            if np.isin(series.places[first - 1 : first + 1], norm_jumps.get(name, [])).any():
                continue
            within = series.places[first : last + 1].tolist()
            if zeroed.get(name) in within or not explained.isdisjoint(within):
                continue
            returns = last > first and _turns_back(cosines.get(name), int(series.places[last]))
            where = (int(series.places[first]), int(series.places[last]))
            spikes.setdefault(where, []).append(_Spike(name, ratio, returns))
    return spikes


def _turns_back(cosine: ReliableCurve | None, position: int) -> bool:
    """Check whether the step into a checkpoint points back along the step before it."""
    return cosine is not None and bool((cosine.values[cosine.places == position] < RETURN_COSINE).any())


def _spike_sentence(tables: Tables, first: int, last: int, spikes: Sequence[_Spike]) -> str:
    """Say which layers jumped, where and how far, and what that looks like."""
    every = count_of(tables, "step_distance")
    worst = max(spikes, key=lambda spike: spike.ratio)
    names = [spike.name for spike in spikes]
    who = layers(names, every) if len(names) == 1 or len(names) == every else f"{len(names)} of {every} layers"
    far = f"{times(worst.ratio)} as far per {unit(tables)} as between any of the checkpoints around it"
    if len(names) > 1:
        far += f" ({layers([worst.name])})"
    if any(spike.returns for spike in spikes):
        return (
            f"{who} jumped away at {place(tables, first)} and came back at {place(tables, last)}, {far}. This looks "
            "like a checkpoint of another run, or a damaged one."
        )
    if 2 * len(names) < every:
        why = "an edit of the weights and a spike of the gradient there; another learning rate moves all layers"
    else:
        why = "a spike of the loss, a restart, and a change of the learning rate"
    return f"{who} moved in one jump at {place(tables, first)}, {far}. Possible causes are {why}."


def _jumps(tables: Tables, series: ReliableCurve) -> Iterator[tuple[int, int, float]]:
    """Yield the first and last index of one or two steps that tower above those around them, and by what factor.

    They do so as they are and per unit of the axis: where intervals differ in length, weights get further in a long
    one, and further per unit in a short one.
    """
    values, rates = series.values, per_unit(tables, series)
    for width in (1, 2):
        for first in range(AROUND, len(rates) - width - AROUND + 1):
            ratio = min(_towers(values, first, width), _towers(rates, first, width))
            if ratio > SPIKE:
                yield first, first + width - 1, ratio


def _towers(rates: FloatArray, first: int, width: int) -> float:
    """Return how many times as long the shortest of some steps is as the longest around them, 0 if undefined."""
    last = first + width - 1
    around = np.concatenate((rates[first - AROUND : first], rates[last + 1 : last + 1 + AROUND]))
    inside, usual = float(rates[first : last + 1].min()), float(around.max())
    return inside / usual if usual > 0 and np.isfinite(inside) else 0.0


def spikes_in(tables: Tables, series: ReliableCurve) -> npt.NDArray[np.bool_]:
    """Return a mask (n,) of the steps that tower above those around them, as for :func:`motion_spike`."""
    mask = np.zeros(len(series.values), dtype=bool)
    for first, last, _ in _jumps(tables, series):
        mask[first : last + 1] = True
    return mask


@rule("update_cosine")
def oscillating_updates(tables: Tables) -> Iterator[Draft]:
    """Report layers in which `SWINGS` or more consecutive steps each undo a good part of the step before.

    Measured here: over 20 healthy seeds no matrix kept a cosine below −0.02 for three steps; with 30 % of the labels
    wrong, and in one of four runs at a learning rate of 0.1, some fell below −0.35 for three. `OSCILLATION` is chosen
    between them. The cosine of independent steps of N elements scatters around 0 by 1/√N, so small matrices need more.
    """
    oscillating: list[tuple[float, str, int, int]] = []  # median cosine, layer, first and last position
    every = 0
    for series in curves_of(tables, "update_cosine"):
        every += 1
        chance = CHANCE_DEVIATIONS / np.sqrt(max(1.0, float(np.prod(series.tensor.shape, dtype=np.float64))))
        first, last = longest_stretch(series.values < min(OSCILLATION, -chance))
        if last - first + 1 >= SWINGS:
            middle = float(np.median(series.values[first : last + 1]))
            oscillating.append((middle, series.tensor.name, int(series.places[first]), int(series.places[last])))
    if oscillating:
        oscillating.sort()
        cosine, worst, start, end = oscillating[0]
        others = len(oscillating) - 1
        of = f"{others} of {plural(every - 1, 'other layer')}"
        more = f", and so {agree(others, 'does', 'do')} {of}" if others else ""
        yield Draft(
            "notice",
            f"{layers([worst])} oscillates from {span(tables, start, end)}{more}: each step undoes part of the one "
            f"before (cosine {number(cosine)}; 0 is expected by chance). A lower or decaying learning rate, larger "
            "batches, or averaged weights reduce this.",
            tensors=[name for _, name, *_ in oscillating],
            places=[start, end],
            evidence={"median_cosine": {name: middle for middle, name, *_ in oscillating}},
        )
