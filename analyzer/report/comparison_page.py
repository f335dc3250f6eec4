"""Render a comparison's page: plain HTML and CSS, no script, every name escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analyzer.comparing.aligning import mean_of
from analyzer.comparing.answers import QUESTIONS, at_end, number, place
from analyzer.comparing.quantities import by_name
from analyzer.comparing.testing import end_values
from analyzer.findings import SEVERITIES
from analyzer.model.comparison import Comparison, Divergence, Group, GroupDifference, Quantity
from analyzer.model.run import NEED_ATTENTION, Finding, FloatArray
from analyzer.model.score_names import accuracies, is_training, losses
from analyzer.report.page import FigureOnPage, newest_file
from analyzer.report.rendering import rendered

MOST_PAIRS = 6
MOST_RUN_ROWS = 60
MOST_GROUP_ROWS = 30
MOST_DIVERGENCES = 20
MOST_FINDINGS = 12  # each for all runs that have it; their own reports have all
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
    with_repeats = any(len(group.independent) > 1 for group in comparison.groups)
    different_ends = len({float(places[-1]) for places in comparison.places.values()}) > 1
    attention = _attention(comparison)
    pairs = _pairs(comparison, shown)
    return rendered(
        "comparison.html",
        digits=digits,
        comparison=comparison,
        figures=figures,
        numbers={figure.name: number for number, figure in enumerate(figures, start=1)},
        questions=QUESTIONS,
        answered_by=_answered_by(comparison.answers, figures),
        attention=attention[:MOST_FINDINGS],
        attention_left_out=len(attention[MOST_FINDINGS:]),
        different_ends=different_ends,
        reports=reports,
        names=names,
        quantities=shown,
        at_end=at_end(comparison),
        group_rows=_group_rows(comparison, shown) if with_repeats or different_ends else [],
        pairs=pairs,
        tested=any(one.p_value is not None for _, _, rows in pairs for _, one in rows),
        pairs_in_all=len(comparison.groups) * (len(comparison.groups) - 1) // 2,
        run_rows=_run_rows(comparison, shown),
        runs_left_out=max(0, len(comparison.runs) - MOST_RUN_ROWS),
        divergences=[
            (pair, "never" if pair.place is None else place(comparison, pair.place), _parted(pair))
            for pair in comparison.divergences[:MOST_DIVERGENCES]
        ],
        titles={one.name: one.title for one in comparison.quantities},
        newest=newest_file([run.tables for run in comparison.runs]),
    )


def digits(value: float | None) -> str:
    """Format a number with three significant digits; the exact one is in the CSV files."""
    return "–" if value is None else number(value)


def _answered_by(
    answers: Sequence[Finding], figures: Sequence[FigureOnPage]
) -> Mapping[str, Sequence[tuple[int, str]]]:
    """Return (number, question) of the answers that refer to each figure, by the figure's name."""
    return {
        figure.name: [
            (number, QUESTIONS[one.rule]) for number, one in enumerate(answers, start=1) if one.figure == figure.name
        ]
        for figure in figures
    }


def _attention(comparison: Comparison) -> list[tuple[Finding, str, list[str]]]:
    """Return each finding that needs attention, the first run that has it, and the others; the most serious first.

    Findings of one rule and severity in the same tensor count as the same: only their numbers differ.
    """
    found: dict[tuple[str, str, str | None], dict[str, Finding]] = {}
    for run in comparison.runs:
        for one in run.tables.findings:
            if one.severity in NEED_ATTENTION:
                found.setdefault((one.severity, one.rule, one.tensor), {}).setdefault(run.name, one)
    ordered = sorted(found.items(), key=lambda item: SEVERITIES.index(item[0][0]))
    return [(next(iter(its.values())), *_first_and_rest(list(its))) for _, its in ordered]


def _first_and_rest(runs: list[str]) -> tuple[str, list[str]]:
    return runs[0], runs[1:]


def _parted(pair: Divergence) -> list[tuple[str, float | None, float | None]]:
    """Return (tensor, least distance, greatest distance) of the tensors that diverge first."""
    if pair.place is None:
        return [("no tensor", None, None)]
    return [(one.tensor, one.at_least, one.at_most) for one in pair.tensors if one.place == pair.place]


def _group_rows(comparison: Comparison, shown: Sequence[Quantity]) -> list[tuple[Group, list[tuple[str, str]]]]:
    """Return the (mean, range) of each quantity in each group."""
    return [
        (group, [_mean_and_range(end_values(comparison, group, quantity), quantity) for quantity in shown])
        for group in comparison.groups[:MOST_GROUP_ROWS]
    ]


def _mean_and_range(values: FloatArray, quantity: Quantity) -> tuple[str, str]:
    if not np.isfinite(values).all():
        return "–", ""
    spread = f"{number(values.min())} – {number(values.max())}" if len(values) > 1 else ""
    return number(float(mean_of(values[:, None], ratio=quantity.ratio)[0])), spread


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
    """Return (run, group, place, cells) at each run's own last checkpoint; a status replaces a missing number."""
    rows = []
    for group in comparison.groups:
        for run in group.runs:
            ends = [comparison.courses[run, quantity.name] for quantity in shown]
            cells = [number(one.values[-1]) if np.isfinite(one.values[-1]) else one.statuses[-1] for one in ends]
            rows.append((run, group.name, place(comparison, comparison.places[run][-1]), cells))
    return rows[:MOST_RUN_ROWS]
