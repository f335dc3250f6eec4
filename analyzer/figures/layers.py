"""The curves of one metric over all layers, in network order, and what a mark instead of a number means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from analyzer.model.run import STATUSES_WITH_VALUE

if TYPE_CHECKING:
    from analyzer.model.run import Curve, FloatArray, Status, Tables


@dataclass(frozen=True, slots=True)
class Panel:
    """A metric to be shown for every layer.

    ``scale``: ``linear``; ``log``; or ``positive``, which is drawn on a log axis where the values span more
    than two powers of ten, and on a log scale whenever it is drawn as colour.
    """

    metric: str
    name: str
    unit: str
    scale: Literal["linear", "log", "positive"]


@dataclass(frozen=True, slots=True)
class LayerTable:
    """``curves`` runs alongside ``names``, None where there is none; ``values`` is (layers, checkpoints)."""

    names: tuple[str, ...]
    curves: tuple[Curve | None, ...]
    values: FloatArray

    def marks(self, layer: int) -> list[tuple[int, str]]:
        """Give the checkpoints of a layer that have a mark instead of a number, and which kind of mark."""
        curve = self.curves[layer]
        if curve is None:
            return []
        found = ((index, mark_of(status)) for index, status in enumerate(curve.statuses))
        return [(index, mark) for index, mark in found if mark is not None]


# A star and bare strokes, unlike any layer's own marker; no "+" and "_", which look like a layer's plus and dashes.
MARKS: dict[str, tuple[str, str]] = {  # kind: marker, meaning
    "singular": ("x", "singular: the smallest singular value is zero within rounding, so there is no number"),
    "nonfinite": ("*", "not finite: the weights hold NaN or Inf"),
    "undefined": ("|", "undefined there, as for an all-zero matrix"),
    "error": ("2", "could not be computed"),
}
ZERO_MARKER = "1"  # three strokes, one of them down to where a log axis would have its zero
_DECADES = 2.0
_LIMITED: frozenset[Status | None] = frozenset({"below_precision", "precision_limited"})


def is_log(panel: Panel, values: FloatArray) -> bool:
    """Say whether a panel of lines has a log axis for these values."""
    if panel.scale != "positive":
        return panel.scale == "log"
    positive = values[np.isfinite(values) & (values > 0)]
    return positive.size > 0 and bool(np.ptp(np.log10(positive)) > _DECADES)


def has_zeros(panel: Panel, values: FloatArray) -> bool:
    """Say whether a panel of lines has a log axis and zeros, which such an axis cannot show."""
    return is_log(panel, values) and bool((values == 0).any())


def mark_of(status: Status | None) -> str | None:
    """Give the kind of mark that stands for a status, None where there is a number or simply nothing."""
    if status in ("singular", "nonfinite", "undefined"):
        return status
    return "error" if status in ("error", "not_converged", "too_few") else None


def layer_names(tables: Tables, panels: Sequence[Panel]) -> tuple[str, ...]:
    """Give the weight matrices that have a curve for any of the panels, in network order.

    ``tensor[e]``, one matrix of a stack, stands at the place of its tensor. A name that is not among the
    tensors comes last.
    """
    metrics = {panel.metric for panel in panels}
    place = {row.name: index for index, row in enumerate(tables.tensors)}
    matrices = {row.name for row in tables.tensors if row.kind == "matrix"}
    found: dict[str, int] = {}
    for scope, tensor, metric in tables.curves:
        if scope != "tensor" or metric not in metrics:
            continue
        stack = tensor.rpartition("[")[0] if tensor.endswith("]") else ""
        known = tensor if tensor in place else stack if stack in place else None
        if known is None or known in matrices:
            found[tensor] = place[known] if known is not None else len(place)
    return tuple(sorted(found, key=lambda name: found[name]))  # stable: a stack keeps the order of its curves


def layer_table(tables: Tables, panel: Panel, names: tuple[str, ...]) -> LayerTable:
    """Collect a panel's curves; infinite values count as no value."""
    curves = tuple(tables.curves.get(("tensor", name, panel.metric)) for name in names)
    values = np.full((len(names), len(tables.axis)), np.nan)
    for row, curve in zip(values, curves, strict=True):
        if curve is not None:
            row[:] = np.where(np.isfinite(curve.values), curve.values, np.nan)
    return LayerTable(names, curves, values)


def anything_to_show(layers: Sequence[LayerTable]) -> bool:
    """Say whether there is a number or a mark at all."""
    return any(
        bool(np.isfinite(table.values).any()) or any(table.marks(layer) for layer in range(len(table.names)))
        for table in layers
    )


def nothing_but_zeros(table: LayerTable) -> bool:
    """Say whether there are numbers and all of them are zero, so that a panel would look empty."""
    finite = table.values[np.isfinite(table.values)]
    return finite.size > 0 and not finite.any() and not any(table.marks(layer) for layer in range(len(table.names)))


def precision_remark(layers: Sequence[LayerTable]) -> str | None:
    """Say how many of the numbers drawn are limited by the precision in which the weights are stored.

    An exact zero has that status too where rounding could hide a step, but it shows as what it is: weights that stand
    still.
    """
    curves = [curve for table in layers for curve in table.curves if curve]
    drawn = [(status, value) for curve in curves for status, value in zip(curve.statuses, curve.values, strict=True)]
    limited = sum(status in _LIMITED and value != 0 for status, value in drawn)
    if not limited:
        return None
    numbers = sum(status in STATUSES_WITH_VALUE for status, _ in drawn)
    return f"{limited} of {numbers} values are limited by the precision in which the weights are stored"
