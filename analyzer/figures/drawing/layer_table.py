"""The curves of one metric over all layers in network order, marks for values that do not exist, and notes on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from analyzer.figures.drawing.checkpoint_axis import BoolArray, CheckpointAxis, steps_over_gaps
from analyzer.figures.drawing.keys import KeyLine
from analyzer.figures.drawing.style import GAP_MARKER
from analyzer.figures.drawing.ticks import is_log
from analyzer.model.run import STATUSES_WITH_VALUE

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray, Status
    from analyzer.model.tables import Curve, Tables


@dataclass(frozen=True, slots=True)
class Panel:
    """A metric to be drawn for every layer.

    ``scale`` is ``linear``, ``log`` or ``positive``. A positive metric is drawn as lines on a log axis if its values
    span more than two powers of ten, and as a heat map always on a log scale.

    ``relative`` is for quantities that differ more between layers than over time. A heat map then colors each layer
    relative to its first positive value (``start``) or to its largest one (``range``), so that change shows.
    A panel whose values are at most ``floor`` counts as empty. ``derive`` returns what is drawn of a tensor in place
    of the metric's values (checkpoints,).
    """

    metric: str
    name: str
    unit: str
    scale: Literal["linear", "log", "positive"]
    relative: Literal["start", "range"] | None = None
    floor: float = 0.0
    derive: Callable[[Tables, str, FloatArray], FloatArray] | None = None


@dataclass(frozen=True)
class LayerTable:
    """The values of a panel's metric, (layers, checkpoints); ``curves`` has an entry per name, None without a curve."""

    panel: Panel
    names: tuple[str, ...]
    curves: tuple[Curve | None, ...]
    values: FloatArray

    @cached_property
    def colored(self) -> FloatArray:
        """The values (layers, checkpoints) that a heat map colors: relative to each layer's own if so declared.

        A layer without a positive value has nothing to be relative to: its zeros stay zeros.
        """
        if self.panel.relative is None:
            return self.values
        return np.array([self._relative(row) for row in self.values]).reshape(self.values.shape)

    def _relative(self, row: FloatArray) -> FloatArray:
        positive = row[row > 0]
        if not positive.size:
            return row
        with np.errstate(over="ignore"):  # what is infinitely larger than the start has the last color
            return row / float(positive[0] if self.panel.relative == "start" else positive.max())

    @property
    def log(self) -> bool:
        """Whether lines of these values have a log axis."""
        return is_log(self.panel.scale, self.values)

    @property
    def hides_zeros(self) -> bool:
        """Whether there are zeros, which a log axis cannot show."""
        return self.log and bool((self.values == 0).any())

    def marks(self, layer: int) -> list[tuple[int, str]]:
        """Return (checkpoint, kind of mark) wherever a layer has a mark and no number."""
        curve = self.curves[layer]
        if curve is None:
            return []
        kinds = ((index, mark_of(status)) for index, status in enumerate(curve.statuses))
        return [(index, kind) for index, kind in kinds if kind is not None]


# A star and bare strokes, unlike any layer's own marker; no "+" and "_", which look like a layer's plus and dashes.
MARKS: dict[str, tuple[str, str]] = {  # kind: marker, meaning
    "singular": ("x", "singular: the smallest singular value is zero within rounding, so there is no number"),
    "nonfinite": ("*", "not finite: the weights contain NaN or Inf"),
    "undefined": ("|", "undefined, for example because the matrix is all zeros"),
    "error": ("2", "could not be computed"),
}
ZERO_MARKER = "1"  # three strokes, one of them down toward the zero that a log axis does not reach
_LIMITED: frozenset[Status | None] = frozenset({"below_precision", "precision_limited"})


def mark_of(status: Status | None) -> str | None:
    """Return the kind of mark that stands for a status, None if there is a number or nothing to mark."""
    if status in ("singular", "nonfinite", "undefined"):
        return status
    return "error" if status in ("error", "not_converged", "too_few") else None


def layer_names(tables: Tables, panels: Sequence[Panel], also: Collection[str] = ()) -> tuple[str, ...]:
    """Return the weight matrices, and the tensors in ``also``, with a curve for any of the panels, in network order.

    ``tensor[e]``, one matrix of a stack, has the place of its tensor. Names that are not among the tensors come last.
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
        if known is None or known in matrices or tensor in also:
            found[tensor] = place[known] if known is not None else len(place)
    return tuple(sorted(found, key=lambda name: found[name]))  # stable: a stack keeps the order of its curves


def layer_table(tables: Tables, panel: Panel, names: tuple[str, ...]) -> LayerTable:
    """Collect the curves of a panel; infinite values count as missing."""
    curves = tuple(tables.curves.get(("tensor", name, panel.metric)) for name in names)
    values = np.full((len(names), len(tables.axis)), np.nan)
    for row, curve in zip(values, curves, strict=True):
        if curve is not None:
            drawn = curve.values if panel.derive is None else panel.derive(tables, curve.tensor, curve.values)
            row[:] = np.where(np.isfinite(drawn), drawn, np.nan)
    return LayerTable(panel, names, curves, values)


def has_content(table: LayerTable) -> bool:
    """Check whether there is any number or mark."""
    return bool(np.isfinite(table.values).any()) or _has_marks(table)


def is_negligible(table: LayerTable) -> bool:
    """Check whether there are numbers, but none above the panel's floor, so that the panel would look empty."""
    finite = table.values[np.isfinite(table.values)]
    return finite.size > 0 and bool((np.abs(finite) <= table.panel.floor).all()) and not _has_marks(table)


def _has_marks(table: LayerTable) -> bool:
    return any(table.marks(layer) for layer in range(len(table.names)))


def is_constant(tables: Tables, metric: str, value: float) -> bool:
    """Check whether a metric has no other value in any tensor."""
    curves = (curve for (_, _, name), curve in tables.curves.items() if name == metric)
    return all(bool(((curve.values == value) | np.isnan(curve.values)).all()) for curve in curves)


def notes(
    tables: Tables, axis: CheckpointAxis, layers: Sequence[LayerTable], *, gaps: bool, remarks: Sequence[str] = ()
) -> list[KeyLine]:
    """Explain status marks, steps over gaps and limited precision, as far as they occur, and append the remarks."""
    kinds = {kind for table in layers for layer in range(len(table.names)) for _, kind in table.marks(layer)}
    lines = [KeyLine(meaning, marker=marker) for kind, (marker, meaning) in MARKS.items() if kind in kinds]
    if gaps and gap_steps(tables, axis, layers).any():
        meaning = "hollow: a step over missing checkpoints, which covers more training than the others"
        lines.append(KeyLine(meaning, marker=GAP_MARKER, hollow=True))
    return [*lines, *(KeyLine(text) for text in (*remarks, _precision_note(layers)) if text)]


def gap_steps(tables: Tables, axis: CheckpointAxis, layers: Sequence[LayerTable]) -> BoolArray:
    """Return, for each checkpoint (n,), whether the step of any layer to it leads over a gap."""
    over = np.zeros(len(axis.positions), dtype=bool)
    references = {curve.references for table in layers for curve in table.curves if curve is not None}
    for each in references:  # nearly always one tuple for all layers
        over |= steps_over_gaps(axis, tables, each)
    return over


def _precision_note(layers: Sequence[LayerTable]) -> str | None:
    """Return a note on how many values are limited by the precision in which the weights are stored, None if none.

    An exact zero has that status too if rounding could hide a step. It is not counted, because it correctly shows
    that the weights did not change.
    """
    curves = [curve for table in layers for curve in table.curves if curve]
    drawn = [(status, value) for curve in curves for status, value in zip(curve.statuses, curve.values, strict=True)]
    limited = sum(status in _LIMITED and value != 0 for status, value in drawn)
    if not limited:
        return None
    numbers = sum(status in STATUSES_WITH_VALUE for status, _ in drawn)
    return f"{limited} of {numbers} values are limited by the precision in which the weights are stored"
