"""The path of the weights in the two directions in which it extends furthest."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from analyzer.figures.catalog import REPORT
from analyzer.figures.checkpoint_distances import NAME
from analyzer.figures.drawing.colors import color_scale, draw_color_bar
from analyzer.figures.drawing.finding_marks import Mark, explained, marks_for, tag
from analyzer.figures.drawing.keys import KeyLine, draw_key, key_height
from analyzer.figures.drawing.labels import fitted, text_width
from analyzer.figures.drawing.layer_table import Panel
from analyzer.figures.drawing.line_panels import FOOT_GAP, LEFT
from analyzer.figures.drawing.sheet import HEAD, MARGIN, new_sheet, place, sheet_width, size_of, text_room
from analyzer.figures.drawing.style import INK, LABEL_SIZE, SMALL_SIZE, SOFT_INK, plain_axes
from analyzer.figures.drawing.ticks import linear_ticks
from analyzer.model.describing import place_text
from analyzer.model.score_names import accuracies, losses
from analyzer.model.tables import UNITS

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray, IntArray
    from analyzer.model.tables import Tables

_FEWEST = 3  # checkpoints: two make a straight line
_LOWEST, _HIGHEST = 2.4, 4.8  # inches
_BAR = 0.75  # inches for the color bar
_DIRECTIONS = ((1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1))  # from a point to its label
_NAME_WIDTH = 120.0  # points
_ROOM = 0.08  # of the path's extent, left free around it


@dataclass(frozen=True, slots=True)
class _Plane:
    """The path in its two principal directions.

    Attributes:
        checkpoints: (n,) the positions in the run of the checkpoints on the path.
        coordinates: (n, 2), in weight units.
        shares: (2,) the share of the path's variance in each direction.
    """

    checkpoints: IntArray
    coordinates: FloatArray
    shares: FloatArray


@REPORT.figure(
    order=54,
    title="The path of the weights, seen from its widest side",
    how_to_read=(
        "All weights of a checkpoint are one point, seen in the two directions in which the points vary most; the axes "
        "tell how much of the variance that is. Jumps are long edges, returns lead to older points, and what lies "
        "outside the plane is not seen."
    ),
)
def path(tables: Tables) -> Figure | None:
    """Draw the checkpoints in the plane of their two first principal components, with a score as color."""
    plane = _plane_of(tables)
    if plane is None:
        return None
    marks = marks_for(tables, NAME)
    name, values = _colors_of(tables)
    width = sheet_width() - LEFT - 2 * MARGIN
    panel = Panel("", fitted(name, width * 72, LABEL_SIZE), "color of the points; gray without a value", "linear")
    foot = [KeyLine("principal components of the sketched positions; distances in the plane are at most the true ones")]
    left_out = len(tables.checkpoints) - len(plane.checkpoints)
    if left_out:
        foot.append(KeyLine(f"{left_out} checkpoints cannot be compared with these, and are left out"))
    foot += explained(marks)
    top, height = HEAD + _BAR, _height_of(plane, width)
    drawn = new_sheet(top + height + FOOT_GAP + key_height(foot) + MARGIN)
    scale = color_scale(values, "linear")
    draw_color_bar(place(drawn, LEFT, HEAD + 0.38, width, 0.12), panel, scale)
    axes = place(drawn, LEFT, top, width, height)
    _finish_plane(axes, plane)
    x, y = plane.coordinates.T
    axes.plot(x, y, color=SOFT_INK, linewidth=0.8, zorder=1)
    colors = scale.colors(values[plane.checkpoints]) / 255
    colors[np.isnan(values[plane.checkpoints])] = (0.75, 0.75, 0.75, 1)
    axes.scatter(x, y, c=colors, s=26, zorder=2, edgecolors=INK, linewidths=0.4)
    _label_points(axes, tables, plane, marks)
    draw_key(drawn, MARGIN, top + height + FOOT_GAP, text_room(), foot)
    return drawn


def _plane_of(tables: Tables) -> _Plane | None:
    """Return the plane of the longest part of the run; None if the path is not known or is a point."""
    trajectory = tables.trajectory
    parts = np.array(trajectory.parts, dtype=np.intp)
    if len(parts) != len(tables.checkpoints) or not (parts >= 0).any():
        return None
    names, counts = np.unique(parts[parts >= 0], return_counts=True)
    checkpoints = np.flatnonzero(parts == names[counts.argmax()])
    if len(checkpoints) < _FEWEST:
        return None
    centered = trajectory.positions[checkpoints] - trajectory.positions[checkpoints].mean(axis=0)
    values, vectors = np.linalg.eigh(centered @ centered.T)
    values, vectors = np.clip(values[::-1], 0, None), vectors[:, ::-1]
    if not values[0] > 0:
        return None
    coordinates = vectors[:, :2] * np.sqrt(values[:2])
    # An eigenvector's sign is arbitrary: the run ends at the right, and its middle is at the top.
    coordinates[:, 0] *= np.sign(coordinates[-1, 0] - coordinates[0, 0]) or 1.0
    coordinates[:, 1] *= np.sign(coordinates[len(coordinates) // 2, 1] - coordinates[0, 1]) or 1.0
    return _Plane(checkpoints, coordinates, values[:2] / values.sum())


def _colors_of(tables: Tables) -> tuple[str, FloatArray]:
    """Return the score that colors the points: held-out accuracy if there is one, else a loss, else the time."""
    known = {name: values for name, values in tables.scalars.items() if np.isfinite(values).any()}
    for name in (*accuracies(known), *losses(known)):
        return name.replace("_", " "), np.asarray(known[name], dtype=np.float64)
    return tables.axis_label, np.asarray(tables.axis, dtype=np.float64)


def _height_of(plane: _Plane, width: float) -> float:
    """Return the height in inches at which the path fills a panel ``width`` inches wide."""
    extent, height = np.ptp(plane.coordinates, axis=0) * (1 + 2 * _ROOM)
    return float(np.clip(width * height / extent if extent > 0 else _HIGHEST, _LOWEST, _HIGHEST))


def _finish_plane(axes: Axes, plane: _Plane) -> None:
    """Set up the axes: one scale for both directions, so that distances and angles are true."""
    plain_axes(axes, grid=True)
    width, height = size_of(axes)
    low, high = plane.coordinates.min(axis=0), plane.coordinates.max(axis=0)
    per_inch = (1 + 2 * _ROOM) * max((high[0] - low[0]) / width, (high[1] - low[1]) / height)
    middle = (low + high) / 2
    for place_of, size, center, most in (("x", width, middle[0], 8), ("y", height, middle[1], 6)):
        limits = (float(center - per_inch * size / 2), float(center + per_inch * size / 2))
        ticks, texts = linear_ticks(limits, most)
        share = 100 * float(plane.shares["xy".index(place_of)])
        name = f"{'first' if place_of == 'x' else 'second'} direction ({share:.0f} % of the variance)"
        axes.set(**{f"{place_of}lim": limits})
        getattr(axes, f"set_{place_of}ticks")(ticks, texts)
        getattr(axes, f"set_{place_of}label")(name, size=LABEL_SIZE, color=INK, labelpad=3)


def _label_points(axes: Axes, tables: Tables, plane: _Plane, marks: Sequence[Mark]) -> None:
    """Name the first and the last checkpoint, and those that findings are about."""
    labels: list[tuple[int, Mark | None]] = [(0, None), (len(plane.checkpoints) - 1, None)]
    on_path = {int(checkpoint): index for index, checkpoint in enumerate(plane.checkpoints)}
    for mark in marks:
        labels += [(on_path[spot], mark) for spot in sorted({mark.first, mark.last}) if spot in on_path]
    points = [_in_points(axes, spot) for spot in plane.coordinates]
    taken = [Bbox.from_extents(*(point - 3), *(point + 3)) for point in points]
    for index, about in labels[::-1]:
        name = _place_name(tables, int(plane.checkpoints[index]))
        text = name if about is None else f"{about.number}: {name}"
        spot = plane.coordinates[index]
        offset = _free_offset(axes, points[index], (1.1 * text_width(text) + 6, 12.0), taken)
        label = axes.annotate(text, spot, offset, textcoords="offset points", size=SMALL_SIZE, va="center", ha="center")
        if about is not None:
            box = {"boxstyle": "round,pad=0.15", "facecolor": about.color, "linewidth": 0}
            label.set(color="white", weight="bold", bbox=box)
            (ring,) = axes.plot(*spot[:, None], "o", markersize=9, color=about.color, markerfacecolor="none", mew=2)
            tag(label, about)
            tag(ring, about)


def _in_points(axes: Axes, spot: FloatArray) -> FloatArray:
    """Return the place of a point of the panel, in points from its lower left corner."""
    shares = axes.transAxes.inverted().transform(axes.transData.transform(spot))
    return np.asarray(shares * size_of(axes)) * 72


def _free_offset(axes: Axes, point: FloatArray, size: tuple[float, float], taken: list[Bbox]) -> tuple[float, float]:
    """Return the offset in points from ``point`` at which a label is inside the panel and clear of what is there."""
    width, height = (72 * side for side in size_of(axes))
    for away, (right, up) in itertools.product((1.0, 1.6, 2.4, 3.4), _DIRECTIONS):
        offset = (right * (size[0] / 2 + 8 * away), up * 13 * away)
        box = Bbox.from_bounds(point[0] + offset[0] - size[0] / 2, point[1] + offset[1] - size[1] / 2, *size)
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        if inside and not any(box.overlaps(other) for other in taken):
            taken.append(box)
            return offset
    return (0.0, 13.0)


def _place_name(tables: Tables, checkpoint: int) -> str:
    """Return ``epoch 7``, or the checkpoint's name if no unit of training orders the run."""
    if tables.axis_label in UNITS:
        return place_text(tables.axis_label, f"{tables.axis[checkpoint]:.4g}")
    return fitted(tables.checkpoints[checkpoint].name, _NAME_WIDTH)
