"""Render a report's page: plain HTML and CSS, no script, every name escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyzer.model.describing import place_text
from analyzer.model.names import printable
from analyzer.model.run import STATUSES_WITH_VALUE
from analyzer.model.score_names import accuracies, best_place, is_share, leading, losses
from analyzer.model.tables import TOKENS, UNITS, Correlation, Tables
from analyzer.statistics.rows import is_tested

HERE = Path(__file__).parent
LAYER_COLUMNS = (
    ("step_distance", "last step ‖ΔW‖"),
    ("initial_distance", "from start ‖W−W₀‖"),
    ("condition_number", "κ"),
    ("effective_rank", "effective rank"),
    ("stable_rank", "stable rank"),
    ("zero_fraction", "exact zeros"),
)
RELATED_METRICS = (("step_distance", "Step distance"), ("condition_number", "Condition number"))
MOST_RELATED = 10


@dataclass(frozen=True, slots=True)
class FigureOnPage:
    """A drawn figure: ``path`` lacks the suffix, ``.png`` and ``.svg`` are there."""

    name: str
    title: str
    how_to_read: str
    path: str


def stylesheet() -> bytes:
    """Return the style sheet that the page refers to."""
    return (HERE / "assets" / "report.css").read_bytes()


def render_page(
    summary: Mapping[str, Any], runs: Sequence[Tables], figures: Mapping[str, Sequence[FigureOnPage]]
) -> bytes:
    """Return the page as UTF-8.

    Args:
        summary: the content of ``summary.json``.
        runs: the tables of each run, as in the summary.
        figures: the figures that were drawn, by the run's name.
    """
    sections = [
        {
            "tables": tables,
            "about": about,
            "figures": figures[tables.run],
            "columns": (columns := _columns(tables)),
            "layers": _layers(tables, columns),
            "relations": _relations(tables),
            "anchor": f"run-{number}",
            "extent": _extent(tables),
            "spacing": _spacing(tables),
            "scores": _scores(tables),
        }
        for number, (tables, about) in enumerate(zip(runs, summary["runs"], strict=True), start=1)
    ]
    return rendered("index.html", sections=sections)


def rendered(template: str, **content: Any) -> bytes:
    """Render a template as UTF-8; everything that is inserted is escaped."""
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
    environment.filters["coefficient"] = coefficient
    environment.filters["percent"] = percent
    return environment.get_template(template).render(content).encode("utf-8", "backslashreplace")


def short_number(value: float | None) -> str:
    """Format a number with four significant digits; the exact one is in the CSV files."""
    if value is None or value != value:
        return "–"
    return f"{value:.4g}"


def place_number(value: float) -> str:
    """Format a place on the axis: all digits of a whole number, four significant digits of a fraction."""
    return f"{value:.0f}" if value == round(value) else short_number(value)


def _scores(tables: Tables) -> list[tuple[str, str, str]]:
    """Return (name, value at the last checkpoint, where it was best) of each score, the leading ones first."""
    scores = []
    for name in dict.fromkeys([*leading(tables.scalars), *filter(is_share, tables.scalars)]):
        values = tables.scalars[name]
        best = best_place(name, values)
        if best is None:
            where = ""
        elif values[best] == values[-1]:
            where = ", its best" if best == len(values) - 1 else f", its best, first reached at {_place(tables, best)}"
        else:
            where = f", best {short_number(values[best])} at {_place(tables, best)}"
        scores.append((name, short_number(values[-1]), where))
    return scores


def _place(tables: Tables, position: int) -> str:
    if tables.axis_label in UNITS:
        return place_text(tables.axis_label, place_number(tables.axis[position]))
    return tables.checkpoints[position].name


def _extent(tables: Tables) -> str:
    """Return ``epoch 0 – 50``; of a single checkpoint, its place."""
    ends = dict.fromkeys(place_number(tables.axis[position]) for position in (0, -1))
    return place_text(tables.axis_label, " – ".join(ends))


def _spacing(tables: Tables) -> str:
    """Describe the training between two neighboring checkpoints, to follow a colon; empty for a single one."""
    apart = tables.axis[1:] - tables.axis[:-1]
    if not apart.size:
        return ""
    if tables.axis_label not in UNITS:
        return "how much training is between them is not known"
    shortest, longest = place_number(apart.min()), place_number(apart.max())
    length = shortest if shortest == longest else f"{shortest} to {longest}"
    return f"here {length} {tables.axis_label}{'' if length == '1' or tables.axis_label == TOKENS else 's'} of training"


def _columns(tables: Tables) -> list[tuple[str, str]]:
    """Return the columns of the table of layers: those that were measured."""
    measured = {metric for scope, _, metric in tables.curves if scope == "tensor"}
    return [column for column in LAYER_COLUMNS if column[0] in measured]


def _layers(tables: Tables, columns: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the values of each weight matrix at the last checkpoint; a status replaces a missing number."""
    layers = []
    for row in tables.tensors:
        if row.kind not in ("matrix", "stack"):
            continue
        cells = []
        for metric, _ in columns:
            curve = tables.curves.get(("tensor", row.name, metric))
            status = curve.statuses[-1] if curve else None
            has_value = curve is not None and status in STATUSES_WITH_VALUE
            cells.append(short_number(float(curve.values[-1])) if curve and has_value else (status or "–"))
        layers.append({"row": row, "cells": cells})
    return layers


def coefficient(value: float | None) -> str:
    """Format a coefficient with two decimals, which is all that a few dozen pairs can support."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def percent(share: float) -> str:
    """Format a probability in whole percent; only what is certain is 0 or 100."""
    if 0 < share < 0.01:
        return "< 1 %"
    return "> 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def _relations(tables: Tables) -> list[dict[str, Any]]:
    """Return the correlations of the mean and of the strongest layers with the score that matters most.

    The rows of a table are (raw curves, Pearson and Spearman without the trend).
    """
    score = next(iter([*accuracies(tables.scalars), *losses(tables.scalars)]), None)
    found = []
    for metric, title in RELATED_METRICS:
        of_tensor: dict[tuple[str, str], dict[tuple[bool, str], Correlation]] = {}
        for one in tables.correlations.get(metric, ()):
            if (one.scalar, one.lag) == (score, 0) and one.scope in ("mean", "tensor"):
                # The rows of a pair are in this order: raw, differences, without trend.
                of_tensor.setdefault((one.scope, one.tensor), {}).setdefault((is_tested(one), one.method), one)
        rows = [
            (its[False, "pearson"], its[True, "pearson"], its[True, "spearman"])
            for its in of_tensor.values()
            if its.keys() >= {(False, "pearson"), (True, "pearson"), (True, "spearman")}
        ]
        layers = sorted((row for row in rows if row[0].scope == "tensor"), key=_strength, reverse=True)
        means = [row for row in rows if row[0].scope == "mean"]
        if score and any(one.coefficient is not None for row in rows for one in row):
            shown = [*means, *layers[:MOST_RELATED]]
            found.append({"title": title, "score": score, "rows": shown, "layers": len(layers)})
    return found


def _strength(row: tuple[Correlation, Correlation, Correlation]) -> tuple[float, float]:
    """Return a sort key: by the coefficient without trend, and where there is none, by the raw one."""
    as_it_is, tested, _ = row
    return abs(tested.coefficient or 0.0), abs(as_it_is.coefficient or 0.0)
