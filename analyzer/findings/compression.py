"""How much less would do: low-rank updates, layers that could be cut in rank or pruned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyzer.findings.curves import ReliableCurve, curves_of
from analyzer.findings.rules import rule
from analyzer.findings.wording import finding, layers, number, percent, place, plural
from analyzer.model.run import PRODUCT, Finding, Tables

LOW_RANK = 0.2  # of the smaller side
SMALLEST_SIDE = 16  # a share of fewer directions says little
FEWEST_STEPS = 3
SPARSE = 0.2  # share of exact zeros, which alone lift the larger half of normal entries to `HALF_HOLDS`
SAVED = 0.5  # of a layer's parameters
SETTLED, SETTLED_STEPS = 0.1, 5
HALF_HOLDS = 0.97  # of the squared weights


@rule
def low_rank_updates(tables: Tables) -> Iterator[Finding]:
    """Steps that use a small share of the directions that a layer has (where update ranks are measured).

    Source: Hu et al., LoRA: low-rank adaptation of large language models (ICLR 2022), sec. 4.1 and 7.2. Measured here:
    plainly trained layers have median effective ranks of 0.30 to 0.77 of the smaller side; `LOW_RANK` is below. Needs 3
    steps and a smaller side of 16, and weights that are no adapter's already.
    """
    low: list[tuple[float, str, float, int]] = []
    count = 0
    for series in curves_of(tables, "update_effective_rank"):
        shape = series.tensor.matrix_shape
        known = series.values[np.isfinite(series.values)]
        if shape is None or min(shape) < SMALLEST_SIDE or len(known) < FEWEST_STEPS or series.tensor.rule == PRODUCT:
            continue
        count += 1
        rank = float(np.median(known))
        if rank <= LOW_RANK * min(shape):
            low.append((rank / min(shape), series.tensor.name, rank, min(shape)))
    if low:
        low.sort()
        _, name, rank, side = low[0]
        yield finding(
            tables,
            "low_rank_updates",
            "info",
            f"The steps of {len(low)} of {plural(count, 'layer')} are low-rank: those of {layers([name])} use about "
            f"{number(rank)} of {side} directions (median effective rank). Adapters of a small rank (LoRA) could carry "
            "such training.",
            figure="rank",
            tensors=[name for _, name, *_ in low],
            evidence={"median_effective_rank": {name: rank for _, name, rank, _ in low}},
        )


@rule
def could_be_cut_in_rank(tables: Tables) -> Iterator[Finding]:
    """Layers that keep 95 % of their squared weights in factors with at most half of the parameters.

    Source: Eckart & Young (1936): the truncated SVD is the best cut; k(m + n) parameters stand for m·n, or for the
    r(m + n) of an adapter of rank r. What the cut does to accuracy is not known from the weights. `SAVED` is chosen:
    less is hardly worth a change of the network; an adapter of lower rank is none, so there any saving counts.
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
        yield finding(
            tables,
            "could_be_cut_in_rank",
            "info",
            f"{layers([name])} could be cut to rank {rank} of {side}: that keeps 95 % of its squared weights with "
            f"{percent(saved)} fewer parameters{others}. Check the accuracy after such a cut.",
            figure="rank",
            tensors=[name for _, name, *_ in cuts],
            places=[len(tables.checkpoints) - 1],
            evidence={"rank": {name: rank for _, name, rank, _ in cuts}},
        )


def _adapter_rank(series: ReliableCurve | None) -> int:
    """The largest rank that a product of two factors had in the run, that of its factors; 0 where it isn't known."""
    return 0 if series is None else int(np.nanmax(series.values, initial=0.0))


@rule
def pruning_mask_settled(tables: Tables) -> Iterator[Finding]:
    """The half of the weights that pruning would keep hardly changes any more (where the churn is measured).

    Source: You et al., Drawing early-bird tickets (ICLR 2020), sec. 3.2: mask distances below 0.1 for five epochs on
    end, here in every layer and up to the end. Said only if it was above at first: else it tells the learning rate.
    """
    rows = [series for series in curves_of(tables, "mask_churn") if np.isfinite(series.values).any()]
    if not rows:
        return
    churn = np.full((len(rows), len(tables.checkpoints)), np.nan)
    for row, series in zip(churn, rows, strict=True):
        row[series.places] = series.values
    asked = np.flatnonzero(np.isfinite(churn).all(axis=0))
    if not len(asked):
        return
    most = churn[:, asked].max(axis=0)
    unsettled = np.flatnonzero(most >= SETTLED)
    first = int(unsettled[-1]) + 1 if len(unsettled) else 0
    if first == 0 or len(most) - first < SETTLED_STEPS:
        return
    since = int(asked[first])
    yield finding(
        tables,
        "pruning_mask_settled",
        "info",
        f"The larger half of the weights has been settled since {place(tables, since)}: no layer exchanges "
        f"more than {percent(float(most[first:].max()))} of its entries from one checkpoint to the next. Pruning could "
        "have begun there (an early-bird ticket).",
        figure=None,
        tensors=[series.tensor.name for series in rows],
        places=[since],
        evidence={"largest_churn": float(most[first:].max())},
    )


@rule
def could_be_pruned(tables: Tables) -> Iterator[Finding]:
    """Layers whose larger half of the entries holds nearly all of their squared weights (where shares are measured).

    Source: Han et al., Learning both weights and connections (NeurIPS 2015), on magnitude pruning. Normal entries hold
    93 % in their larger half, and trained layers here up to 96.8 %; `HALF_HOLDS` is beyond both. Nothing is said of
    layers that are `SPARSE` already.
    """
    sparse = {one.tensor.name for one in curves_of(tables, "zero_fraction") if (one.stored[-1:] >= SPARSE).any()}
    light = [
        (float(series.values[-1]), series.tensor.name)
        for series in curves_of(tables, "magnitude_share_50")
        if len(series.values) and series.values[-1] >= HALF_HOLDS and series.tensor.name not in sparse
    ]
    if light:
        light.sort(reverse=True)
        share, name = light[0]
        others = f"; also {layers([name for _, name in light[1:]])}" if len(light) > 1 else ""
        yield finding(
            tables,
            "could_be_pruned",
            "info",
            f"Half of {layers([name])} could be pruned: the larger half of its entries holds {100 * share:.1f} % of "
            f"its squared weights{others}. Check the accuracy after such a cut.",
            figure="conditioning_and_sparsity",
            tensors=[name for _, name in light],
            places=[len(tables.checkpoints) - 1],
            evidence={"share": {name: share for share, name in light}},
        )
