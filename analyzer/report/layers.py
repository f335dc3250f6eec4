"""List the layers of a run: the rows of the page's table, and the places of their own pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analyzer.model.network import OTHER
from analyzer.model.run import STATUSES_WITH_VALUE
from analyzer.model.tables import Tables, TensorRow
from analyzer.report.rendering import short_number

LAYER_COLUMNS = (
    ("step_distance", "last step ‖ΔW‖"),
    ("initial_distance", "from start ‖W−W₀‖"),
    ("condition_number", "κ"),
    ("effective_rank", "effective rank"),
    ("stable_rank", "stable rank"),
    ("zero_fraction", "exact zeros"),
)


@dataclass(frozen=True, slots=True)
class Layer:
    """A weight matrix, or a stack of them; ``number`` counts from 1, ``findings`` are the numbers of those about it."""

    number: int
    row: TensorRow
    findings: tuple[int, ...]

    @property
    def file(self) -> str:
        """The name of its page."""
        return f"{self.number:03d}.html"

    @property
    def role(self) -> str:
        """Its role, empty where that is unknown."""
        return "" if self.row.role == OTHER else self.row.role


def layers_of(tables: Tables) -> list[Layer]:
    """Return the weight matrices of a run in the order of the network.

    A finding about another tensor of a module, such as its bias, is about the matrices of that module, too.
    """
    rows = [row for row in tables.tensors if row.kind in ("matrix", "stack")]
    matrices = {row.name for row in rows}
    modules = {row.name: row.module for row in tables.tensors}
    about: dict[tuple[str, str], list[int]] = {}
    for number, finding in enumerate(tables.findings, start=1):
        keys = [("tensor", name) if name in matrices else ("module", modules.get(name, "")) for name in finding.tensors]
        for key in dict.fromkeys(key for key in keys if key[1]):
            about.setdefault(key, []).append(number)
    return [
        Layer(
            number,
            row,
            tuple(sorted({*about.get(("tensor", row.name), ()), *about.get(("module", row.module), ())})),
        )
        for number, row in enumerate(rows, start=1)
    ]


def columns_of(tables: Tables) -> list[tuple[str, str]]:
    """Return (metric, heading) of the columns of the table of layers: those that were measured."""
    measured = {metric for scope, _, metric in tables.curves if scope == "tensor"}
    return [column for column in LAYER_COLUMNS if column[0] in measured]


def cells_of(tables: Tables, layer: Layer, columns: Sequence[tuple[str, str]]) -> list[str]:
    """Return a layer's values at the last checkpoint; a status replaces a missing number."""
    cells = []
    for metric, _ in columns:
        curve = tables.curves.get(("tensor", layer.row.name, metric))
        status = curve.statuses[-1] if curve else None
        has_value = curve is not None and status in STATUSES_WITH_VALUE
        cells.append(short_number(float(curve.values[-1])) if curve and has_value else (status or "–"))
    return cells
