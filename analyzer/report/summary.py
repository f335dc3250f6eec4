"""Summarize runs for ``summary.json``: findings, final values, best scores and a few correlations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from analyzer.model.describing import finding_record
from analyzer.model.score_names import best_place
from analyzer.model.tables import Tables, is_expert
from analyzer.statistics.rows import is_tested

SCHEMA_VERSION = 1
FINAL_METRICS = ("step_distance", "initial_distance", "condition_number", "effective_rank", "stable_rank")


def summarize(runs: Sequence[Tables]) -> dict[str, Any]:
    """Return the content of ``summary.json``."""
    return {
        "schema_version": SCHEMA_VERSION,
        "runs": [
            {
                "run": tables.run,
                "path": tables.source.path,
                "layout": tables.source.layout,
                "ordered_by": tables.source.ordered_by,
                "checkpoints": len(tables.checkpoints),
                "tensors": sum(not is_expert(row) for row in tables.tensors),
                "final": _final_values(tables),
                "best": _best_scores(tables),
                "correlations": _tested(tables),
                "uncorrelated": list(tables.uncorrelated),
            }
            for tables in runs
        ],
        "findings": [
            {"run": tables.run, **finding_record(finding), "figure": finding.figure}
            for tables in runs
            for finding in tables.findings
        ],
    }


def _final_values(tables: Tables) -> dict[str, Any]:
    last = tables.checkpoints[-1]
    result: dict[str, Any] = {
        "checkpoint": last.name,
        "epoch": last.epoch,
        "step": last.step,
        "scalars": {name: float(values[-1]) for name, values in tables.scalars.items() if values[-1] == values[-1]},
    }
    for scope in ("total", "mean"):
        result[scope] = {
            metric: {"value": None if curve.values[-1] != curve.values[-1] else float(curve.values[-1])}
            | {"status": curve.statuses[-1]}
            for metric in FINAL_METRICS
            if (curve := tables.curves.get((scope, "", metric))) is not None and curve.statuses[-1] is not None
        }
    return result


def _best_scores(tables: Tables) -> dict[str, dict[str, Any]]:
    """Return the best value of each score whose direction is known, and where the run first reached it."""
    best = {name: best_place(name, values) for name, values in tables.scalars.items()}
    return {
        name: {"value": float(tables.scalars[name][place])}
        | {"checkpoint": row.name, "epoch": row.epoch, "step": row.step}
        for name, place in best.items()
        if place is not None and (row := tables.checkpoints[place])
    }


def _tested(tables: Tables) -> list[dict[str, Any]]:
    """Return what was tested of the whole network: mean step distance and condition number against every score."""
    return [
        asdict(one)
        for metric in ("step_distance", "condition_number")
        for one in tables.correlations.get(metric, ())
        if one.scope == "mean" and is_tested(one)
    ]
