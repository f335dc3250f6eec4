"""Few layers as lines, many as heat maps: the choice that all figures by layer share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analyzer.figures.heat import heat_figure
from analyzer.figures.layers import Panel, anything_to_show, layer_names, layer_table, nothing_but_zeros
from analyzer.figures.lines import line_figure
from analyzer.figures.style import LOOKS
from analyzer.model.run import Tables

MOST_LINES = len(LOOKS)


def layer_figure(
    tables: Tables,
    panels: Sequence[Panel],
    *,
    with_mean: bool = False,
    gaps: bool = False,
    remarks: Sequence[str] = (),
) -> Figure | None:
    """Draw each panel's metric for every weight matrix, None where there is nothing to draw.

    ``with_mean`` adds the mean over the layers of the first panel; ``gaps`` marks values that compare with
    another checkpoint than the one that should come before. A panel of zeros alone becomes a line under the others,
    where the ``remarks`` stand.
    """
    names = layer_names(tables, panels)
    layers = [layer_table(tables, panel, names) for panel in panels]
    if not anything_to_show(layers):
        return None
    empty = [nothing_but_zeros(table) for table in layers]
    if not all(empty):
        zeros = [f"{panel.name}: 0 everywhere, not drawn" for panel, zero in zip(panels, empty, strict=True) if zero]
        remarks = [*zeros, *remarks]
        panels = [panel for panel, zero in zip(panels, empty, strict=True) if not zero]
        layers = [table for table, zero in zip(layers, empty, strict=True) if not zero]
    mean = tables.curves.get(("mean", "", panels[0].metric)) if with_mean else None
    if mean is not None and not np.isfinite(mean.values).any():
        mean = None
    draw = line_figure if len(names) <= MOST_LINES else heat_figure
    return draw(tables, panels, layers, mean, gaps=gaps, remarks=remarks)
