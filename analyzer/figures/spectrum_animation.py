"""An animated GIF of one layer's singular values: a histogram for each checkpoint, beside that of noise."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from analyzer.figures.drawing.checkpoint_axis import checkpoint_axis
from analyzer.figures.drawing.labels import fitted, text_width
from analyzer.figures.drawing.line_panels import name_panel
from analyzer.figures.drawing.sheet import HEAD, draw_head, new_sheet, place
from analyzer.figures.drawing.spectrum_density import marchenko_pastur_density, measured_places
from analyzer.figures.drawing.style import INK, LABEL_SIZE, SMALL_SIZE, SOFT_INK, house_style, plain_axes
from analyzer.figures.drawing.ticks import linear_limits, linear_ticks, log_ticks
from analyzer.model.spectra import SpectrumThroughTime

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray
    from analyzer.model.tables import Tables

_MOST_FRAMES = 150
_WIDTH, _HEIGHT, _DPI = 6.4, 3.6, 100  # inches, dots per inch
_LEFT, _RIGHT, _BELOW, _ABOVE = 0.6, 0.25, 0.5, 0.3  # inches around the panel
_PLACE_WIDTH = 110.0  # points for the place on the axis
_BARS = 30
_SECONDS, _SHORTEST, _LONGEST, _LAST = 10.0, 60, 400, 1500  # of all frames; milliseconds of one, and of the last one
_COLORS = 32
_BAR_COLOR, _OUTSIDE = "#7aa6cf", "#c2410c"


def spectrum_animation(tables: Tables, tensor: str) -> bytes:
    """Return a GIF of the singular values of one matrix through time, at most 150 frames.

    The matrix must have a spectrum with a positive value. The same tables always give the same bytes.
    """
    spectrum = tables.spectra[tensor]
    places = measured_places(spectrum)
    picked = np.linspace(0, len(places) - 1, min(_MOST_FRAMES, len(places))).round().astype(int)
    shape = next((row.matrix_shape for row in tables.tensors if row.name == tensor), None)
    with house_style():
        return _as_gif(_frames(tables, spectrum, [places[index] for index in picked], shape))


def _frames(
    tables: Tables, spectrum: SpectrumThroughTime, places: list[int], shape: tuple[int, int] | None
) -> list[Image.Image]:
    drawn = new_sheet(_HEIGHT, _WIDTH)
    canvas = FigureCanvasAgg(drawn)
    draw_head(drawn, "Singular values through time", tables.run)
    top = HEAD + _ABOVE
    axes = place(drawn, _LEFT, top, _WIDTH - _LEFT - _RIGHT, _HEIGHT - top - _BELOW)
    heights = np.array([_heights(spectrum, here) for here in places])
    bars = axes.stairs(heights[0], spectrum.bins[:: len(spectrum.counts[0]) // _BARS], fill=True, color=_BAR_COLOR)
    sigma = np.geomspace(spectrum.bins[0], spectrum.bins[-1], 300)
    (noise,) = axes.plot(sigma, np.full(sigma.shape, np.nan), color=INK, dashes=(3, 1.5), linewidth=1.2)
    (outside,) = axes.plot([], [], "|", color=_OUTSIDE, markersize=8, markeredgewidth=1.5, clip_on=False)
    _finish(axes, spectrum, heights)
    shares = f": share of the {spectrum.count} singular values"
    room = (_WIDTH - _LEFT - _RIGHT) * 72 - text_width(shares, LABEL_SIZE) - _PLACE_WIDTH
    name_panel(axes, f"{fitted(spectrum.tensor, room, LABEL_SIZE)}{shares}")
    axis = checkpoint_axis(tables)
    now = axes.annotate("", (1, 1), (0, 5), xycoords="axes fraction", textcoords="offset points")
    now.set(size=LABEL_SIZE, weight="bold", color=INK, ha="right", va="bottom")
    moving = (bars, noise, outside, now)
    for artist in moving:
        artist.set_animated(True)
    canvas.draw()  # type: ignore[no-untyped-call]
    # Drawn once: a whole drawing takes longer than the rest of a frame.
    still = canvas.copy_from_bbox(drawn.bbox)  # type: ignore[no-untyped-call]
    frames = []
    for here, row in zip(places, heights, strict=True):
        bars.set_data(row)
        edge = spectrum.edge[here]
        if shape is not None:
            noise.set_ydata(_noise(spectrum, sigma / edge, shape))
        leading = spectrum.leading[here]
        beyond = leading[leading > edge]
        outside.set_data(beyond, np.zeros(beyond.shape))
        now.set_text(f"{fitted(axis.label, 45, LABEL_SIZE)} {axis.positions[here]:.6g}")
        canvas.restore_region(still)  # type: ignore[no-untyped-call]
        for artist in moving:
            axes.draw_artist(artist)
        pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        frames.append(Image.fromarray(pixels).convert("RGB"))
    return frames


def _heights(spectrum: SpectrumThroughTime, here: int) -> FloatArray:
    """Return the share of the singular values, in percent, in each bar (_BARS,)."""
    counts = spectrum.counts[here].reshape(_BARS, -1).sum(axis=1)
    return np.asarray(100 * counts / counts.sum())


def _noise(spectrum: SpectrumThroughTime, shares: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Return the percentage of noise that a bar around each place would have; NaN beyond the edge."""
    width = float(np.log(spectrum.bins[-1] / spectrum.bins[0])) / _BARS
    density = 100 * width * marchenko_pastur_density(shares, shape)
    return np.where(density > 0, density, np.nan)


def _finish(axes: Axes, spectrum: SpectrumThroughTime, heights: FloatArray) -> None:
    plain_axes(axes, grid=True)
    axes.set_xscale("log")
    axes.minorticks_off()
    limits = (float(spectrum.bins[0]) / 1.03, float(spectrum.bins[-1]) * 1.03)
    axes.set_xlim(*limits)
    axes.set_xticks(*log_ticks(limits, 8))
    high = linear_limits(heights)[1]
    axes.set_ylim(0, high)
    positions, texts = linear_ticks((0, high), 5)
    axes.set_yticks(positions, [f"{text} %" for text in texts])
    text = "singular value (log axis); dashed: noise with the same median; orange: values beyond it"
    axes.set_xlabel(text, size=SMALL_SIZE, color=SOFT_INK, labelpad=3)


def _as_gif(frames: list[Image.Image]) -> bytes:
    """Return the frames with one palette for all, so that a viewer's colors do not flicker."""
    palette = frames[-1].quantize(_COLORS, method=Image.Quantize.MEDIANCUT)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    each = int(np.clip(1000 * _SECONDS / len(frames), _SHORTEST, _LONGEST))
    file = io.BytesIO()
    durations = [each] * (len(frames) - 1) + [_LAST]
    indexed[0].save(
        file, "GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0, disposal=1, optimize=False
    )
    return file.getvalue()
