"""Compare several runs: group them, align them, test their differences, and answer questions in sentences.

Pure functions of stored tables; :mod:`analyzer.report.comparison` reads the stores and writes the pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from analyzer.comparing.aligning import bands, common_axis, ends
from analyzer.comparing.answers import answers
from analyzer.comparing.divergence import divergences
from analyzer.comparing.grouping import group_runs
from analyzer.comparing.notes import notes
from analyzer.comparing.quantities import courses, quantities
from analyzer.comparing.testing import differences, final_values, swap_rows
from analyzer.model.comparison import Comparison, StoredRun

__all__ = ["compare_runs"]


def compare_runs(runs: Sequence[StoredRun]) -> Comparison:
    """Return the full comparison of two or more runs."""
    groups, grouped_by = group_runs(runs)
    label, places, common = common_axis(runs)
    chosen = quantities(runs)
    comparison = Comparison(
        runs=tuple(runs),
        groups=groups,
        grouped_by=grouped_by,
        axis_label=label,
        places=places,
        common=common,
        ends=ends(label, places, common),
        quantities=chosen,
        courses=courses(runs, chosen),
    )
    comparison = replace(
        comparison,
        bands=bands(comparison),
        finals=final_values(comparison),
        differences=differences(comparison),
        divergences=divergences(comparison),
        swaps=swap_rows(comparison),
    )
    return replace(comparison, notes=notes(comparison), answers=answers(comparison))
