"""From values to colours, and the bar that says which is which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes

from analyzer.figures.layers import Panel
from analyzer.figures.sheet import size_of
from analyzer.figures.style import INK, LABEL_SIZE, SMALL_SIZE, SOFT_INK
from analyzer.figures.ticks import linear_ticks, log_ticks

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

_COLOURS = (colormaps["viridis"](np.linspace(0, 1, 256)) * 255).round().astype(np.uint8)
_TICK_PITCH = 0.55  # inches


@dataclass(frozen=True, slots=True)
class ColourScale:
    """``limits`` are the values of the first and the last colour; on a log scale zeros are white."""

    limits: tuple[float, float]
    log: bool
    zeros: bool

    def colours(self, values: FloatArray) -> npt.NDArray[np.uint8]:
        """Give the colours of ``values`` (...) as (..., 4) bytes; no value is transparent."""
        low, high = (np.log10(limit) for limit in self.limits) if self.log else self.limits
        share = ((_log10(values) if self.log else values) - low) / (high - low)
        known = np.isfinite(share)
        colours = _COLOURS[np.where(known, np.clip(share, 0, 1) * 255, 0).round().astype(np.intp)]
        colours[~known] = 0
        if self.log:
            colours[values == 0] = 255
        return colours


def _log10(values: FloatArray) -> FloatArray:
    return np.log10(values, where=values > 0, out=np.full(values.shape, np.nan))


def colour_scale(values: FloatArray, scale: str) -> ColourScale:
    """Fit a scale to the finite values: a log scale unless ``scale`` is linear."""
    finite = values[np.isfinite(values)]
    log = scale != "linear"
    zeros = log and bool((finite == 0).any())
    used = finite[(finite > 1e-300) & (finite < 1e300)] if log else np.clip(finite, -1e300, 1e300)
    low, high = (float(used.min()), float(used.max())) if used.size else (1.0, 10.0)
    if log:
        return ColourScale((low, high) if high > 1.02 * low else (low / 1.5, high * 1.5), log, zeros)
    low = 0.0 if 0 <= low < 0.5 * high else low
    if not high - low > 1e-4 * max(abs(low), abs(high)):
        low, high = (low - 0.5 * abs(low), high + 0.5 * abs(high)) if high else (0.0, 1.0)
    return ColourScale((low, high), log, zeros)


def draw_colour_bar(axes: Axes, panel: Panel, scale: ColourScale) -> None:
    """Fill flat axes with the scale's colours, with numbers below and the metric's name and unit above."""
    axes.imshow(_COLOURS[np.newaxis], extent=(0, 1, 0, 1), aspect="auto", interpolation="none")
    width = size_of(axes)[0]
    most = min(10, max(3, int(width / _TICK_PITCH)))
    positions, texts = log_ticks(scale.limits, most) if scale.log else linear_ticks(scale.limits, most)
    low, high = (np.log10(limit) for limit in scale.limits) if scale.log else scale.limits
    places = (np.log10(positions) - low) / (high - low) if scale.log else (np.array(positions) - low) / (high - low)
    axes.set_xticks(places, texts, parse_math=False)
    axes.set_yticks([])
    axes.set_xlim(0, 1)
    axes.tick_params(labelsize=SMALL_SIZE, labelcolor=INK, color=SOFT_INK, length=3, width=0.8, pad=1.5)
    axes.spines[:].set_visible(False)
    unit = f"{panel.unit}, log scale" if scale.log else panel.unit
    style: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "size": LABEL_SIZE,
        "va": "bottom",
    }
    axes.annotate(panel.name, (0, 1), (0, 16), color=INK, **style)
    axes.annotate(unit, (0, 1), (0, 4), color=SOFT_INK, **style)
