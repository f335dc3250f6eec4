"""Render a comparison's page: plain HTML and CSS, no script, every name escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analyzer.comparing.aligning import mean_of
from analyzer.comparing.answers import QUESTIONS, at_end, number, place
from analyzer.comparing.quantities import by_name
from analyzer.comparing.testing import end_values
from analyzer.model.comparison import Comparison, Divergence, GroupDifference, Quantity
from analyzer.model.run import NEED_ATTENTION, Finding
from analyzer.model.score_names import accuracies, is_training, losses
from analyzer.report.page import FigureOnPage
from analyzer.report.rendering import rendered

MOST_GROUP_COLUMNS = 6
MOST_PAIRS = 6
MOST_RUN_ROWS = 60
MOST_DIVERGENCES = 20
MOST_FINDINGS = 3  # of a run; its own report has all
ON_PAGE = ("initial_distance", "relative_initial_distance", "path_length", "condition_number", "effective_rank")


def render_page(
    comparison: Comparison, figures: Sequence[FigureOnPage], reports: Mapping[str, str], names: Mapping[str, str]
) -> bytes:
    """Return the page as UTF-8.

    Args:
        comparison: what it shows.
        figures: what was drawn of it.
        reports: run name -> address of that run's own report, of the runs that have one.
        names: the name of each table's file.
    """
    scores = [one.name for one in comparison.quantities if one.is_score]
    included = {*ON_PAGE, *accuracies(scores), *(name for name in losses(scores) if not is_training(name))}
    shown = [one for one in comparison.quantities if one.name in included]
    drawn = {figure.name for figure in figures}
    with_repeats = any(len(group.independent) > 1 for group in comparison.groups)
    return rendered(
        "comparison.html",
        digits=digits,
        comparison=comparison,
        figures=figures,
        drawn=drawn,
        questions=QUESTIONS,
        answers_by_figure=_answers_by_figure(comparison.answers),
        attention=_attention(comparison),
        reports=reports,
        names=names,
        quantities=shown,
        at_end=at_end(comparison),
        group_rows=_group_rows(comparison, shown)
        if with_repeats and len(comparison.groups) <= MOST_GROUP_COLUMNS
        else [],
        pairs=_pairs(comparison, shown),
        pairs_in_all=len(comparison.groups) * (len(comparison.groups) - 1) // 2,
        run_rows=_run_rows(comparison, shown),
        runs_left_out=max(0, len(comparison.runs) - MOST_RUN_ROWS),
        divergences=[
            (pair, "never" if pair.place is None else place(comparison, pair.place), _parted(pair))
            for pair in comparison.divergences[:MOST_DIVERGENCES]
        ],
        titles={one.name: one.title for one in comparison.quantities},
    )


def digits(value: float | None) -> str:
    """Format a number with three significant digits; the exact one is in the CSV files."""
    return "–" if value is None else number(value)


def _answers_by_figure(answers: Sequence[Finding]) -> dict[str, list[Finding]]:
    """Return the answers that refer to each figure, by the figure's name."""
    found: dict[str, list[Finding]] = {}
    for answer in answers:
        if answer.figure is not None:
            found.setdefault(answer.figure, []).append(answer)
    return found


def _attention(comparison: Comparison) -> list[tuple[str, list[Finding], int]]:
    """Return (run, its most serious findings, how many more need attention) for the runs that have any."""
    found = [
        (run.name, [one for one in run.tables.findings if one.severity in NEED_ATTENTION]) for run in comparison.runs
    ]
    return [(run, its[:MOST_FINDINGS], len(its[MOST_FINDINGS:])) for run, its in found if its][:MOST_RUN_ROWS]


def _parted(pair: Divergence) -> list[tuple[str, float | None, float | None]]:
    """Return (tensor, least distance, greatest distance) of the tensors that diverge first."""
    if pair.place is None:
        return [("no tensor", None, None)]
    return [(one.tensor, one.at_least, one.at_most) for one in pair.tensors if one.place == pair.place]


def _group_rows(comparison: Comparison, shown: Sequence[Quantity]) -> list[tuple[Quantity, list[tuple[str, str]]]]:
    """Return the (mean, range) of each group for each quantity."""
    rows = []
    for quantity in shown:
        cells = []
        for group in comparison.groups:
            values = end_values(comparison, group, quantity)
            if not np.isfinite(values).all():
                cells.append(("–", ""))
                continue
            spread = f"{number(values.min())} – {number(values.max())}" if len(values) > 1 else ""
            cells.append((number(float(mean_of(values[:, None], ratio=quantity.ratio)[0])), spread))
        rows.append((quantity, cells))
    return rows


def _pairs(
    comparison: Comparison, shown: Sequence[Quantity]
) -> list[tuple[str, str, list[tuple[Quantity, GroupDifference]]]]:
    """Return the differences of the first pairs of groups in the quantities that are on the page."""
    named = by_name(shown)
    pairs: dict[tuple[str, str], list[tuple[Quantity, GroupDifference]]] = {}
    for one in comparison.differences:
        if one.quantity in named:
            pairs.setdefault((one.first, one.second), []).append((named[one.quantity], one))
    return [(first, second, rows) for (first, second), rows in list(pairs.items())[:MOST_PAIRS]]


def _run_rows(comparison: Comparison, shown: Sequence[Quantity]) -> list[tuple[str, str, str, list[str]]]:
    """Return (run, group, place, cells) for the end of each run; a status replaces a missing number."""
    at_end = {(one.run, one.quantity): one for one in comparison.finals if one.scope != "tensor"}
    rows = []
    for group in comparison.groups:
        for run in group.runs:
            ends = [at_end.get((run, quantity.name)) for quantity in shown]
            cells = ["–" if one is None else one.status if one.value is None else number(one.value) for one in ends]
            rows.append((run, group.name, place(comparison, comparison.ends[run]), cells))
    return rows[:MOST_RUN_ROWS]
