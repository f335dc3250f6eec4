"""Report layers whose norm explodes, collapses, jumps for good, or jumps and returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from analyzer.findings.curves import (
    MATRICES,
    NORM_FACTOR,
    PARAMETERS,
    ReliableCurve,
    curves_of,
    norm_at,
    norm_jumps_at,
    root_of_size,
    without_returns,
)
from analyzer.findings.rules import Draft, rule
from analyzer.findings.steps import motion_spike
from analyzer.findings.wording import agree, layers, number, place, plural, span, times
from analyzer.model.run import PRODUCT
from analyzer.model.tables import Tables

LASTING, LASTING_VECTOR = 4, 10  # times the norm before, of a matrix and of a vector
CALM = 1.5  # the most that the median matrix changes where another one jumps
SETTLED = 2  # checkpoints after which a norm no longer grows from nothing
ABOVE_PEERS = 3  # times the median of all layers' first root mean squares


@rule("norm")
def norm_explodes(tables: Tables) -> Iterator[Draft]:
    """Report layers that grew tenfold and are far larger than layers were at first.

    Measured here: over 20 seeds, 7 initializations and learning rates up to 0.1, norms grew at most 4.7-fold, and in
    healthy trainings (`tests/benchmarks/healthy_trainings.py`) 5.6-fold; the limit is 10 (`NORM_FACTOR`). A layer that
    starts near zero on purpose may grow, so its root mean square must also exceed 3 times the layers' first median. A
    checkpoint whose norm jumps and returns is damaged and counts neither as growth nor as collapse. An adapter's update
    starts at zero and does not count either. Source: Pascanu, Mikolov & Bengio, On the difficulty of training recurrent
    neural networks (ICML 2013), on exploding gradients and clipping.
    """
    grown = exploding(tables)
    if grown:
        ratio, worst, since, last = grown[0]
        others = f" {layers([name for _, name, *_ in grown[1:]])} also grew tenfold or more." if grown[1:] else ""
        yield Draft(
            "warning",
            f"{layers([worst])} explodes: its norm is {times(ratio)} its first value at {place(tables, last)} "
            f"({number(norm_at(tables, worst, last))}), and reached ten times that value at "
            f"{place(tables, since)}.{others}",
            tensors=[name for _, name, *_ in grown],
            places=[since, last],
            evidence={"growth": {name: growth for growth, name, *_ in grown}},
        )


def exploding(tables: Tables) -> list[tuple[float, str, int, int]]:
    """Return the layers that :func:`norm_explodes` reports, the worst first.

    Returns:
        for each layer how many times its first norm its last one is, its name, and the positions at which it had grown
        tenfold and at which it ends.
    """
    sizes = {series.tensor.name: series for series in curves_of(tables, "rms")}
    first_sizes = [float(series.values[ends[0]]) for series in sizes.values() if (ends := series.ends()) is not None]
    usual = float(np.median(first_sizes)) if first_sizes else 0.0
    grown: list[tuple[float, str, int, int]] = []
    for name, series in sizes.items():
        values = without_returns(series.values)
        known = np.flatnonzero(values > 0)
        if len(known) < 2 or series.tensor.rule == PRODUCT:
            continue
        ratio = float(values[known[-1]] / values[known[0]])
        if ratio >= NORM_FACTOR and values[known[-1]] > ABOVE_PEERS * usual:
            passed = values >= NORM_FACTOR * values[known[0]]
            grown.append((ratio, name, int(series.places[np.flatnonzero(passed)[0]]), int(series.places[known[-1]])))
    return sorted(grown, reverse=True)


@rule("norm")
def norm_collapses(tables: Tables) -> Iterator[Draft]:
    """Report layers whose norm ends at a tenth of its largest value or less.

    Measured here: in healthy trainings no matrix ended below 0.88 of its largest norm; the factor is that of
    `norm_explodes`.
    """
    shrunk: list[tuple[float, str, int, int]] = []
    for series in curves_of(tables, "rms"):
        ends, values = series.ends(), without_returns(series.values)
        if ends is None or not np.nanmax(values) > 0:
            continue
        top, last = int(np.nanargmax(values)), ends[1]
        if values[last] * NORM_FACTOR <= values[top]:
            share = float(values[last] / values[top])
            shrunk.append((share, series.tensor.name, int(series.places[top]), int(series.places[last])))
    if shrunk:
        shrunk.sort()
        share, worst, top, last = shrunk[0]
        others = f" {layers([name for _, name, *_ in shrunk[1:]])} also lost nine tenths or more." if shrunk[1:] else ""
        yield Draft(
            "warning",
            f"{layers([worst])} collapses: from {span(tables, top, last)} its norm fell from "
            f"{number(norm_at(tables, worst, top))} to {number(norm_at(tables, worst, last))}, "
            f"{number(100 * share)} % of its largest value.{others} Weight decay that outweighs the gradient does "
            "this.",
            tensors=[name for _, name, *_ in shrunk],
            places=[top, last],
            evidence={"left": {name: left for left, name, *_ in shrunk}},
        )


@rule("norm")
def norm_jumps(tables: Tables) -> Iterator[Draft]:
    """Report layers whose norm at one checkpoint is more than ten times, or less than a tenth of, both neighbors.

    Measured here: in healthy trainings no norm of a matrix was more than 1.01 times both neighbors, or less than both
    divided by 1.01; one flipped bit is enough for ten.
    """
    jumps: dict[int, list[str]] = {}
    for series in curves_of(tables, "rms"):
        for position in norm_jumps_at(series):
            jumps.setdefault(int(position), []).append(series.tensor.name)
    if jumps:
        worst = max(jumps, key=lambda position: len(jumps[position]))
        more = f" The same happens at {plural(len(jumps) - 1, 'other checkpoint')}." if len(jumps) > 1 else ""
        yield Draft(
            "warning",
            f"The norm of {layers(jumps[worst])} jumps by a factor of ten or more at {place(tables, worst)} and "
            "returns at the next checkpoint. This looks like a damaged checkpoint; one flipped bit is enough."
            f"{more} Copy the checkpoint again; other findings about norms ignore it.",
            tensors=list(dict.fromkeys(name for names in jumps.values() for name in names)),
            places=sorted(jumps),
            evidence={"at": {tables.checkpoints[position].name: names for position, names in sorted(jumps.items())}},
            apart=True,
        )


@rule("norm")
def norm_jumps_for_good(tables: Tables) -> Iterator[Draft]:
    """Report tensors, vectors among them, whose norm changes severalfold between two checkpoints and stays so.

    Measured here: after the second checkpoint no matrix in a healthy training grew more than 1.5-fold, and no vector
    more than 4.0-fold, beyond all of its norms before; a bias moved by 30 grew 460-fold. The limits are 4 for a matrix,
    in either direction and only where the median matrix changes less than 1.5-fold, and 10 for a vector (`LASTING`,
    `LASTING_VECTOR`), which must also exceed 3 times the largest first root mean square of all tensors: biases grow
    from zero. What `norm_explodes` or `motion_spike` reports is left out.

    Source: Pascanu, Mikolov & Bengio (ICML 2013) on steps that a single gradient makes far too long.
    """
    if exploding(tables):
        return
    told = {str(name) for one in motion_spike(tables) for name in list(one.evidence["times_as_far"])}  # type: ignore[call-overload]
    sizes = [
        one
        for one in curves_of(tables, "rms", PARAMETERS)
        if one.tensor.name not in told and one.tensor.rule != PRODUCT  # which grows from zero
    ]
    firsts = [float(series.values[ends[0]]) for series in sizes if (ends := series.ends()) is not None]
    usual = _median_change(tables)
    jumps: dict[int, list[tuple[float, str, float, float]]] = {}
    for series in sizes:
        elements = root_of_size(series.tensor)
        for position, before, now in _lasting_jumps(series, ABOVE_PEERS * max(firsts, default=0.0), usual):
            ratio = max(now / before, before / now) if before > 0 < now else float("inf")
            one = (ratio, series.tensor.name, before * elements, now * elements)
            jumps.setdefault(position, []).append(one)
    for position in sorted(jumps):
        found = sorted(jumps[position], reverse=True)
        _, name, before, now = found[0]
        others = (
            f"; so {agree(len(found) - 1, 'does', 'do')} {layers([name for _, name, *_ in found[1:]])}"
            if found[1:]
            else ""
        )
        yield Draft(
            "warning",
            f"{layers([name])} jumps at {place(tables, position)}: its norm changes from {number(before)} to "
            f"{number(now)} between two checkpoints and stays there{others}. Small steps do not do this: look for an "
            "edit of the weights, or a step that was far too long.",
            tensors=[name for _, name, *_ in found],
            places=[position],
            evidence={
                "norms": {name: [before, now] for _, name, before, now in found},
                "since": {name: tables.checkpoints[position].name for _, name, *_ in found},
            },
        )


def _lasting_jumps(
    series: ReliableCurve, least: float, usual: Mapping[int, float]
) -> Iterator[tuple[int, float, float]]:
    """Yield the position of each jump that stays, with the root mean square before and after it.

    Args:
        series: root mean squares of one tensor.
        least: what a vector must exceed.
        usual: how much the norm of the median matrix changed, by position.
    """
    known = np.flatnonzero(np.isfinite(series.values))
    values, places = series.values[known], series.places[known]
    is_matrix = series.tensor.kind in MATRICES
    factor = LASTING if is_matrix else LASTING_VECTOR
    for index in range(SETTLED, len(values)):
        before, after = values[:index], values[index:]
        position, last, now = int(places[index]), float(before[-1]), float(after[0])
        if is_matrix and not usual.get(position, 1.0) < CALM:
            continue
        if not (before.max() > 0 and now > 0):
            continue
        rises = after.min() >= factor * before.max() and now > 0 and (is_matrix or now > least)
        falls = is_matrix and 0 < factor * after.max() <= before.min()
        if rises or falls:
            yield position, last, now


def _median_change(tables: Tables) -> dict[int, float]:
    """Return by position how much the norm of the median matrix changed since the checkpoint before, as a ratio ≥ 1.

    It is 1 where there are fewer than three matrices, of which one alone cannot be told from the others.
    """
    changes: dict[int, list[float]] = {}
    for series in curves_of(tables, "rms"):
        for at in range(1, len(series.values)):
            before, now = float(series.values[at - 1]), float(series.values[at])
            if before > 0 and now > 0:
                changes.setdefault(int(series.places[at]), []).append(max(now / before, before / now))
    return {position: float(np.median(ratios)) for position, ratios in changes.items() if len(ratios) > 2}
