"""Say what is remarkable about a figure in this run: one sentence each, computed from the values that it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from analyzer.figures.drawing.layer_table import Panel, layer_names, layer_table
from analyzer.figures.drawing.ticks import number_text
from analyzer.model.names import listed
from analyzer.model.tables import Tables

Remark = Callable[[Tables], str]

_DEPARTS = 1.5  # a layer is named if it ends at this many times what the median layer ends at, relative to its start
_RECENT = 4  # the last quarter of the run is what it is like now
_DIRECTED = 0.1  # cosines of consecutive steps within this of 0 are called unrelated
_MANY = 3  # layers from which on a median is one


class Ends(NamedTuple):
    """The first and the last value of a layer."""

    layer: str
    first: float
    last: float


def ends(tables: Tables, metric: str) -> list[Ends]:
    """Return where each weight matrix with a value starts and ends, in network order."""
    panel = Panel(metric, "", "", "linear")
    table = layer_table(tables, panel, layer_names(tables, [panel]))
    known = [(name, row[np.isfinite(row)]) for name, row in zip(table.names, table.values, strict=True)]
    return [Ends(name, float(row[0]), float(row[-1])) for name, row in known if row.size]


def largest(metric: str, quantity: str) -> Remark:
    """Return the remark that names the layer with the largest value at the end."""
    return lambda tables: _extreme(ends(tables, metric), f"largest {quantity}", largest=True)


def smallest(metric: str, quantity: str) -> Remark:
    """Return the remark that names the layer with the smallest value at the end."""
    return lambda tables: _extreme(ends(tables, metric), f"smallest {quantity}", largest=False)


def _extreme(layers: list[Ends], what: str, *, largest: bool) -> str:
    if not layers:
        return ""
    found = (max if largest else min)(layers, key=lambda layer: layer.last)
    start = f", {_times(found.last / found.first)} its start" if found.first > 0 and found.last > 0 else ""
    several = f"The {what} at the end is {number_text(found.last)}, of {listed([found.layer])}"
    return f"{several}{start}." if len(layers) > 1 else f"{listed([found.layer])} ends at {number_text(found.last)}."


def departure(metric: str, quantity: str) -> Remark:
    """Return the remark on how much the median layer changed, and which one departs most from it."""

    def remark(tables: Tables) -> str:
        changed = [(each.layer, each.last / each.first) for each in ends(tables, metric) if min(each[1:]) > 0]
        if len(changed) < _MANY:
            return ""
        usual = float(np.median([ratio for _, ratio in changed]))
        layer, ratio = max(changed, key=lambda each: abs(np.log(each[1] / usual)))
        text = f"The {quantity} of the median layer ends at {_times(usual)} its start"
        if not 1 / _DEPARTS < ratio / usual < _DEPARTS:
            text += f"; {listed([layer])} departs most, at {_times(ratio)} its start"
        return f"{text}."

    return remark


def outliers(tables: Tables) -> str:
    """Name the layer with the most singular values above the noise at the end, and count those that have any."""
    layers = ends(tables, "mp_outlier_count")
    if not any(layer.last for layer in layers):
        return "No layer has a singular value above the noise at the end." if layers else ""
    most = max(layers, key=lambda layer: layer.last)
    having = sum(layer.last > 0 for layer in layers)
    have = "has" if having == 1 else "have"
    return (
        f"At the end {having} of {len(layers)} layers {have} singular values above the noise, "
        f"{listed([most.layer])} the most: {most.last:.0f}."
    )


def direction(tables: Tables) -> str:
    """Say whether consecutive steps of the median layer agree in the last quarter of the run."""
    panel = Panel("update_cosine", "", "", "linear")
    values = layer_table(tables, panel, layer_names(tables, [panel])).values
    recent = values[:, -max(1, values.shape[1] // _RECENT) :]
    if not np.isfinite(recent).any():
        return ""
    cosine = float(np.nanmedian(recent))
    meaning = "the steps are unrelated"
    if abs(cosine) > _DIRECTED:
        meaning = "the motion still continues" if cosine > 0 else "the motion turns back at each step"
    return f"In the last quarter of the run the median cosine is {number_text(round(cosine, 2))}: {meaning}."


def _times(ratio: float) -> str:
    return f"{number_text(float(f'{ratio:.2g}'))} times"
