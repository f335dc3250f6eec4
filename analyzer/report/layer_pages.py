"""Render one page for each layer: its curves, its spectrum through time, its numbers and what was found about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import numpy as np

from analyzer.model.names import printable
from analyzer.model.network import leaf_of
from analyzer.model.run import STATUSES_WITH_VALUE, FloatArray
from analyzer.model.spectra import QUANTILES, SpectrumThroughTime
from analyzer.model.tables import Curve, Tables
from analyzer.report.layers import Layer, layers_of
from analyzer.report.page import newest_file, numbered
from analyzer.report.rendering import place_number, place_of, rendered, short_number
from analyzer.report.svg import Chart, Interval, Line, draw

MOST_VALUES = 40  # singular values that are drawn one by one; of more, evenly chosen ones and the largest


@dataclass(frozen=True, slots=True)
class CurveChart:
    """A chart of one or a few metrics of a layer.

    Attributes:
        title: what it shows.
        unit: its unit.
        lines: (metric, name in the key).
        figures: the figures whose findings it marks, because it shows what they are about.
        log: whether its axis is logarithmic.
    """

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    figures: frozenset[str]
    log: bool = False


@dataclass(frozen=True, slots=True)
class FirstPage:
    """Says what to link to on the first page: the anchor of the run, and the numbers of the figures by their names."""

    anchor: str = "run-1"
    figures: Mapping[str, int] = field(default_factory=dict)


_MOTION = frozenset(("step_distance", "changed_fraction", "update_cosine", "update_rank", "rotation_and_growth"))
_SPECTRUM = frozenset(("condition_number", "rank", "alpha", "outliers", "spectrum_through_time"))
CHARTS = (
    CurveChart(
        "Relative step",
        "‖ΔW‖/‖W‖ since the previous checkpoint",
        (("relative_step_distance", ""),),
        _MOTION,
        log=True,
    ),
    CurveChart(
        "Condition number κ", "σ₁/σₙ, a ratio", (("condition_number", ""),), frozenset(("condition_number",)), log=True
    ),
    CurveChart(
        "Ranks",
        "number of directions",
        (("effective_rank", "effective"), ("stable_rank", "stable")),
        frozenset(("rank",)),
    ),
    CurveChart(
        "Norm and distance from the start",
        "Frobenius norm, weight units",
        (("frobenius_norm", "‖W‖"), ("initial_distance", "‖W − W₀‖")),
        frozenset(("norm", "initial_distance", "rotation_and_growth")),
    ),
    CurveChart("Tail exponent α", "of the eigenvalues", (("alpha", ""),), frozenset(("alpha",))),
    CurveChart(
        "Zeros",
        "share of elements",
        (("zero_fraction", "exactly zero"), ("near_zero_fraction", "below 10⁻³ rms")),
        frozenset(("sparsity", "dead_rows_and_columns", "pruning_mask")),
    ),
)
OTHER_TENSORS = CurveChart("Other tensors of the layer", "Frobenius norm, weight units", (), frozenset(("norm",)))
_OF_ONE_CHART = _SPECTRUM.union(*(chart.figures for chart in CHARTS))
MOST_LINES = 2


def layer_pages(
    tables: Tables,
    folder: str,
    measurements: str,
    first_page: FirstPage = FirstPage(),
    animations: Mapping[str, str] = MappingProxyType({}),
    *,
    explore: bool = True,
) -> Iterator[tuple[str, bytes]]:
    """Yield (path in the report, content) of the page of each layer.

    Args:
        tables: the run.
        folder: where its pages are, ``layers/`` or a folder below it.
        measurements: the name of the file with all measurements.
        first_page: what to link to on the first page.
        animations: paths of animations in the report by the layer's name.
        explore: whether there is an interactive page to link to.
    """
    layers = layers_of(tables)
    findings = numbered(tables, layers)
    intervals = _intervals(tables)
    newest = newest_file([tables])
    for layer in layers:
        content = rendered(
            "layer.html",
            tables=tables,
            layer=layer,
            root="../" * folder.count("/"),
            neighbors=_neighbors(layers, layer),
            findings=[findings[number - 1] for number in layer.findings],
            anchor=first_page.anchor,
            figures=first_page.figures,
            charts=list(_charts(tables, layer, intervals)),
            animation=animations.get(layer.row.name),
            numbers=_numbers(tables, layer),
            measurements=measurements,
            newest=newest,
            explore=f"explore.html#layer={quote(printable(layer.row.name, 120))}" if explore else "",
        )
        yield f"{folder}{layer.file}", content


def _charts(tables: Tables, layer: Layer, intervals: Mapping[int, Sequence[Interval]]) -> Iterator[dict[str, Any]]:
    """Yield the charts of a layer; each marks the findings about what it shows, and those that are of no chart."""

    def marks(figures: frozenset[str]) -> list[Interval]:
        about = {number: tables.findings[number - 1].figure for number in layer.findings}
        numbers = [number for number, name in about.items() if name in figures or name not in _OF_ONE_CHART]
        return [mark for number in numbers for mark in intervals.get(number, ())]

    yield from _spectrum_chart(tables, layer, marks(_SPECTRUM))
    for spec in CHARTS:
        yield from _chart(tables, spec, _curves(tables, layer, spec), marks(spec.figures))
    yield from _chart(tables, OTHER_TENSORS, _norms_beside(tables, layer), marks(OTHER_TENSORS.figures))


def _intervals(tables: Tables) -> dict[int, list[Interval]]:
    """Return where each finding is marked, by its number; as in the figures."""
    from analyzer.figures.drawing.finding_marks import marks_for

    found: dict[int, list[Interval]] = {}
    for figure in {finding.figure for finding in tables.findings if finding.figure}:
        for mark in marks_for(tables, figure):
            found.setdefault(mark.number, []).append(Interval(mark.number, mark.severity, mark.first, mark.last))
    return found


def _neighbors(layers: Sequence[Layer], layer: Layer) -> list[tuple[str, Layer | None, Layer | None]]:
    """Return (what it is the order of, previous layer, next layer): of all, of its role, and of its block."""
    orders = [("network", list(layers))]
    if layer.role:
        orders.append((f"role {layer.role}", [one for one in layers if one.role == layer.role]))
    if (depth := layer.row.depth) is not None:
        orders.append((f"block {depth}", [one for one in layers if one.row.depth == depth]))
    found = []
    for name, order in orders:
        at = order.index(layer)
        found.append((name, order[at - 1] if at else None, order[at + 1] if at + 1 < len(order) else None))
    return [one for one in found if one[1] or one[2]]


def _curves(tables: Tables, layer: Layer, spec: CurveChart) -> list[tuple[str, Curve]]:
    """Return (name in the key, curve) of the lines of a chart that were measured."""
    found = [(name, tables.curves.get(("tensor", layer.row.name, metric))) for metric, name in spec.lines]
    return [(name, curve) for name, curve in found if curve is not None]


def _norms_beside(tables: Tables, layer: Layer) -> list[tuple[str, Curve]]:
    """Return (name, norm) of the first tensors of the layer's module that are no matrices: its bias."""
    beside = [row for row in tables.tensors if row.module == layer.row.module and row.kind in ("vector", "scalar")]
    found = [(leaf_of(row.name), tables.curves.get(("tensor", row.name, "frobenius_norm"))) for row in beside]
    return [(printable(name, 30), curve) for name, curve in found[:MOST_LINES] if curve is not None]


def _chart(
    tables: Tables, spec: CurveChart, curves: Sequence[tuple[str, Curve]], marks: Sequence[Interval]
) -> Iterator[dict[str, Any]]:
    """Yield the title, unit, key and svg of a chart, unless it has no value."""
    lines = [Line(_drawable(curve), f"line-{place}") for place, (_, curve) in enumerate(curves, start=1)]
    told = [
        f"{name or spec.title} {_course(tables, line.values)}" for (name, _), line in zip(curves, lines, strict=True)
    ]
    description = f"{spec.title} ({spec.unit}): {'; '.join(told)}."
    svg = draw(Chart(description, tables.axis, tables.axis_label, lines, spec.log, marks))
    if svg is not None:
        key = [(f"line-{place}", name) for place, (name, _) in enumerate(curves, start=1) if name]
        yield {"title": spec.title, "unit": spec.unit, "key": key, "svg": svg}


def _drawable(curve: Curve) -> FloatArray:
    """Return the values of a curve, NaN where a status says that there is none."""
    return np.array(
        [
            value if status in STATUSES_WITH_VALUE else np.nan
            for value, status in zip(curve.values, curve.statuses, strict=True)
        ]
    )


def _course(tables: Tables, values: FloatArray) -> str:
    """Describe a curve by its first and its last value: ``from 3.1 at epoch 0 to 4.2 at epoch 50``."""
    known = np.flatnonzero(np.isfinite(values))
    if not known.size:
        return "has no value"
    ends = [f"{short_number(float(values[at]))} at {printable(place_of(tables, int(at)), 60)}" for at in known[[0, -1]]]
    return f"is {ends[0]}" if known.size == 1 else f"goes from {ends[0]} to {ends[1]}"


def _spectrum_chart(tables: Tables, layer: Layer, marks: Sequence[Interval]) -> Iterator[dict[str, Any]]:
    """Yield the chart of the singular values through time, if they were measured."""
    spectrum = tables.spectra.get(layer.row.name)
    if spectrum is None:
        return
    lines, shown = _spectrum_lines(spectrum)
    largest = spectrum.leading[:, 0] if spectrum.leading.shape[1] else np.full(len(tables.axis), np.nan)
    description = f"Singular values through time: the largest {_course(tables, largest)}."
    svg = draw(Chart(description, tables.axis, tables.axis_label, lines, marks=marks))
    if svg is not None:
        key = [("value out", "beyond the edge"), ("value in", "within it"), ("edge", "edge of the noise")]
        has_edge = bool(np.isfinite(spectrum.edge).any())
        title = "Singular values through time"
        yield {"title": title, "unit": f"weight units; {shown}", "key": key if has_edge else [], "svg": svg}


def _spectrum_lines(spectrum: SpectrumThroughTime) -> tuple[list[Line], str]:
    """Return the lines of a spectrum, those beyond the edge of the noise apart, and what they are."""
    values, count = spectrum.leading, spectrum.leading.shape[1]
    chosen = np.unique(np.r_[np.arange(min(8, count)), np.linspace(0, count - 1, min(count, MOST_VALUES)).round()])
    drawn = values[:, chosen.astype(np.intp)].T
    edge = np.where(np.isfinite(spectrum.edge), spectrum.edge, np.inf)
    if spectrum.quantiles.shape[1]:
        kept = [place for place, quantile in enumerate(QUANTILES) if quantile in (0, 0.1, 0.5, 0.9)]
        shown = f"the {count} largest of {spectrum.count}, and the smallest, the median and the deciles of all"
        inner = list(spectrum.quantiles[:, kept].T)
    else:
        shown = f"all {count}" if len(chosen) == count else f"{len(chosen)} of {count}"
        inner = []
    lines = [Line(line, "value in") for line in (*drawn, *inner)]
    for line in drawn:
        outside = np.where(line > edge, line, np.nan)
        if np.isfinite(outside).any():
            lines.append(Line(outside, "value out"))
    return [*lines, Line(np.where(np.isfinite(edge), edge, np.nan), "edge")], shown


def _numbers(tables: Tables, layer: Layer) -> list[dict[str, Any]]:
    """Return the first, lowest, highest and last value of each metric of a layer, and the statuses without one."""
    rows = []
    for metric in tables.metrics.values():
        curve = tables.curves.get(("tensor", layer.row.name, metric.name))
        if curve is None or not any(curve.statuses):
            continue
        values = _drawable(curve)
        known = np.flatnonzero(np.isfinite(values))
        others = Counter(status for status in curve.statuses if status not in (None, "ok"))
        rows.append(
            {
                "metric": metric,
                "first": short_number(float(values[known[0]])) if known.size else "–",
                "lowest": _extreme(tables, values, np.nanargmin),
                "highest": _extreme(tables, values, np.nanargmax),
                "last": short_number(float(values[-1])) if np.isfinite(values[-1]) else (curve.statuses[-1] or "–"),
                "statuses": ", ".join(f"{str(name).replace('_', ' ')} at {n}" for name, n in sorted(others.items())),
            }
        )
    return rows


def _extreme(tables: Tables, values: FloatArray, find: Callable[[FloatArray], np.intp]) -> tuple[str, str]:
    """Return the value that ``find`` gives the position of, and its place."""
    if not np.isfinite(values).any():
        return "–", ""
    position = int(find(values))
    return short_number(float(values[position])), place_number(float(tables.axis[position]))
