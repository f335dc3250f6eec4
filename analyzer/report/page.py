"""Render a report's page: plain HTML and CSS that reads without a script, every name escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from analyzer.findings import SEVERITIES
from analyzer.model.describing import place_text
from analyzer.model.run import Finding
from analyzer.model.score_names import accuracies, best_place, is_share, leading, losses
from analyzer.model.tables import TOKENS, UNITS, Tables
from analyzer.report.layers import Layer, cells_of, columns_of, layers_of
from analyzer.report.relations import relations
from analyzer.report.rendering import place_number, place_of, rendered, short_number

OVERVIEW = "overview"  # the figure of the first screen
MOST_FINDINGS = 5  # on the first screen
MOST_INFO = 2
MOST_SCORES = 6
MOST_LAYERS = 3  # that are linked from a finding


@dataclass(frozen=True, slots=True)
class FigureOnPage:
    """A drawn figure: ``path`` lacks the suffix; ``.png``, ``.svg`` and ``-narrow.png`` are there.

    ``remark`` says what is remarkable in it.
    """

    name: str
    title: str
    how_to_read: str
    path: str
    remark: str = ""


PNG, SVG, NARROW = ".png", ".svg", "-narrow.png"  # the suffixes of a figure's files; the last is for narrow screens


@dataclass(frozen=True, slots=True)
class Embedded:
    """Holds what is inside of a page that is a single file: style sheet, script, and figures as ``data:`` URIs.

    ``images`` has those by the name of the file that they would be.
    """

    style: str
    script: str
    policy: str
    images: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DataFiles:
    """The files below ``data/``: ``names`` by table, and whether that of correlations has all of them."""

    names: Mapping[str, str]
    all_correlations: bool


@dataclass(frozen=True, slots=True)
class NumberedFinding:
    """A finding with its number in the run, and the first few layers that it is about."""

    number: int
    finding: Finding
    layers: tuple[Layer, ...]


def render_page(
    summary: Mapping[str, Any],
    runs: Sequence[Tables],
    figures: Mapping[str, Sequence[FigureOnPage]],
    folders: Mapping[str, str],
    data: DataFiles | None = None,
    embedded: Embedded | None = None,
    *,
    explore: bool = False,
) -> bytes:
    """Return the page as UTF-8.

    Args:
        summary: the content of ``summary.json``.
        runs: the tables of each run, as in the summary.
        figures: the figures that were drawn, by the run's name.
        folders: where the pages of the layers are, by the run's name, ``layers/`` or a folder below it.
        data: the files of the tables; None if the page is a file of its own.
        embedded: what to put into the page instead of linking to it, for a single file without pages of layers.
        explore: whether there is an interactive page to link to.
    """
    sections = [
        _section(tables, about, figures[tables.run], folders[tables.run], number)
        for number, (tables, about) in enumerate(zip(runs, summary["runs"], strict=True), start=1)
    ]
    scores = _common_scores(runs)
    return rendered(
        "index.html",
        sections=sections,
        embedded=embedded,
        explore=explore,
        data=data,
        scores=scores,
        run_rows=[(section, _run_scores(section["tables"], scores)) for section in sections],
        newest=newest_file(runs),
        most_scores=MOST_SCORES,
    )


def _section(
    tables: Tables, about: Mapping[str, Any], figures: Sequence[FigureOnPage], folder: str, number: int
) -> dict[str, Any]:
    """Return what the template shows of a run."""
    layers, columns = layers_of(tables), columns_of(tables)
    overview = next((figure for figure in figures if figure.name == OVERVIEW), figures[0] if figures else None)
    return {
        "tables": tables,
        "about": about,
        "anchor": f"run-{number}",
        "findings": numbered(tables, layers),
        "at_first": _count_at_first(tables.findings),
        "severities": by_severity(tables.findings),
        "overview": overview,
        "figures": [(place, figure) for place, figure in enumerate(figures, start=1) if figure is not overview],
        "numbers": {figure.name: place for place, figure in enumerate(figures, start=1)},
        "columns": columns,
        "layers": [(layer, cells_of(tables, layer, columns)) for layer in layers],
        "folder": folder,
        "relations": relations(tables),
        "extent": _extent(tables),
        "spacing": _spacing(tables),
        "scores": _scores(tables),
    }


def numbered(tables: Tables, layers: Sequence[Layer]) -> list[NumberedFinding]:
    """Return the findings of a run with their numbers."""
    about: dict[int, list[Layer]] = {}
    for layer in layers:
        for number in layer.findings:
            about.setdefault(number, []).append(layer)
    return [
        NumberedFinding(number, finding, tuple(about.get(number, ())[:MOST_LAYERS]))
        for number, finding in enumerate(tables.findings, start=1)
    ]


def _count_at_first(findings: Sequence[Finding]) -> int:
    """Return how many findings the first screen shows: no mere information unless there is nothing else."""
    known = [finding for finding in findings if finding.severity != "info"]
    return min(len(known), MOST_FINDINGS) if known else min(len(findings), MOST_INFO)


def by_severity(findings: Sequence[Finding]) -> list[tuple[str, int]]:
    """Return how many findings there are of each severity that occurs, the most serious first."""
    counts: Counter[str] = Counter(finding.severity for finding in findings)
    return [(severity, counts[severity]) for severity in SEVERITIES if counts[severity]]


def newest_file(runs: Sequence[Tables]) -> str:
    """Return when the newest file of a checkpoint was written, in UTC; empty where that is not known."""
    times = [
        stamp.modified_ns for tables in runs for one in tables.source.checkpoints for stamp in one.files
    ]  # 0 where a server does not tell
    newest = max(times, default=0)
    return f"{datetime.fromtimestamp(newest // 10**9, UTC):%Y-%m-%d %H:%M} UTC" if newest else ""


def _common_scores(runs: Sequence[Tables]) -> list[str]:
    """Return the scores of the table of runs: the accuracy and the loss that matter most among all of the runs'."""
    names = list(dict.fromkeys(name for tables in runs for name in tables.scalars))
    return [*accuracies(names)[:1], *losses(names)[:1]]


def _run_scores(tables: Tables, names: Sequence[str]) -> list[str]:
    return [short_number(float(tables.scalars[name][-1])) if name in tables.scalars else "–" for name in names]


def _scores(tables: Tables) -> list[tuple[str, str, str]]:
    """Return (name, value at the last checkpoint, where it was best) of each score, the leading ones first."""
    scores = []
    for name in dict.fromkeys([*leading(tables.scalars), *filter(is_share, tables.scalars)]):
        values = tables.scalars[name]
        best = best_place(name, values)
        if best is None:
            where = ""
        elif values[best] == values[-1]:
            where = (
                ", its best" if best == len(values) - 1 else f", its best, first reached at {place_of(tables, best)}"
            )
        else:
            where = f", best {short_number(values[best])} at {place_of(tables, best)}"
        scores.append((name, short_number(values[-1]), where))
    return scores


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
