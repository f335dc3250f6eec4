"""Layers whose norm explodes, collapses, or jumps and comes back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyzer.findings.curves import NORM_FACTOR, curves_of, norm_jumps_at, without_returns
from analyzer.findings.rules import rule
from analyzer.findings.wording import finding, layers, number, place, plural, span, times
from analyzer.model.run import PRODUCT, Finding, Tables

ABOVE_PEERS = 3  # times the first median of all layers' root mean squares


@rule
def norm_explodes(tables: Tables) -> Iterator[Finding]:
    """Layers that grew tenfold and are far larger than layers were at first.

    Source: Pascanu, Mikolov & Bengio, On the difficulty of training recurrent neural networks (ICML 2013), on the
    remedy. Measured here: over 20 seeds, 7 initialisations and learning rates up to 0.1 norms grew at most
    4.7-fold; 10 is `NORM_FACTOR`. A layer that starts near zero on purpose may grow; it must also exceed 3 times
    the median element. A checkpoint whose norm jumps and comes back counts in neither rule, for it is a damaged one;
    nor does an adapter's update, which starts at zero.
    """
    sizes = {series.tensor.name: series for series in curves_of(tables, "rms")}
    first_sizes = [float(one.values[ends[0]]) for one in sizes.values() if (ends := one.ends()) is not None]
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
        others = f"; {layers([name for _, name, *_ in grown[1:]])} grew more than tenfold too" if grown[1:] else ""
        yield finding(
            tables,
            "norm_explodes",
            "warning",
            f"{layers([worst])} explodes: at {place(tables, last)} its norm is {times(ratio)} the first one, and was "
            f"ten times it at {place(tables, since)} already{others}. A lower learning rate, clipped gradients, weight "
            "decay or normalisation hold it.",
            figure="initial_distance",
            tensors=[name for _, name, *_ in grown],
            places=[since, last],
            evidence={"growth": {name: one for one, name, *_ in grown}},
        )


@rule
def norm_collapses(tables: Tables) -> Iterator[Finding]:
    """Layers whose norm ends at a tenth of its largest value, or less.

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
        others = f"; {layers([name for _, name, *_ in shrunk[1:]])} lost nine tenths too" if shrunk[1:] else ""
        yield finding(
            tables,
            "norm_collapses",
            "warning",
            f"{layers([worst])} collapses: from {span(tables, top, last)} its norm fell to {number(100 * share)} % of "
            f"what it was{others}. Weight decay that is too strong for its gradient does this.",
            figure="initial_distance",
            tensors=[name for _, name, *_ in shrunk],
            places=[top, last],
            evidence={"left": {name: one for one, name, *_ in shrunk}},
        )


@rule
def norm_jumps(tables: Tables) -> Iterator[Finding]:
    """Layers whose norm is ten times what it is at both neighbours of a checkpoint, or a tenth: there and back.

    Measured here: as for `norm_explodes`, no norm in a healthy run grew tenfold; one flipped bit does it.
    """
    jumps: dict[int, list[str]] = {}
    for series in curves_of(tables, "rms"):
        for spot in norm_jumps_at(series):
            jumps.setdefault(int(spot), []).append(series.tensor.name)
    if jumps:
        worst = max(jumps, key=lambda spot: len(jumps[spot]))
        more = f" The same happens at {plural(len(jumps) - 1, 'other checkpoint')}." if len(jumps) > 1 else ""
        yield finding(
            tables,
            "norm_jumps",
            "warning",
            f"The norm of {layers(jumps[worst])} jumps tenfold or more at {place(tables, worst)} and is back at the "
            f"next checkpoint: this looks like a damaged checkpoint, for which one flipped bit is enough.{more} Copy "
            "it again; other findings on norms leave it out.",
            figure="step_distance",
            tensors=list(dict.fromkeys(name for names in jumps.values() for name in names)),
            places=sorted(jumps),
            evidence={"at": {tables.checkpoints[spot].name: names for spot, names in sorted(jumps.items())}},
        )
