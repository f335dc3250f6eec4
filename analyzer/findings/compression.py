"""Report what could be made smaller: low-rank updates, and layers that could be cut in rank or pruned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyzer.findings.curves import ReliableCurve, curves_of
from analyzer.findings.learning import nothing_learned
from analyzer.findings.rules import Draft, rule
from analyzer.findings.wording import layers, number, percent, place, plural
from analyzer.model.run import PRODUCT
from analyzer.model.tables import Tables

LOW_RANK = 0.2  # of the smaller side
SMALLEST_SIDE = 16  # with fewer directions, a share says little
FEWEST_STEPS = 3
MOVED = 0.01  # of its norm that a layer must have gone for its steps to say something
SPARSE = 0.2  # share of exact zeros; this many alone lift the larger half of normal entries to `HALF_HOLDS`
SAVED = 0.5  # of a layer's parameters
SETTLED, SETTLED_STEPS = 0.1, 5  # largest mask distance, and for how many checkpoints
HALF_HOLDS = 0.97  # of the squared weights


@rule("update_rank")
def low_rank_updates(tables: Tables) -> Iterator[Draft]:
    """Report layers whose steps use a small share of their directions (if update ranks are measured).

    Source: Hu et al., LoRA: low-rank adaptation of large language models (ICLR 2022), sec. 4.1 and 7.2. Measured here:
    layers trained without adapters have median effective ranks of 0.30 to 0.77 of the smaller side; `LOW_RANK` is
    below. Requires 3 steps, a smaller side of 16, and weights that are not already those of an adapter. A layer that
    ends within 1 % of where it began (`MOVED`), or a run that learned nothing, says nothing about adapters.
    """
    low: list[tuple[float, str, float, int]] = []
    count = 0
    if any(nothing_learned(tables)):
        return
    still = _unmoved(tables)
    for series in curves_of(tables, "update_effective_rank"):
        shape = series.tensor.matrix_shape
        known = series.values[np.isfinite(series.values)]
        if shape is None or min(shape) < SMALLEST_SIDE or len(known) < FEWEST_STEPS or series.tensor.rule == PRODUCT:
            continue
        if series.tensor.name in still:
            continue
        count += 1
        rank = float(np.median(known))
        if rank <= LOW_RANK * min(shape):
            low.append((rank / min(shape), series.tensor.name, rank, min(shape)))
    if low:
        low.sort()
        _, name, rank, side = low[0]
        yield Draft(
            "info",
            f"The steps of {len(low)} of {plural(count, 'layer')} are low-rank: those of {layers([name])} use about "
            f"{number(rank)} of {side} directions (median effective rank). Adapters of small rank (LoRA) could carry "
            "this training.",
            tensors=[name for _, name, *_ in low],
            evidence={"median_effective_rank": {name: rank for _, name, rank, _ in low}},
        )


def _unmoved(tables: Tables) -> set[str]:
    """Return the matrices that end within `MOVED` of where they began, relative to their norm."""
    norms = {one.tensor.name: one.stored[-1] for one in curves_of(tables, "frobenius_norm") if len(one.stored)}
    distances = {one.tensor.name: one.stored[-1] for one in curves_of(tables, "initial_distance") if len(one.stored)}
    return {name for name, distance in distances.items() if distance < MOVED * norms.get(name, 0.0)}


@rule("compression_preview")
def could_be_cut_in_rank(tables: Tables) -> Iterator[Draft]:
    """Report layers that keep 95 % of their squared weights in factors with at most half of the parameters.

    Source: Eckart & Young (1936): the truncated SVD is the best cut; k(m + n) parameters replace m·n, or the r(m + n)
    of an adapter of rank r. The weights do not show what the cut does to accuracy. `SAVED` is chosen, not measured: a
    smaller saving is hardly worth a change of the network. Lowering an adapter's rank is no such change, so any saving
    counts there.
    """
    ranks = {series.tensor.name: series for series in curves_of(tables, "numerical_rank")}
    cuts: list[tuple[float, str, int, int]] = []
    for series in curves_of(tables, "energy_rank_95"):
        shape = series.tensor.matrix_shape
        if shape is None or not len(series.values) or not np.isfinite(series.values[-1]):
            continue
        rank, full = int(series.values[-1]), min(shape)
        saved = 1 - rank * sum(shape) / (shape[0] * shape[1])
        if series.tensor.rule == PRODUCT:
            full = _adapter_rank(ranks.get(series.tensor.name))
            saved = 1 - rank / max(rank, full)
        if saved >= SAVED or (saved > 0 and series.tensor.rule == PRODUCT):
            cuts.append((saved, series.tensor.name, rank, full))
    if cuts:
        cuts.sort(reverse=True)
        saved, name, rank, side = cuts[0]
        others = f"; also {layers([name for _, name, *_ in cuts[1:]])}" if len(cuts) > 1 else ""
        yield Draft(
            "info",
            f"{layers([name])} could be cut to rank {rank} of {side}: this keeps 95 % of its squared weights with "
            f"{percent(saved)} fewer parameters{others}. Check the accuracy after the cut.",
            tensors=[name for _, name, *_ in cuts],
            places=[len(tables.checkpoints) - 1],
            evidence={"rank": {name: rank for _, name, rank, _ in cuts}},
        )


def _adapter_rank(series: ReliableCurve | None) -> int:
    """Return the largest rank of a product of two factors in the run, which is that of the factors; 0 if unknown."""
    return 0 if series is None else int(np.nanmax(series.values, initial=0.0))


@rule("pruning_mask")
def pruning_mask_settled(tables: Tables) -> Iterator[Draft]:
    """Report that the half of the weights that pruning would keep no longer changes (if the churn is measured).

    Source: You et al., Drawing early-bird tickets (ICLR 2020), sec. 3.2: mask distances below 0.1 for five consecutive
    epochs, here in every layer and up to the end. Reported only if the distance was larger at first; otherwise it only
    reflects a low learning rate. An adapter's ΔW is no weight that could be pruned.
    """
    churns = (one for one in curves_of(tables, "mask_churn") if one.tensor.rule != PRODUCT)
    rows = [series for series in churns if np.isfinite(series.values).any()]
    if not rows:
        return
    churn = np.full((len(rows), len(tables.checkpoints)), np.nan)
    for row, series in zip(churn, rows, strict=True):
        row[series.places] = series.values
    complete = np.flatnonzero(np.isfinite(churn).all(axis=0))
    if not len(complete):
        return
    most = churn[:, complete].max(axis=0)
    unsettled = np.flatnonzero(most >= SETTLED)
    first = int(unsettled[-1]) + 1 if len(unsettled) else 0
    if first == 0 or len(most) - first < SETTLED_STEPS:
        return
    since = int(complete[first])
    yield Draft(
        "info",
        f"The larger half of the weights has been settled since {place(tables, since)}: no layer exchanges more than "
        f"{percent(float(most[first:].max()))} of its entries from one checkpoint to the next. Pruning could have "
        "started there (an early-bird ticket).",
        tensors=[series.tensor.name for series in rows],
        places=[since],
        evidence={"largest_churn": float(most[first:].max())},
    )


@rule("pruning_mask")
def could_be_pruned(tables: Tables) -> Iterator[Draft]:
    """Report layers whose larger half of the entries contains nearly all squared weights (if shares are measured).

    Source: Han et al., Learning both weights and connections (NeurIPS 2015), on magnitude pruning. The larger half of
    normal entries contains 93 % of their squares. Measured here: up to 96.8 % in trained layers; `HALF_HOLDS` exceeds
    both. Layers that are already `SPARSE` are skipped, and so is an adapter's ΔW (98.7 % in a healthy LoRA run): it is
    added to a weight, so a zero in it saves nothing.
    """
    zeros = curves_of(tables, "zero_fraction")
    sparse = {series.tensor.name for series in zeros if (series.stored[-1:] >= SPARSE).any()}
    light = [
        (float(series.values[-1]), series.tensor.name)
        for series in curves_of(tables, "magnitude_share_50")
        if len(series.values) and series.values[-1] >= HALF_HOLDS
        if series.tensor.name not in sparse and series.tensor.rule != PRODUCT
    ]
    if light:
        light.sort(reverse=True)
        share, name = light[0]
        others = f"; also {layers([name for _, name in light[1:]])}" if len(light) > 1 else ""
        yield Draft(
            "info",
            f"Half of {layers([name])} could be pruned: the larger half of its entries has {100 * share:.1f} % of "
            f"its squared weights{others}. Check the accuracy after the cut.",
            tensors=[name for _, name in light],
            places=[len(tables.checkpoints) - 1],
            evidence={"share": {name: share for share, name in light}},
        )
