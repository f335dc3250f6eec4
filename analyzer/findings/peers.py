"""Report the layer that departs from its peers: layers of the same role, shape and kind in other blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analyzer.findings.curves import at_the_end, curves_of, root_of_size
from analyzer.findings.rules import Draft, rule
from analyzer.findings.spectra import random_condition_bound
from analyzer.findings.wording import agree, layers, number, place, times
from analyzer.model.network import OTHER, block_label, leaf_of
from analyzer.model.run import PRODUCT
from analyzer.model.tables import Tables, TensorRow

FEWEST_PEERS = 2  # besides the layer itself
ALIKE = 2.0  # largest ratio among the peers, for their agreement to mean something
DEPARTS: Mapping[str, tuple[float, str, str]] = {  # times beyond the nearest peer, what it is called, and its figure
    "rms": (3.0, "norm", "norm"),
    "initial_distance": (5.0, "distance from its start", "initial_distance"),
    "effective_rank": (2.0, "effective rank", "rank"),
    "condition_number": (100.0, "condition number", "condition_number"),
}


@dataclass(frozen=True, slots=True)
class _Departure:
    """A layer whose value is ``ratio`` times beyond all of its peers, above (or below) them."""

    tensor: TensorRow
    metric: str
    value: float
    nearest: float
    peers: int
    since: int | None

    @property
    def ratio(self) -> float:
        return max(self.value / self.nearest, self.nearest / self.value)


@rule()
def layer_departs_from_peers(tables: Tables) -> Iterator[Draft]:
    """Report layers whose norm, distance, rank or condition number ends far beyond that of every peer.

    Peers have the same role (by their names: `analyzer.model.network`), shape and leaf name in other blocks; where the
    role is unknown, the same name but for numbers. A layer departs if it ends 3 times (norm), 5 times (distance), 2
    times (rank) or 100 times (condition number, above that of a random matrix) beyond the *nearest* of at least two
    peers, which lie within a factor of 2 of each other (`ALIKE`): a trend with depth makes no layer depart.

    Measured here: in four healthy transformers of three blocks (`tests/benchmarks/healthy_trainings.py`) no layer ends
    more than 1.24 times beyond its nearest peer in norm, 1.40 in distance, 1.09 in effective rank or 17 in the
    condition number (of a square matrix); in a deep sigmoid network, of which the last hidden layer alone learns, 1.09
    in norm. A layer of which one measure is reported is not reported for the others, since its norm brings about its
    distance and its rank.
    """
    groups = _groups(tables)
    told: set[str] = set()
    for metric, (limit, words, figure) in DEPARTS.items():
        found = [one for one in _departures(tables, metric, limit, groups) if one.tensor.name not in told]
        told |= {one.tensor.name for one in found}
        if found:
            yield replace(_draft(tables, words, sorted(found, key=lambda one: one.ratio, reverse=True)), figure=figure)


def _draft(tables: Tables, words: str, found: Sequence[_Departure]) -> Draft:
    worst = found[0]
    side = "more" if worst.value > worst.nearest else "less"
    is_labeled = worst.tensor.depth is None or block_label(worst.tensor.name)  # with its block already
    block = "" if is_labeled else f" (block {worst.tensor.depth})"
    since = "from the first checkpoint on" if not worst.since else f"since {place(tables, worst.since)}"
    role = "name" if worst.tensor.role == OTHER else f"role ({worst.tensor.role})"
    do = agree(len(found) - 1, "does", "do")
    others = f" So {do} {layers([one.tensor.name for one in found[1:]])}." if found[1:] else ""
    # The figure shows the norm; peers have the same shape.
    scale = root_of_size(worst.tensor) if worst.metric == "rms" else 1.0
    return Draft(
        "notice",
        f"{layers([worst.tensor.name])}{block} departs from the {worst.peers} other layers of its {role} and shape: "
        f"its {words} ends at {number(scale * worst.value)}, {times(worst.ratio)} {side} than the nearest of them "
        f"({number(scale * worst.nearest)}), {since}.{others}",
        tensors=[one.tensor.name for one in found],
        places=sorted({one.since or 0 for one in found} | {len(tables.checkpoints) - 1}),
        evidence={
            "metric": worst.metric,
            "ratio": {one.tensor.name: one.ratio for one in found},
            "role": {one.tensor.name: one.tensor.role for one in found},
            "depth": {one.tensor.name: one.tensor.depth for one in found},
        },
    )


def _groups(tables: Tables) -> list[list[str]]:
    """Return the names of the matrices that are each other's peers, groups with enough of them."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for row in tables.tensors:
        if row.kind == "matrix" and row.depth is not None and row.rule != PRODUCT:
            like = re.sub(r"\d+", "#", row.name) if row.role == OTHER else (row.role, leaf_of(row.name))
            groups.setdefault((like, row.shape), []).append(row.name)
    return [names for names in groups.values() if len(names) > FEWEST_PEERS]


def _departures(tables: Tables, metric: str, limit: float, groups: Sequence[Sequence[str]]) -> Iterator[_Departure]:
    """Yield the layers that depart from their peers in one metric, at most one of each group."""
    curves = {series.tensor.name: series for series in curves_of(tables, metric)}
    for group in groups:
        ends = {name: at_the_end(curves[name].values) for name in group if name in curves}
        ends = {name: value for name, value in ends.items() if value > 0}
        for name, value in ends.items():
            others = [value for other, value in ends.items() if other != name]
            if len(others) < FEWEST_PEERS or max(others) > ALIKE * min(others):
                continue
            nearest = max(others) if value > max(others) else min(others)
            if min(others) <= value <= max(others) or max(value / nearest, nearest / value) < limit:
                continue
            shape = curves[name].tensor.matrix_shape
            if metric == "condition_number" and (shape is None or value < random_condition_bound(*shape)):
                continue
            above = value > nearest
            apart = _apart_since(tables, metric, name, [other for other in ends if other != name], limit, above)
            yield _Departure(curves[name].tensor, metric, value, nearest, len(others), apart)


def _apart_since(tables: Tables, metric: str, name: str, peers: Sequence[str], limit: float, above: bool) -> int | None:
    """Return the position from which on a layer is that far from all of its peers; None if from the first on."""
    own = np.asarray(tables.curves["tensor", name, metric].values, dtype=np.float64)
    rest = np.array([tables.curves["tensor", peer, metric].values for peer in peers], dtype=np.float64)
    near = own < limit * rest.max(axis=0) if above else own * limit > rest.min(axis=0)
    places = np.flatnonzero(near)
    return int(places[-1]) + 1 if len(places) and places[-1] + 1 < len(own) else None
