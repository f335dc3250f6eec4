"""Few layers: one line for each, panels above each other, and a key beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.foot import foot_lines
from analyzer.figures.horizontal import Horizontal, draw_horizontal, horizontal, steps_over_gaps
from analyzer.figures.labels import short_labels
from analyzer.figures.layers import MARKS, ZERO_MARKER, LayerTable, Panel, has_zeros, is_log
from analyzer.figures.line_panel import (
    FOOT_GAP,
    KEY_TEXT,
    KEY_WIDTH,
    LEFT,
    PANEL_GAP,
    PLOT_WIDTH,
    draw_line,
    finish_panel,
    panel_heights,
)
from analyzer.figures.sheet import (
    HEAD,
    MARGIN,
    WIDTH,
    KeyLine,
    draw_key,
    key_height,
    new_sheet,
    place,
    size_of,
)
from analyzer.figures.style import LOOKS, MEAN_LOOK
from analyzer.figures.ticks import linear_limits, log_limits, make_room

if TYPE_CHECKING:
    from analyzer.model.run import Curve, FloatArray, Tables

_LANE = 9.0  # points, the height of a row of marks at the edge


def line_figure(
    tables: Tables,
    panels: Sequence[Panel],
    layers: Sequence[LayerTable],
    mean: Curve | None,
    *,
    gaps: bool,
    remarks: Sequence[str] = (),
) -> Figure:
    """Draw every layer as a line, the ``mean`` bold, and with ``gaps`` steps over gaps hollow."""
    height = panel_heights(len(panels))
    axis = horizontal(tables)
    names, remark = short_labels(layers[0].names, KEY_TEXT)
    key = [KeyLine(name, look=look) for name, look in zip(names, LOOKS, strict=False)]
    if mean is not None:
        key.insert(0, KeyLine("mean over the layers", look=MEAN_LOOK))
    zeros = any(has_zeros(panel, table.values) for panel, table in zip(panels, layers, strict=True))
    foot = foot_lines(tables, axis, layers, gaps=gaps, remarks=remarks)
    if zeros:
        foot.insert(0, KeyLine("exactly 0, which a log axis cannot show", marker=ZERO_MARKER))
    foot += [KeyLine(remark)] if remark else []
    body = max(len(panels) * (height + PANEL_GAP) - PANEL_GAP, key_height(key) - 0.1)
    drawn = new_sheet(HEAD + 0.3 + body + FOOT_GAP + key_height(foot) + MARGIN)
    top = HEAD + 0.3
    for index, (panel, table) in enumerate(zip(panels, layers, strict=True)):
        axes = place(drawn, LEFT, top + index * (height + PANEL_GAP), PLOT_WIDTH, height)
        _draw_panel(axes, tables, axis, panel, table, mean, gaps=gaps)
        draw_horizontal(axes, axis, labelled=index == len(panels) - 1)
    draw_key(drawn, WIDTH - MARGIN - KEY_WIDTH, top, KEY_WIDTH, key)
    draw_key(drawn, MARGIN, top + body + FOOT_GAP, WIDTH - 2 * MARGIN, foot)
    return drawn


def _draw_panel(
    axes: Axes,
    tables: Tables,
    axis: Horizontal,
    panel: Panel,
    table: LayerTable,
    mean: Curve | None,
    *,
    gaps: bool,
) -> None:
    values = table.values if mean is None else np.vstack([table.values, mean.values])
    log = is_log(panel, table.values)
    lane = _LANE / (72 * size_of(axes)[1])
    marked = [layer for layer in range(len(table.names)) if table.marks(layer)]
    zeros = has_zeros(panel, table.values)
    limits = log_limits(values) if log else linear_limits(values)
    limits = make_room(limits, 1.5 * lane if zeros else 0.0, (len(marked) + 0.5) * lane if marked else 0.0, log=log)
    finish_panel(axes, f"{panel.name} ({panel.unit}{', log axis' if log else ''})", limits, log=log)
    for layer, (curve, row) in enumerate(zip(table.curves, table.values, strict=True)):
        if curve is not None:
            hollow = steps_over_gaps(axis, tables, curve.references) if gaps else None
            # What was left out on purpose (--spectra-every) is no gap: the line goes on to the next number.
            asked = np.array([status is not None for status in curve.statuses])
            hollow_asked = None if hollow is None else hollow[asked]
            draw_line(axes, axis.positions[asked], _drawable(row[asked], log=log), LOOKS[layer], layer, hollow_asked)
            if zeros:
                _draw_at_edge(axes, axis.positions[row == 0], lane / 2, ZERO_MARKER, LOOKS[layer].colour)
    for place_from_top, layer in enumerate(marked):
        for kind, (marker, _) in MARKS.items():
            x = axis.positions[[index for index, found in table.marks(layer) if found == kind]]
            y = 1 - (place_from_top + 0.5) * lane
            _draw_at_edge(axes, x, y, marker, LOOKS[layer].colour)
    if mean is not None:
        hollow = steps_over_gaps(axis, tables, mean.references) if gaps else None
        draw_line(axes, axis.positions, _drawable(mean.values, log=log), MEAN_LOOK, hollow=hollow)


def _drawable(values: FloatArray, *, log: bool) -> FloatArray:
    return np.where(values > 0, values, np.nan) if log else values


def _draw_at_edge(axes: Axes, x: FloatArray, y: float, marker: str, colour: str) -> None:
    """Draw marks at a height given as a share of the panel's, where no number stands."""
    if x.size:
        axes.plot(
            x,
            np.full(x.shape, y),
            linestyle="none",
            marker=marker,
            color=colour,
            markersize=5.5,
            markeredgewidth=1.3,
            transform=axes.get_xaxis_transform(),
        )
