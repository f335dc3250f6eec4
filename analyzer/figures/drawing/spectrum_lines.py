"""Every singular value of a matrix as a thin line through time; those beyond the edge of the noise are colored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from analyzer.figures.drawing.checkpoint_axis import BoolArray, CheckpointAxis
from analyzer.figures.drawing.line_panels import finish_panel
from analyzer.figures.drawing.style import INK, Look
from analyzer.figures.drawing.ticks import linear_limits, log_limits

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray
    from analyzer.model.spectra import SpectrumThroughTime

EDGE_LOOK = Look(INK, (0, (4, 2)), "", 1.1)
_PLAIN, _BAND = "#8a949e", "#c9d0d6"
_MOST_POINTS = 4000  # of all lines in an SVG; more are drawn as pixels there, too
_BANDS = ((0, 8), (1, 7), (2, 6), (3, 5))  # pairs of quantiles, from the outermost to the innermost
_EXPLODES = 20.0  # a largest singular value that changes by more than this factor needs a log axis
_DEEPEST = 1e-4  # of the largest value: a log axis goes no further down


def draw_spectrum_lines(
    axes: Axes, axis: CheckpointAxis, name: str, spectrum: SpectrumThroughTime, measured: BoolArray, color: str
) -> None:
    """Draw the singular values of one matrix; of a large one the leading ones, and the others as bands of quantiles.

    Args:
        axes: the panel.
        axis: the horizontal axis.
        name: the name of the panel.
        spectrum: the singular values.
        measured: (checkpoints,) whether spectra were to be measured; lines go on over the other checkpoints.
        color: of values beyond the edge of the noise; of all if the edge is unknown.
    """
    x, leading, quantiles = axis.positions[measured], spectrum.leading[measured], spectrum.quantiles[measured]
    edge = spectrum.edge[measured]
    limits, log = _limits(np.hstack([leading, quantiles, edge[:, None]]))
    finish_panel(axes, name, limits, log=log, color=color)
    for low, high in _BANDS if quantiles.size else ():
        axes.fill_between(x, quantiles[:, low], quantiles[:, high], color=_BAND, alpha=0.5, linewidth=0)
    rows = leading.T
    are_outside = rows > np.where(np.isfinite(edge), edge, np.inf) if np.isfinite(edge).any() else np.isfinite(rows)
    pixels = rows.size > _MOST_POINTS
    _draw_lines(axes, x, rows, _PLAIN, 0.6, pixels=pixels)
    _draw_lines(axes, x, np.where(are_outside, rows, np.nan), color, 1.1, pixels=pixels)
    axes.plot(x, edge, color=EDGE_LOOK.color, linestyle=EDGE_LOOK.dash, linewidth=EDGE_LOOK.width)


def _limits(values: FloatArray) -> tuple[tuple[float, float], bool]:
    """Return the limits of the vertical axis, from zero as far as possible, and whether it is logarithmic."""
    largest = values[:, 0][values[:, 0] > 0] if values.size else values
    if not largest.size or largest.max() < _EXPLODES * largest.min():
        return linear_limits(np.append(values, 0.0)), False
    return log_limits(values[values > _DEEPEST * largest.max()]), True


def _draw_lines(axes: Axes, x: FloatArray, rows: FloatArray, color: str, width: float, *, pixels: bool) -> None:
    drawn = [np.column_stack([x, row]) for row in rows if np.isfinite(row).any()]
    axes.add_collection(LineCollection(drawn, colors=color, linewidths=width, rasterized=pixels), autolim=False)
