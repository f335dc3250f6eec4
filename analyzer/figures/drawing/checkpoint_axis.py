"""The horizontal axis that the panels of a figure share: where the checkpoints are, and where some are missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from analyzer.figures.drawing.labels import fitted
from analyzer.figures.drawing.sheet import size_of
from analyzer.figures.drawing.style import INK, LABEL_SIZE
from analyzer.figures.drawing.ticks import linear_ticks

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray
    from analyzer.model.tables import Tables

BoolArray = npt.NDArray[np.bool_]

GAP = 1.5  # a spacing longer than this many usual ones has room for a missing checkpoint
_REGULAR_TOLERANCE, _REGULAR_SHARE = 0.05, 0.5  # half of the spacings within 5 % of the median make it the usual one
_TICK_PITCH = 0.62  # inches


@dataclass(frozen=True, slots=True)
class CheckpointAxis:
    """The increasing positions (n,) of the checkpoints, the label of the axis, and the usual spacing, NaN if none."""

    positions: FloatArray
    label: str
    spacing: float

    @property
    def limits(self) -> tuple[float, float]:
        """The limits of the axis: half a checkpoint before the first and after the last one."""
        first, last = float(self.positions[0]), float(self.positions[-1])
        margin = max(0.015 * (last - first), 0.5 * self.spacing if np.isfinite(self.spacing) else 0.0)
        return (first - margin, last + margin) if margin > 0 else (first - 0.5, last + 0.5)


def checkpoint_axis(tables: Tables) -> CheckpointAxis:
    """Return the axis of a run; if it does not increase throughout, number the checkpoints instead."""
    positions = np.asarray(tables.axis, dtype=np.float64)
    label = tables.axis_label
    steps = np.diff(positions)
    if not np.isfinite(positions).all() or not (steps > 0).all():
        positions, label = np.arange(len(positions), dtype=np.float64), "position in the run"
        steps = np.diff(positions)
    median = float(np.median(steps)) if steps.size else np.nan
    near = np.abs(steps - median) <= _REGULAR_TOLERANCE * median
    regular = steps.size > 0 and float(np.mean(near)) >= _REGULAR_SHARE
    return CheckpointAxis(positions, label, median if regular else np.nan)


def steps_over_gaps(axis: CheckpointAxis, tables: Tables, references: tuple[str | None, ...]) -> BoolArray:
    """Return, for each checkpoint (n,), whether the step to it leads over a gap.

    It does if the checkpoint is not compared with the one before it, or if one is missing in between.
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


def draw_checkpoint_axis(
    axes: Axes,
    axis: CheckpointAxis,
    *,
    limits: tuple[float, float] | None = None,
    labeled: bool = True,
    titled: bool = True,
) -> None:
    """Set the limits and ticks of the horizontal axis; ``labeled`` writes their numbers, ``titled`` also its label."""
    limits = limits or axis.limits
    axes.set_xlim(*limits)
    width = size_of(axes)[0]
    whole = bool((axis.positions == np.round(axis.positions)).all())
    positions, texts = linear_ticks(limits, max(2, int(width / _TICK_PITCH)), integer=whole)
    axes.set_xticks(positions, texts if labeled else [""] * len(texts), parse_math=False)
    if labeled and titled:
        axes.set_xlabel(fitted(axis.label, 72 * width, LABEL_SIZE), size=LABEL_SIZE, color=INK, labelpad=3)
