"""The density of each layer's singular values at several checkpoints, beside that of noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.catalog import REPORT
from analyzer.figures.drawing.checkpoint_axis import CheckpointAxis, checkpoint_axis
from analyzer.figures.drawing.finding_marks import marks_for
from analyzer.figures.drawing.keys import KeyLine, draw_key, key_height
from analyzer.figures.drawing.labels import fitted, text_width
from analyzer.figures.drawing.line_panels import name_panel
from analyzer.figures.drawing.overview_panels import layer_labels
from analyzer.figures.drawing.sheet import HEAD, MARGIN, is_narrow, new_sheet, place, sheet_width, size_of, text_room
from analyzer.figures.drawing.spectrum_density import FEWEST, density, measured_places, shown_sizes, sizes
from analyzer.figures.drawing.style import INK, SMALL_SIZE, Look, plain_axes
from analyzer.figures.drawing.ticks import log_ticks
from analyzer.model.spectra import SpectrumThroughTime
from analyzer.model.tables import Tables

_MOST_LAYERS, _MOST_ABREAST = 12, 4
_MOST_IF_NARROW, _ABREAST_IF_NARROW = 6, 2
_MOST_RIDGES = (8, 7, 6)  # of one, two and three lines of panels
_AXIS_LABEL, _GAP, _TITLE, _BELOW = 0.3, 0.3, 0.3, 0.5  # inches
_RIDGE, _TOP_ROOM = 0.22, 1.7  # inches from one ridge to the next; how many of these the highest ridge reaches up
_EARLY, _LATE = np.array([0x9E, 0xC5, 0xE3]) / 255, np.array([0x08, 0x30, 0x6B]) / 255  # light blue to dark blue
_OUTSIDE = "#c2410c"
_NOISE, _STROKE = Look(INK, (0, (3, 1.5)), "", 1.0), Look(_OUTSIDE, "", "|")
_TICK_PITCH = 0.5  # inches


@REPORT.figure(
    order=65,
    title="Singular values through time",
    how_to_read=(
        "Each ridge shows how many of a layer's singular values are of which size at one checkpoint, from early (top, "
        "light) to late (bottom, dark). The dashed curve is noise with the same median (Marchenko and Pastur 1967): "
        "what a layer learns rises beyond it as single large values, the orange strokes, while a bulk that is no "
        "longer like the dashed curve has changed as a whole."
    ),
)
def spectrum_through_time(tables: Tables) -> Figure | None:
    """Draw a panel of ridges for each layer; of many layers those of findings and those that changed most."""
    known = [one for one in tables.spectra.values() if one.count >= FEWEST and measured_places(one)]
    if not known:
        return None
    shown = _chosen(tables, known)
    foot = [KeyLine("noise with the same median", look=_NOISE), KeyLine("a value beyond the noise", look=_STROKE)]
    if len(shown) < len(known):
        foot.append(
            KeyLine(f"{len(shown)} of {len(known)} layers: those of findings, then those whose spectra changed most")
        )
    small = [one.tensor for one in tables.spectra.values() if 0 < one.count < FEWEST]
    if small:
        names = ", ".join(small)
        text = f"layers with fewer than {FEWEST} singular values have no density: {names}"
        foot.append(KeyLine(fitted(text, text_room() * 72)))
    axis = checkpoint_axis(tables)
    shapes = {row.name: row.matrix_shape for row in tables.tensors}
    abreast = min(_ABREAST_IF_NARROW if is_narrow() else _MOST_ABREAST, len(shown))
    lines = -(-len(shown) // abreast)
    most = _MOST_RIDGES[lines - 1]
    ridges = max(len(_ridges(one, most)) for one in shown)
    height = _RIDGE * (ridges + _TOP_ROOM)
    places = {here for one in shown for here in _ridges(one, most)}
    left = MARGIN + max(text_width(_place_text(axis, here), SMALL_SIZE) for here in places) / 72 + _AXIS_LABEL
    width = (sheet_width() - left - MARGIN) / abreast - _GAP
    bottom = HEAD + lines * (_TITLE + height + _BELOW)
    drawn = new_sheet(bottom + key_height(foot) + MARGIN)
    labels = layer_labels([one.tensor for one in shown], width * 72)
    for index, (one, label) in enumerate(zip(shown, labels, strict=True)):
        line, column = divmod(index, abreast)
        top = HEAD + _TITLE + line * (_TITLE + height + _BELOW)
        axes = place(drawn, left + column * (width + _GAP), top, width, height)
        _draw_ridges(axes, axis, one, shapes.get(one.tensor), _ridges(one, most), labeled=column == 0)
        name_panel(axes, label)
    draw_key(drawn, MARGIN, bottom, text_room(), foot)
    return drawn


def _chosen(tables: Tables, known: Sequence[SpectrumThroughTime]) -> list[SpectrumThroughTime]:
    """Return the layers to draw, in the network's order."""
    named = {tensor for mark in marks_for(tables) for tensor in mark.tensors}
    order = sorted(known, key=lambda one: (one.tensor not in named, -_change(one)))
    chosen = {one.tensor for one in order[: _MOST_IF_NARROW if is_narrow() else _MOST_LAYERS]}
    return [one for one in known if one.tensor in chosen]


def _change(spectrum: SpectrumThroughTime) -> float:
    """Return the distance on a log axis by which the singular values moved on average from first to last."""
    places = measured_places(spectrum)
    first, last = (
        np.cumsum(spectrum.counts[place]) / spectrum.counts[place].sum() for place in (places[0], places[-1])
    )
    width = np.log(spectrum.bins[1] / spectrum.bins[0])
    return float(np.abs(first - last).sum() * width)  # the Wasserstein distance


def _ridges(spectrum: SpectrumThroughTime, most: int) -> list[int]:
    """Return the checkpoints that have a ridge: evenly spaced ones, the first and the last among them."""
    places = measured_places(spectrum)
    picked = np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int)
    return [places[index] for index in picked]


def _draw_ridges(
    axes: Axes,
    axis: CheckpointAxis,
    spectrum: SpectrumThroughTime,
    shape: tuple[int, int] | None,
    places: Sequence[int],
    *,
    labeled: bool,
) -> None:
    x = sizes(spectrum)
    ridges = [density(spectrum, place, shape) for place in places]
    scale = _TOP_ROOM / max(float(np.nanmax([ridge.values, ridge.noise])) for ridge in ridges)
    for row, ridge in enumerate(ridges):
        share = row / max(1, len(places) - 1)
        color = tuple((1 - share) * _EARLY + share * _LATE)
        top = row - scale * ridge.values
        axes.fill_between(x, row, top, facecolor=color, edgecolor="white", linewidth=0.7, zorder=row)
        drawn = np.where(ridge.noise * scale > 0.01, row - scale * ridge.noise, np.nan)
        axes.plot(x, drawn, color=INK, dashes=(3, 1.5), linewidth=0.9, zorder=row + 0.5)
        strokes = np.full(ridge.outside.shape, row - 0.12)
        axes.plot(ridge.outside, strokes, "|", color=_OUTSIDE, markersize=4, mew=1.1, zorder=len(places) + 1)
    plain_axes(axes, grid=False)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(places) - 0.95, -_TOP_ROOM - 0.05)
    axes.set_yticks(range(len(places)), [_place_text(axis, here) for here in places] if labeled else [""] * len(places))
    axes.tick_params(axis="y", length=0)
    if labeled:
        axes.set_ylabel(
            fitted(axis.label, min(100, size_of(axes)[1] * 72), SMALL_SIZE), size=SMALL_SIZE, color=INK, labelpad=2
        )
    _finish_sizes(axes, shown_sizes(spectrum))


def _place_text(axis: CheckpointAxis, place: int) -> str:
    return f"{axis.positions[place]:.6g}"


def _finish_sizes(axes: Axes, limits: tuple[float, float]) -> None:
    """Set up the horizontal axis, the sizes of singular values."""
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xlim(*limits)
    axes.set_xticks(*log_ticks(limits, max(3, int(size_of(axes)[0] / _TICK_PITCH))))
    axes.set_xlabel("singular value (log axis)", size=SMALL_SIZE, color=INK, labelpad=2)
