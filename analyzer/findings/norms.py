"""Report layers whose norm explodes, collapses, or jumps and returns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyzer.findings.curves import NORM_FACTOR, curves_of, norm_jumps_at, without_returns
from analyzer.findings.rules import Draft, rule
from analyzer.findings.wording import layers, number, place, plural, span, times
from analyzer.model.run import PRODUCT
from analyzer.model.tables import Tables

ABOVE_PEERS = 3  # times the median of all layers' first root mean squares


@rule("initial_distance")
def norm_explodes(tables: Tables) -> Iterator[Draft]:
    """Report layers that grew tenfold and are far larger than layers were at first.

    Measured here: over 20 seeds, 7 initializations and learning rates up to 0.1, norms grew at most 4.7-fold; the limit
    is 10 (`NORM_FACTOR`). A layer that starts near zero on purpose may grow, so its root mean square must also exceed 3
    times the layers' first median. A checkpoint whose norm jumps and returns is damaged and counts neither as growth
    nor as collapse. An adapter's update starts at zero and does not count either. Source: Pascanu, Mikolov & Bengio, On
    the difficulty of training recurrent neural networks (ICML 2013), on exploding gradients and clipping.
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
    if grown:
        grown.sort(reverse=True)
        ratio, worst, since, last = grown[0]
        others = f" {layers([name for _, name, *_ in grown[1:]])} also grew tenfold or more." if grown[1:] else ""
        yield Draft(
            "warning",
            f"{layers([worst])} explodes: its norm is {times(ratio)} its first value at {place(tables, last)}, and "
            f"reached ten times that value at {place(tables, since)}.{others}",
            tensors=[name for _, name, *_ in grown],
            places=[since, last],
            evidence={"growth": {name: growth for growth, name, *_ in grown}},
        )


@rule("initial_distance")
def norm_collapses(tables: Tables) -> Iterator[Draft]:
    """Report layers whose norm ends at a tenth of its largest value or less.

    Measured here: norms fell in no healthy run; the factor is that of `norm_explodes`.
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
            f"{layers([worst])} collapses: from {span(tables, top, last)} its norm fell to {number(100 * share)} % of "
            f"its largest value.{others} Weight decay that outweighs the gradient does this.",
            tensors=[name for _, name, *_ in shrunk],
            places=[top, last],
            evidence={"left": {name: left for left, name, *_ in shrunk}},
        )


@rule("step_distance")
def norm_jumps(tables: Tables) -> Iterator[Draft]:
    """Report layers whose norm at one checkpoint is more than ten times, or less than a tenth of, both neighbors.

    Measured here: as for `norm_explodes`, no norm in a healthy run grew tenfold; one flipped bit is enough.
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
        )
