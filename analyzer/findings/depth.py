"""Report first layers that hardly move while the last ones do: gradients that vanish on their way back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from analyzer.findings.curves import curves_of, longest_stretch, per_unit, starts, usual_step
from analyzer.findings.rules import Draft, rule
from analyzer.findings.wording import agree, layers, percent, span, times, unit
from analyzer.model.run import PRODUCT
from analyzer.model.tables import Tables

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

FEWEST_STAGES = 4  # layers, or blocks of layers, one behind the other
BEHIND = 10  # times less than the last stage
RISING = 2  # times as far as the middle of the first half: the stage before the last
FEWEST_INTERVALS, SHARE = 3, 0.2  # consecutive intervals at least, also as a share of all
BESIDE = frozenset({"embedding", "position", "patch", "router"})  # roles that are no link of the chain of layers


@rule("step_distance")
def first_layers_hardly_move(tables: Tables) -> Iterator[Draft]:
    """Report a chain of layers whose first half moves ten times less than the last layer, relative to its norm.

    Every stage (:func:`stages`) of the first half must move `BEHIND` times less than the last one, and the stage before
    the last `RISING` times as far as the middle of the first half, so that a new head on a trained network does not
    count. Both must hold for `FEWEST_INTERVALS` consecutive intervals, and a fifth of all. The stages from the first
    one on that stay behind are named. A step below the precision of storage counts as it was measured, since the true
    one is shorter still. Adaptive optimizers (Adam) hide vanishing gradients, since they make all steps
    alike.

    Source: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural networks (AISTATS 2010).
    Measured here: in healthy trainings of four or more stages (`tests/benchmarks/healthy_trainings.py` and the shared
    ones) the last stage moved at most 2.8 times as far in any interval, in stacks of 5 to 12 sigmoid or tanh layers
    that learn nothing 14 to 232 times in the median interval.
    """
    chain = stages(tables)
    rates = _rates(tables, chain)
    known = [at for at, row in enumerate(rates) if np.isfinite(row).any()]
    chain, rates = [chain[at] for at in known], rates[known]
    if len(chain) < FEWEST_STAGES:
        return
    early = rates[: len(chain) // 2]
    behind = (BEHIND * early.max(axis=0) <= rates[-1]) & (rates[-2] >= RISING * np.median(early, axis=0))
    behind &= early.min(axis=0) > 0  # what does not move at all is frozen
    compared = np.flatnonzero(np.isfinite(rates).all(axis=0))  # positions at which an interval ends
    first, last = longest_stretch(behind[compared])
    if last - first + 1 < max(FEWEST_INTERVALS, SHARE * len(compared)):
        return
    usual = np.median(rates[:, compared[first : last + 1]], axis=1)
    slow = int(np.argmin(BEHIND * usual <= usual[-1]))
    if not slow:
        return
    worst = int(np.argmin(usual[:slow]))
    names = [name for names in chain[:slow] for name in names]
    start, end = _start(tables, chain[-1][0], int(compared[first])), int(compared[last])
    less = times(usual[-1] / usual[worst])
    longest = usual_step(tables, chain[int(np.argmax(usual[:slow]))], start, end)
    fastest, head = (percent(float(rate)) for rate in (usual[:slow].max(), usual[-1]))
    yield Draft(
        "warning",
        f"The first layers hardly move: from {span(tables, start, end)}, {layers(names)} "
        f"{agree(len(names), 'goes', 'go')} at most {fastest} of their norm per {unit(tables)}{longest}, "
        f"and {layers(chain[worst])} {less} less than {layers(chain[-1])}, the last, with {head}"
        f"{usual_step(tables, chain[-1], start, end)}. Gradients that vanish on their way back, "
        "through saturating layers or small weights, do this, and so do lower learning rates for the first layers.",
        tensors=names,
        places=[start, end],
        evidence={"rates": {layers(stage): float(rate) for stage, rate in zip(chain, usual, strict=True)}},
    )


def stages(tables: Tables) -> list[list[str]]:
    """Return the names of the matrices in order from the input to the output, those of one block together.

    The blocks are ordered by their number, and the head comes last. Without blocks, each layer that has a number itself
    (``conv1``, ``conv2``, ``fc1``) is a stage, in the order of the network. Layers without either are left out, since
    nothing tells their place.
    """
    rows = [row for row in tables.tensors if row.kind == "matrix" and row.role not in BESIDE and row.rule != PRODUCT]
    blocks: dict[int, list[str]] = {}
    for row in rows:
        if row.depth is not None:
            blocks.setdefault(row.depth, []).append(row.name)
    chain = [blocks[depth] for depth in sorted(blocks)]
    if not chain:
        chain = [[row.name] for row in rows if row.role != "head" and re.search(r"\d", row.name.rpartition(".")[0])]
    heads = [row.name for row in rows if row.role == "head" and row.depth is None]
    return [*chain, heads] if heads else chain


def _rates(tables: Tables, chain: Sequence[Sequence[str]]) -> FloatArray:
    """Return the relative step per unit of the median matrix of each stage, (stages, checkpoints)."""
    rates = np.full((len(chain), len(tables.checkpoints)), np.nan)
    moving = {series.tensor.name: series for series in curves_of(tables, "relative_step_distance")}
    for row, names in zip(rates, chain, strict=True):
        known = [moving[name] for name in names if name in moving]
        inner = np.full((len(known), len(row)), np.nan)
        for own, series in zip(inner, known, strict=True):
            hidden = np.array([status == "below_precision" for status in series.statuses])
            values = np.where(hidden, series.stored, series.values)
            own[series.places] = per_unit(tables, replace(series, values=values))
        if known:
            row[:] = np.median(inner, axis=0)
    return rates


def _start(tables: Tables, tensor: str, position: int) -> int:
    """Return the position of the checkpoint that the step into another one begins at."""
    (series,) = (one for one in curves_of(tables, "relative_step_distance") if one.tensor.name == tensor)
    return int(starts(tables, series)[series.places == position][0])
