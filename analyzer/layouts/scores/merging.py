"""Add the scores of a table to the checkpoints whose epoch or step they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite

from analyzer.errors import CheckpointError
from analyzer.layouts.scores.sidecars import read_scores
from analyzer.layouts.scores.tables import PLACE_COLUMNS
from analyzer.model.run import Checkpoint, Finding, Run
from analyzer.sources import canonical


def with_scores(run: Run, path: str) -> Run:
    """Return the run with scores from a CSV or JSON-lines file added; scores that the run already has win.

    Args:
        run: the run.
        path: a file whose rows state their epoch or step.

    Raises:
        CheckpointError: the file cannot be read, or none of its rows belongs to a checkpoint.
    """
    findings: list[Finding] = []
    table = read_scores(canonical(path), findings)
    checkpoints = merge_scores(list(run.checkpoints), table)
    if [one.scores for one in checkpoints] == [one.scores for one in run.checkpoints]:
        if any(has_row_for(table, one) for one in run.checkpoints):
            raise CheckpointError(f"{path}: adds no score to {run.name}: the run already has every number in it")
        raise CheckpointError(
            f"{path}: adds no score to {run.name}: none of its epochs or steps belongs to a checkpoint"
            + _unit_mismatch({place for place, _ in table}, run)
        )
    return replace(run, checkpoints=tuple(checkpoints), findings=(*run.findings, *findings))


def merge_scores(
    checkpoints: list[Checkpoint], table: Mapping[tuple[str, float], Mapping[str, float]]
) -> list[Checkpoint]:
    """Add finite scores from a table, by ("step", n) first and ("epoch", n) second; a checkpoint's own scores win."""
    merged = []
    for checkpoint in checkpoints:
        by_step = table.get(("step", float(checkpoint.step)), {}) if checkpoint.step is not None else {}
        by_epoch = table.get(("epoch", checkpoint.epoch), {}) if checkpoint.epoch is not None else {}
        added = {name: value for name, value in {**by_epoch, **by_step}.items() if isfinite(value)}
        merged.append(replace(checkpoint, scores={**added, **checkpoint.scores}))
    return merged


def has_row_for(table: Mapping[tuple[str, float], object], checkpoint: Checkpoint) -> bool:
    """Check whether a table has a row for a checkpoint's step or epoch."""
    return ("step", checkpoint.step) in table or ("epoch", checkpoint.epoch) in table


def _unit_mismatch(units: set[str], run: Run) -> str:
    """Explain that a table counts in one unit and the run in the other; an empty string if they share a unit."""
    known = {place for place in PLACE_COLUMNS if any(getattr(one, place) is not None for one in run.checkpoints)}
    if not units or known & units:
        return ""
    (unit,) = units if len(units) == 1 else ("epoch or step",)
    of_run = f"only {known.pop()}s" if known else "neither epoch nor step"
    return f": its rows are by {unit}, but the checkpoints have {of_run}"
