"""How far any two checkpoints are apart, and how alike their directions from the start are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.catalog import REPORT
from analyzer.figures.drawing.checkpoint_axis import CheckpointAxis, checkpoint_axis, draw_checkpoint_axis
from analyzer.figures.drawing.colors import ColorScale, color_scale, draw_color_bar
from analyzer.figures.drawing.finding_marks import (
    NUMBERS_HEIGHT,
    Mark,
    draw_column_marks,
    explained,
    marks_for,
)
from analyzer.figures.drawing.heat_cells import cells
from analyzer.figures.drawing.keys import KeyLine, draw_key, key_height
from analyzer.figures.drawing.layer_table import Panel
from analyzer.figures.drawing.line_panels import FOOT_GAP, LEFT
from analyzer.figures.drawing.sheet import HEAD, MARGIN, is_narrow, new_sheet, place, sheet_width, text_room
from analyzer.figures.drawing.style import NO_VALUE, plain_axes

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray
    from analyzer.model.tables import Tables

NAME = "checkpoint_distances"
_FEWEST = 3  # checkpoints: the distance between two is one number
_GAP, _BAR = 0.75, 0.75  # inches between the maps, and above them for the color bars
_SAMPLES = 600  # of the side of a map of uneven columns
_DISTANCE = Panel("distance", "Distance between the weights", "Frobenius norm, all tensors together", "linear")
_COSINE = Panel("cosine", "Cosine of the displacements from the start", "1 = the same direction", "linear")


@REPORT.figure(
    order=52,
    title="How far any two checkpoints are apart",
    how_to_read=(
        "Each cell compares two checkpoints, all weights together; in a run in right order colors change steadily away "
        "from the diagonal. A bright cross is a checkpoint that belongs elsewhere, a dark spot off the diagonal a "
        "return to older weights."
    ),
)
def checkpoint_distances(tables: Tables) -> Figure | None:
    """Draw the distances between all checkpoints, and beside them the cosines of their displacements from the start."""
    trajectory = tables.trajectory
    if len(trajectory.parts) != len(tables.checkpoints) or not np.isfinite(trajectory.distances).sum() >= _FEWEST**2:
        return None
    marks = marks_for(tables, NAME)
    axis = checkpoint_axis(tables)
    maps = ((_DISTANCE, trajectory.distances), (_COSINE, trajectory.cosines))
    foot = [KeyLine("distances are estimated from sketches of the steps, within a few percent"), *explained(marks)]
    if any(np.isnan(values).any() for _, values in maps) or -1 in cells(axis)[1]:
        foot.insert(0, KeyLine("no value: no checkpoint, no step to it, or the start itself", patch=NO_VALUE))
    abreast = 1 if is_narrow() else len(maps)
    side = (sheet_width() - LEFT - (abreast - 1) * _GAP - 2 * MARGIN) / abreast
    above = _BAR + (NUMBERS_HEIGHT / 72 if marks else 0.0)
    pitch = above + side + FOOT_GAP
    bottom = HEAD + len(maps) // abreast * pitch
    drawn = new_sheet(bottom + key_height(foot) + MARGIN)
    for index, (panel, values) in enumerate(maps):
        line, column = divmod(index, abreast)
        left, start = LEFT + column * (side + _GAP), HEAD + line * pitch
        scale = color_scale(values, panel.scale)
        draw_color_bar(place(drawn, left, start + 0.38, side, 0.12), panel, scale)
        _draw_map(place(drawn, left, start + above, side, side), axis, values, scale, marks)
    draw_key(drawn, MARGIN, bottom, text_room(), foot)
    return drawn


def _draw_map(axes: Axes, axis: CheckpointAxis, values: FloatArray, scale: ColorScale, marks: Sequence[Mark]) -> None:
    edges, columns = cells(axis)
    low, high = float(edges[0]), float(edges[-1])
    sampled = np.array(columns)
    widths = np.diff(edges)
    if np.ptp(widths) > 1e-6 * widths.mean():  # columns of unequal width: sample them evenly
        sampled = sampled[np.searchsorted(edges[1:-1], np.linspace(low, high, 2 * _SAMPLES + 1)[1::2])]
    shown = np.where((sampled >= 0)[:, None] & (sampled >= 0), values[np.ix_(sampled, sampled)], np.nan)
    plain_axes(axes, grid=False)
    axes.set_facecolor(NO_VALUE)
    axes.imshow(scale.colors(shown), extent=(low, high, high, low), aspect="auto", interpolation="none")
    draw_checkpoint_axis(axes, axis, limits=(low, high))
    ticks = [float(tick) for tick in axes.get_xticks()]
    axes.set_yticks(ticks, [label.get_text() for label in axes.get_xticklabels()], parse_math=False)
    axes.set_ylim(high, low)
    draw_column_marks(axes, axis, marks, down=True)
