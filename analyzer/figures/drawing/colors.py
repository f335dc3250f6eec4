"""Map values to colors, and draw the color bar that explains them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes

from analyzer.figures.drawing.layer_table import Panel
from analyzer.figures.drawing.line_panels import name_panel
from analyzer.figures.drawing.sheet import size_of
from analyzer.figures.drawing.style import INK, SMALL_SIZE, SOFT_INK
from analyzer.figures.drawing.ticks import linear_ticks, log_ticks

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

_COLORS = (colormaps["viridis"](np.linspace(0, 1, 256)) * 255).round().astype(np.uint8)
_TICK_PITCH = 0.55  # inches


@dataclass(frozen=True, slots=True)
class ColorScale:
    """A linear or logarithmic map from values to colors.

    Attributes:
        limits: the values of the first and the last color.
        log: whether the scale is logarithmic; zeros are then white.
        zeros: whether a log scale has zeros to show.
    """

    limits: tuple[float, float]
    log: bool
    zeros: bool

    def shares(self, values: FloatArray) -> FloatArray:
        """Return where values lie between the limits, 0 to 1."""
        low, high = (np.log10(limit) for limit in self.limits) if self.log else self.limits
        return np.asarray(((_log10(values) if self.log else values) - low) / (high - low))

    def colors(self, values: FloatArray) -> npt.NDArray[np.uint8]:
        """Return the RGBA bytes (..., 4) of ``values`` (...); missing values are transparent."""
        share = self.shares(values)
        known = np.isfinite(share)
        colors = _COLORS[np.where(known, np.clip(share, 0, 1) * 255, 0).round().astype(np.intp)]
        colors[~known] = 0
        if self.log:
            colors[values == 0] = 255
        return colors


def _log10(values: FloatArray) -> FloatArray:
    return np.log10(values, where=values > 0, out=np.full(values.shape, np.nan))


def color_scale(values: FloatArray, scale: str) -> ColorScale:
    """Fit a color scale to the finite values; it is logarithmic unless ``scale`` is ``linear``."""
    finite = values[np.isfinite(values)]
    log = scale != "linear"
    zeros = log and bool((finite == 0).any())
    used = finite[(finite > 1e-300) & (finite < 1e300)] if log else np.clip(finite, -1e300, 1e300)
    low, high = (float(used.min()), float(used.max())) if used.size else (1.0, 10.0)
    if log:
        return ColorScale((low, high) if high > 1.02 * low else (low / 1.5, high * 1.5), log, zeros)
    low = 0.0 if 0 <= low < 0.5 * high else low
    if not high - low > 1e-4 * max(abs(low), abs(high)):
        low, high = (low - 0.5 * abs(low), high + 0.5 * abs(high)) if high else (0.0, 1.0)
    return ColorScale((low, high), log, zeros)


def draw_color_bar(axes: Axes, panel: Panel, scale: ColorScale) -> None:
    """Fill flat axes with the colors of the scale; write numbers below, the metric's name and unit above."""
    axes.imshow(_COLORS[np.newaxis], extent=(0, 1, 0, 1), aspect="auto", interpolation="none")
    width = size_of(axes)[0]
    most = min(10, max(3, int(width / _TICK_PITCH)))
    positions, texts = log_ticks(scale.limits, most) if scale.log else linear_ticks(scale.limits, most)
    axes.set_xticks(scale.shares(np.array(positions)), texts, parse_math=False)
    axes.set_yticks([])
    axes.set_xlim(0, 1)
    axes.tick_params(labelsize=SMALL_SIZE, labelcolor=INK, color=SOFT_INK, length=3, width=0.8, pad=1.5)
    axes.spines[:].set_visible(False)
    name_panel(axes, panel.name, 16)
    name_panel(axes, f"{panel.unit}, log scale" if scale.log else panel.unit, 4, SOFT_INK)
