"""Show what share of each layer's weights a cut in rank or pruning would keep, at the end of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.figures.catalog import REPORT
from analyzer.figures.drawing.end_labels import LABEL_TEXT, EndLabel
from analyzer.figures.drawing.finding_marks import draw_level_marks, marks_for
from analyzer.figures.drawing.keys import KeyLine
from analyzer.figures.drawing.labels import short_labels
from analyzer.figures.drawing.line_panels import LineSheet, draw_line, finish_panel, share_of_height
from analyzer.figures.drawing.role_maps import role_tiles
from analyzer.figures.drawing.style import LOOKS, SOFT_INK
from analyzer.model.names import listed

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray
    from analyzer.model.tables import Tables

_RANKS = 2 ** np.arange(6, -1, -1)  # 64 to 1
_PRUNED = (10, 50, 90)  # percent of the entries
_LIMITS = (-0.02, 1.05)  # of a share
_MOST = 0.9  # the share of ‖W‖² that the remark asks for
_CUT = 0.95  # the share of ‖W‖² that findings about a cut in rank keep


@dataclass(frozen=True, slots=True)
class _Preview:
    """Holds what a compression keeps: shares of ‖W‖², (layers, choices), at the first and at the last checkpoint."""

    title: str
    choices: tuple[str, ...]
    first: FloatArray
    last: FloatArray


def _remark(tables: Tables) -> str:
    """Name the layer that a cut in rank would hurt least."""
    names = _layers(tables)
    if not names:
        return ""
    kept = _by_rank(tables, names).last
    counts = [tables.spectra[name].count for name in names]
    enough = [
        (float(rank) / count, float(share), int(rank), row)
        for row, count in enumerate(counts)
        for rank, share in zip(_RANKS, kept[row], strict=True)
        if share >= _MOST and rank < count
    ]
    if not enough:
        return ""
    _, share, rank, row = min(enough)
    return f"Rank {rank} of {counts[row]} keeps {100 * share:.0f} % of ‖W‖² in {listed([names[row]])}."


@REPORT.figure(
    order=96,
    title="What a cut in rank or pruning would keep",
    how_to_read=(
        "The share of ‖W‖² that remains if a layer is replaced by its leading singular directions, or if its smallest "
        "entries are set to zero, at the end of the run (dashed gray: at the start). A curve that stays high "
        "belongs to a layer that can be compressed; what that costs in accuracy has to be tried."
    ),
    remark=_remark,
)
def compression_preview(tables: Tables) -> Figure | None:
    """Draw a line for each layer or, if they are many, the median of each role in the range of its layers."""
    names = _layers(tables)
    if not names:
        return None
    every = (_by_rank(tables, names), _by_pruning(tables, names))
    previews = [preview for preview in every if np.isfinite(preview.last).any()]
    if not previews:
        return None
    groups, left_out = _groups(names)
    notes = [KeyLine(left_out)] if left_out else []
    if len(groups) < len(names):
        notes.append(KeyLine("lines: the median over the layers of a role; bands: from the least to the most"))
    marks = marks_for(tables, "compression_preview")
    if marks:
        notes.append(
            KeyLine("dashed line with a number in a colored box: 95 % is kept, as in the finding with that number")
        )
    key = [KeyLine(label, look) for label, look in zip(groups, LOOKS, strict=False)]
    sheet = LineSheet(len(previews), notes, key, at_ends=True)
    for index, preview in enumerate(previews):
        axes = sheet.panel(index)
        sheet.label(axes, _draw(axes, preview, groups))
        if preview is every[0]:
            draw_level_marks(axes, marks, _CUT)
    return sheet.finish()


def _layers(tables: Tables) -> list[str]:
    return [name for name, spectrum in tables.spectra.items() if np.isfinite(spectrum.leading).any()]


def _groups(names: Sequence[str]) -> tuple[Mapping[str, tuple[int, ...]], str]:
    """Return the rows of each line by its label: each layer, or each role if there are too many layers."""
    if len(names) <= len(LOOKS):
        labels, left_out = short_labels(names, LABEL_TEXT)
        return {label: (row,) for row, label in enumerate(labels)}, left_out
    by_role = {tile.title: tile.rows for tile in role_tiles(names)}
    return by_role if 0 < len(by_role) <= len(LOOKS) else {"all layers": tuple(range(len(names)))}, ""


def _by_rank(tables: Tables, names: Sequence[str]) -> _Preview:
    first, last = (np.array([_kept_by_rank(tables, name, place) for name in names]) for place in (0, -1))
    title = "Kept by a cut to this rank (share of ‖W‖²)"
    return _Preview(title, tuple(map(str, _RANKS)), first, last)


def _kept_by_rank(tables: Tables, name: str, place: int) -> FloatArray:
    """Return the share (ranks,) at the first (0) or last (-1) checkpoint with a spectrum; NaN where it is unknown."""
    spectrum, norm = tables.spectra[name], tables.curves.get(("tensor", name, "frobenius_norm"))
    shares = np.full(len(_RANKS), np.nan)
    at = np.flatnonzero(np.isfinite(spectrum.leading).any(axis=1))[place]
    if norm is not None and 0 < spectrum.leading[at, 0] < 1.001 * norm.values[at]:
        kept = np.cumsum(np.square(spectrum.leading[at] / norm.values[at]))
        known = len(kept) >= _RANKS
        shares[known] = np.minimum(kept[_RANKS[known] - 1], 1.0)
        if len(kept) == spectrum.count:
            shares[~known] = 1.0  # a cut to more than all directions keeps everything
    return shares


def _by_pruning(tables: Tables, names: Sequence[str]) -> _Preview:
    first, last = (np.full((len(names), len(_PRUNED)), np.nan) for _ in range(2))
    for row, name in enumerate(names):
        for column, pruned in enumerate(_PRUNED):
            curve = tables.curves.get(("tensor", name, f"magnitude_share_{100 - pruned}"))
            known = curve.values[np.isfinite(curve.values)] if curve is not None else np.zeros(0)
            if known.size:
                first[row, column], last[row, column] = known[0], known[-1]
    choices = tuple(f"{percent} %" for percent in _PRUNED)
    return _Preview(
        "Kept if this share of the entries is set to zero, smallest first (share of ‖W‖²)", choices, first, last
    )


def _draw(axes: Axes, preview: _Preview, groups: Mapping[str, tuple[int, ...]]) -> list[EndLabel]:
    """Draw a panel, and return the names of its lines, for their ends."""
    finish_panel(axes, preview.title, _LIMITS, log=False)
    x = np.arange(len(preview.choices), dtype=np.float64)
    axes.set_xlim(-0.1, x[-1] + 0.1)
    axes.set_xticks(x, preview.choices)
    labels = []
    for (label, rows), look in zip(groups.items(), LOOKS, strict=False):
        last = preview.last[list(rows)]
        last = last[np.isfinite(last).any(axis=1)]
        if not len(last):
            continue
        axes.plot(x, np.median(preview.first[list(rows)], axis=0), color=SOFT_INK, dashes=(2, 2), linewidth=0.9)
        if len(last) > 1:
            axes.fill_between(x, last.min(axis=0), last.max(axis=0), color=look.color, alpha=0.14, linewidth=0)
        middle = np.median(last, axis=0)
        draw_line(axes, x, middle, look)
        if np.isfinite(middle).any():
            end = share_of_height(axes, float(middle[np.isfinite(middle)][-1]))
            labels.append(EndLabel(label, end, look.color))
    return labels
