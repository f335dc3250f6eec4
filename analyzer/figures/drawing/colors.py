"""Map values to colors, and draw the color bar that explains them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes

from analyzer.figures.drawing.labels import fitted
from analyzer.figures.drawing.layer_table import LayerTable, Panel
from analyzer.figures.drawing.line_panels import name_panel
from analyzer.figures.drawing.sheet import size_of
from analyzer.figures.drawing.style import INK, LABEL_SIZE, SMALL_SIZE, SOFT_INK
from analyzer.figures.drawing.ticks import Ticks, linear_ticks, log_ticks, ratio_ticks

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

Colors = npt.NDArray[np.uint8]


def _colors_of(name: str) -> Colors:
    return (colormaps[name](np.linspace(0, 1, 256)) * 255).round().astype(np.uint8)


_FROM_LOW_TO_HIGH = _colors_of("viridis")
_AROUND_A_CENTER = _colors_of("RdBu_r")  # blue below, white at the center, red above
WHITE, GRAY = "#ffffff", "#a6a6a6"
_TICK_PITCH = 0.55  # inches
_TYPICAL = 99.0  # percent of the values relative to a start lie within the limits; one layer must not wash out all
_LEAST_FACTOR = 1.1  # a change by less is drawn faint
_MOST_FACTOR = 1e12


@dataclass(frozen=True, slots=True)
class ColorScale:
    """A linear or logarithmic map from values to colors.

    Attributes:
        limits: the values of the first and the last color; values beyond them have the same colors.
        log: whether the scale is logarithmic.
        zeros: whether a log scale has zeros to show.
        diverging: whether the middle of the scale is a center that values depart from in two directions: 0, or 1 on a
            log scale.
    """

    limits: tuple[float, float]
    log: bool
    zeros: bool
    diverging: bool = False

    @property
    def colormap(self) -> Colors:
        """The RGBA bytes (256, 4) from the first to the last color."""
        return _AROUND_A_CENTER if self.diverging else _FROM_LOW_TO_HIGH

    @property
    def zero_color(self) -> str:
        """The color of zeros on a log scale, which no other value has."""
        return GRAY if self.diverging else WHITE

    def shares(self, values: FloatArray) -> FloatArray:
        """Return where values lie between the limits, 0 to 1."""
        low, high = (np.log10(limit) for limit in self.limits) if self.log else self.limits
        return np.asarray(((_log10(values) if self.log else values) - low) / (high - low))

    def colors(self, values: FloatArray) -> Colors:
        """Return the RGBA bytes (..., 4) of ``values`` (...); missing values are transparent."""
        share = self.shares(values)
        known = ~np.isnan(share)
        colors = self.colormap[np.where(known, np.clip(share, 0, 1) * 255, 0).round().astype(np.intp)]
        colors[~known] = 0
        if self.log:
            colors[values == 0] = [*bytes.fromhex(self.zero_color[1:]), 255]
        return colors

    def clips(self, values: FloatArray) -> bool:
        """Check whether values lie beyond the limits, so that they look like the limits."""
        with np.errstate(invalid="ignore"):
            return bool(((values < self.limits[0]) & (values != 0) | (values > self.limits[1])).any())


def _log10(values: FloatArray) -> FloatArray:
    return np.log10(values, where=values > 0, out=np.full(values.shape, np.nan))


def scale_of(table: LayerTable) -> ColorScale:
    """Return the color scale of the values that a heat map of ``table`` colors."""
    if table.panel.relative == "range":
        return ColorScale((0.0, 1.0), log=False, zeros=False)
    if table.panel.relative == "start":
        return _ratio_scale(table.colored)
    return color_scale(table.values, table.panel.scale)


def _ratio_scale(ratios: FloatArray) -> ColorScale:
    """Fit a logarithmic scale around 1 to nearly all ratios."""
    logs = np.abs(_log10(ratios))
    logs = logs[np.isfinite(logs)]
    factor = 10 ** min(float(np.percentile(logs, _TYPICAL)), math.log10(_MOST_FACTOR)) if logs.size else 1.0
    factor = max(factor, _LEAST_FACTOR)
    return ColorScale((1 / factor, factor), log=True, zeros=bool((ratios == 0).any()), diverging=True)


def color_scale(values: FloatArray, scale: str) -> ColorScale:
    """Fit a color scale to the finite values: logarithmic unless ``scale`` is ``linear``, else around 0 if signed."""
    finite = values[np.isfinite(values)]
    log = scale != "linear"
    zeros = log and bool((finite == 0).any())
    used = finite[(finite > 1e-300) & (finite < 1e300)] if log else np.clip(finite, -1e300, 1e300)
    low, high = (float(used.min()), float(used.max())) if used.size else (1.0, 10.0)
    if log:
        return ColorScale((low, high) if high > 1.02 * low else (low / 1.5, high * 1.5), log, zeros)
    if low < 0 < high:
        return ColorScale((-max(-low, high), max(-low, high)), log, zeros, diverging=True)
    low = 0.0 if 0 <= low < 0.5 * high else low
    if not high - low > 1e-4 * max(abs(low), abs(high)):
        low, high = (low - 0.5 * abs(low), high + 0.5 * abs(high)) if high else (0.0, 1.0)
    return ColorScale((low, high), log, zeros)


def draw_color_bar(axes: Axes, panel: Panel, scale: ColorScale) -> None:
    """Fill flat axes with the colors of the scale, and write the metric's name and the colors' meaning above."""
    fill_color_bar(axes, scale)
    room = 72 * size_of(axes)[0]
    name_panel(axes, fitted(panel.name, room, LABEL_SIZE), 16)
    name_panel(axes, fitted(meaning(panel, scale), room, LABEL_SIZE), 4, SOFT_INK)


def fill_color_bar(axes: Axes, scale: ColorScale) -> None:
    """Fill flat axes with the colors of the scale, and write numbers below."""
    axes.imshow(scale.colormap[np.newaxis], extent=(0, 1, 0, 1), aspect="auto", interpolation="none")
    positions, texts = _ticks(scale, min(10, max(3, int(size_of(axes)[0] / _TICK_PITCH))))
    axes.set_xticks(scale.shares(np.array(positions)), texts, parse_math=False)
    axes.set_yticks([])
    axes.set_xlim(0, 1)
    axes.tick_params(labelsize=SMALL_SIZE, labelcolor=INK, color=SOFT_INK, length=3, width=0.8, pad=1.5)
    axes.spines[:].set_visible(False)


def meaning(panel: Panel, scale: ColorScale) -> str:
    """Return what the colors of a panel mean: its unit, or what they are relative to."""
    meanings = {"start": "relative to each layer's start", "range": "share of each layer's largest value"}
    text = meanings[panel.relative] if panel.relative else panel.unit
    return f"{text}, log scale" if scale.log else text


def _ticks(scale: ColorScale, most: int) -> Ticks:
    if not scale.log:
        return linear_ticks(scale.limits, most)
    return ratio_ticks(scale.limits[1], most) if scale.diverging else log_ticks(scale.limits, most)
