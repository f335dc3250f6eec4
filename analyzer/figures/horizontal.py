"""The horizontal axis that a figure's panels share: where checkpoints stand, where some are missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from analyzer.figures.labels import fitted
from analyzer.figures.sheet import size_of
from analyzer.figures.style import INK, LABEL_SIZE
from analyzer.figures.ticks import linear_ticks

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray, Tables

BoolArray = npt.NDArray[np.bool_]

GAP = 1.5  # spacings longer than this many usual ones leave room for a missing checkpoint


@dataclass(frozen=True, slots=True)
class Horizontal:
    """Increasing places of the checkpoints, what they count, and the usual spacing, NaN if none."""

    positions: FloatArray
    label: str
    spacing: float

    @property
    def limits(self) -> tuple[float, float]:
        """Where the axis begins and ends: half a checkpoint beyond the first and the last."""
        first, last = float(self.positions[0]), float(self.positions[-1])
        margin = max(0.015 * (last - first), 0.5 * self.spacing if np.isfinite(self.spacing) else 0.0)
        return (first - margin, last + margin) if margin > 0 else (first - 0.5, last + 0.5)


def horizontal(tables: Tables) -> Horizontal:
    """Take the run's axis; where it does not increase throughout, number the checkpoints instead."""
    positions = np.asarray(tables.axis, dtype=np.float64)
    label = tables.axis_label
    steps = np.diff(positions)
    if not np.isfinite(positions).all() or not (steps > 0).all():
        positions, label = np.arange(len(positions), dtype=np.float64), "position in the run"
        steps = np.diff(positions)
    median = float(np.median(steps)) if steps.size else np.nan
    regular = steps.size > 0 and float(np.mean(np.abs(steps - median) <= 0.05 * median)) >= 0.5
    return Horizontal(positions, label, median if regular else np.nan)


def steps_over_gaps(axis: Horizontal, tables: Tables, references: tuple[str | None, ...]) -> BoolArray:
    """Say, for each checkpoint, whether it is compared with another than the one that should come before it.

    That is so where its reference is not the checkpoint before it, or where one is missing in between.
    """
    places = {row.name: index for index, row in enumerate(tables.checkpoints)}
    over = np.zeros(len(axis.positions), dtype=bool)
    for index, reference in enumerate(references):
        if reference is None or reference not in places:
            continue
        before = places[reference]
        distance = axis.positions[index] - axis.positions[before]
        over[index] = before != index - 1 or distance > GAP * axis.spacing
    return over


def draw_horizontal(
    axes: Axes, axis: Horizontal, *, limits: tuple[float, float] | None = None, labelled: bool = True
) -> None:
    """Set limits, ticks and, where ``labelled``, the numbers and what they count."""
    limits = limits or axis.limits
    axes.set_xlim(*limits)
    width = size_of(axes)[0]
    whole = bool((axis.positions == np.round(axis.positions)).all())
    positions, texts = linear_ticks(limits, max(2, int(width / 0.62)), integer=whole)
    axes.set_xticks(positions, texts if labelled else [""] * len(texts), parse_math=False)
    if labelled:
        axes.set_xlabel(fitted(axis.label, 72 * width, LABEL_SIZE), size=LABEL_SIZE, color=INK, labelpad=3)
