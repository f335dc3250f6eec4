"""The report's page: plain HTML and CSS, no script, every name escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyzer.names import printable
from analyzer.run import STATUSES_WITH_VALUE, Correlation, Tables

HERE = Path(__file__).parent
LAYER_COLUMNS = (
    ("step_distance", "last step ‖ΔW‖"),
    ("initial_distance", "from start ‖W−W₀‖"),
    ("condition_number", "κ"),
    ("effective_rank", "effective rank"),
    ("stable_rank", "stable rank"),
    ("zero_fraction", "exact zeros"),
)
SCOPES = ("mean", "total", "block", "tensor")


@dataclass(frozen=True, slots=True)
class FigureOnPage:
    """A drawn figure: ``path`` lacks the suffix, ``.png`` and ``.svg`` are there."""

    name: str
    title: str
    how_to_read: str
    path: str


def stylesheet() -> bytes:
    """The style sheet that lies beside the page."""
    return (HERE / "assets" / "report.css").read_bytes()


def render_page(
    summary: Mapping[str, Any], runs: Sequence[Tables], figures: Mapping[str, Sequence[FigureOnPage]]
) -> bytes:
    """The page as UTF-8.

    Args:
        summary: the content of ``summary.json``.
        runs: the tables of each run, as in the summary.
        figures: run name -> what was drawn of it.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["shown"] = printable
    environment.filters["number"] = short_number
    sections = [
        {
            "tables": tables,
            "about": about,
            "figures": figures[tables.run],
            "layers": _layers(tables),
            "correlations": _leading_correlations(tables),
            "anchor": f"run-{number}",
        }
        for number, (tables, about) in enumerate(zip(runs, summary["runs"], strict=True), start=1)
    ]
    page = environment.get_template("index.html").render(sections=sections, columns=LAYER_COLUMNS)
    return page.encode("utf-8", "backslashreplace")


def short_number(value: float | None) -> str:
    """Four significant digits for reading; the exact number is in the CSV files."""
    if value is None or value != value:
        return "–"
    return f"{value:.4g}"


def _layers(tables: Tables) -> list[dict[str, Any]]:
    """The state of each weight matrix at the last checkpoint; a status stands where there is no number."""
    layers = []
    for row in tables.tensors:
        if row.kind not in ("matrix", "stack"):
            continue
        cells = []
        for metric, _ in LAYER_COLUMNS:
            curve = tables.curves.get(("tensor", row.name, metric))
            status = curve.statuses[-1] if curve else None
            has_value = curve is not None and status in STATUSES_WITH_VALUE
            cells.append(short_number(float(curve.values[-1])) if curve and has_value else (status or "–"))
        layers.append({"row": row, "cells": cells})
    return layers


def _leading_correlations(tables: Tables) -> list[tuple[Correlation, Correlation | None]]:
    """Pearson and Spearman side by side, means first."""
    ranks = {
        (one.scope, one.tensor, one.metric, one.scalar, one.transform): one
        for one in tables.correlations
        if one.method == "spearman"
    }
    pearsons = [one for one in tables.correlations if one.method == "pearson"]
    pearsons.sort(key=lambda one: SCOPES.index(one.scope))
    return [(one, ranks.get((one.scope, one.tensor, one.metric, one.scalar, one.transform))) for one in pearsons]
