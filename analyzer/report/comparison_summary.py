"""Summarize a comparison for ``summary.json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from analyzer.comparing.answers import QUESTIONS
from analyzer.model.comparison import Comparison

SCHEMA_VERSION = 1


def summarize(comparison: Comparison) -> dict[str, Any]:
    """Return groups, answers, final values of the whole network, differences, divergence and swap tests."""
    return {
        "schema_version": SCHEMA_VERSION,
        "runs": [
            {"run": run.name, "path": run.path, "store": run.source, "settings": dict(run.settings)}
            for run in comparison.runs
        ],
        "groups": [asdict(group) for group in comparison.groups],
        "grouped_by": comparison.grouped_by,
        "aligned_by": comparison.axis_label,
        "compared_at": dict(comparison.ends),
        "notes": list(comparison.notes),
        "answers": [
            {
                "rule": one.rule,
                "question": QUESTIONS[one.rule],
                "sentence": one.sentence,
                "severity": one.severity,
                "evidence": dict(one.evidence),
                "figure": one.figure,
            }
            for one in comparison.answers
        ],
        "final_values": [asdict(one) for one in comparison.finals if one.scope != "tensor"],
        "differences": [asdict(one) for one in comparison.differences],
        "divergence": [asdict(one) for one in comparison.divergences],
        "swap_tests": [asdict(one) for one in comparison.swaps],
    }
