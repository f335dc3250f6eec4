"""Add the scores of a table to the checkpoints whose epoch or step they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isclose, isfinite

from analyzer.errors import CheckpointError
from analyzer.layouts.scores.searching import folder_scores
from analyzer.layouts.scores.sidecars import read_scores
from analyzer.layouts.scores.tables import PLACE_COLUMNS, ScoreTable
from analyzer.layouts.scores.units import in_units_of, with_other_counts, with_places_said
from analyzer.model.run import Checkpoint, Finding, Run, Severity
from analyzer.sources import canonical

_SAME = 1e-6  # relative


def with_scores(run: Run, path: str) -> Run:
    """Return the run with scores from a file added; scores that the run already has win.

    Args:
        run: the run.
        path: a file whose rows state their epoch or step, or the folder of an MLflow run.

    Raises:
        CheckpointError: the file cannot be read, or none of its rows belongs to a checkpoint.
    """
    findings: list[Finding] = []
    table = in_units_of(list(run.checkpoints), read_scores(canonical(path), findings), path, findings)
    checkpoints = merge_scores(list(run.checkpoints), table)
    if [one.scores for one in checkpoints] == [one.scores for one in run.checkpoints]:
        if any(has_row_for(table, one) for one in run.checkpoints):
            raise CheckpointError(f"{path}: adds no score to {run.name}: the run already has every number in it")
        raise CheckpointError(
            f"{path}: adds no score to {run.name}: none of its epochs or steps belongs to a checkpoint"
            + _unit_mismatch({place for place, _ in table}, run)
        )
    findings.extend(_additions(run, path, table, checkpoints))
    checkpoints = with_other_counts(checkpoints, table, path, findings)
    ordered_by, findings = with_places_said(run.ordered_by, findings)
    return replace(run, checkpoints=tuple(checkpoints), ordered_by=ordered_by, findings=(*run.findings, *findings))


def with_folder_scores(folder: str, checkpoints: list[Checkpoint], findings: list[Finding]) -> list[Checkpoint]:
    """Return the checkpoints with the scores that are in their folder or next to it; their own scores win.

    Args:
        folder: the folder of the checkpoints.
        checkpoints: the checkpoints, in any order.
        findings: receives findings about the files and about what cannot be placed.
    """
    table = in_units_of(checkpoints, folder_scores(folder, findings), folder, findings)
    if table and checkpoints and not any(has_row_for(table, checkpoint) for checkpoint in checkpoints):
        sentence = f"{folder}: none of the epochs or steps in its metrics file belongs to a checkpoint."
        findings.append(Finding("scores_unmatched", "warning", sentence))
    return with_other_counts(merge_scores(checkpoints, table), table, folder, findings)


def merge_scores(
    checkpoints: list[Checkpoint], table: Mapping[tuple[str, float], Mapping[str, float]]
) -> list[Checkpoint]:
    """Add finite scores from a table, by ("step", n) first and ("epoch", n) second; a checkpoint's own scores win."""
    return [replace(one, scores={**_scores_of(one, table), **one.scores}) for one in checkpoints]


def has_row_for(table: Mapping[tuple[str, float], object], checkpoint: Checkpoint) -> bool:
    """Check whether a table has a row for a checkpoint's step or epoch."""
    return ("step", checkpoint.step) in table or ("epoch", checkpoint.epoch) in table


def _scores_of(checkpoint: Checkpoint, table: Mapping[tuple[str, float], Mapping[str, float]]) -> dict[str, float]:
    by_step = table.get(("step", float(checkpoint.step)), {}) if checkpoint.step is not None else {}
    by_epoch = table.get(("epoch", checkpoint.epoch), {}) if checkpoint.epoch is not None else {}
    return {name: value for name, value in {**by_epoch, **by_step}.items() if isfinite(value)}


def _additions(run: Run, path: str, table: ScoreTable, scored: list[Checkpoint]) -> list[Finding]:
    """Report what a file adds to checkpoints that have scores of their own, and where it contradicts these."""
    added = filled = differing = 0
    for before, after in zip(run.checkpoints, scored, strict=True):
        if before.scores:
            new = len(after.scores) - len(before.scores)
            added += new
            filled += bool(new)
            differing += sum(
                not isclose(value, before.scores[name], rel_tol=_SAME, abs_tol=1e-12)
                for name, value in _scores_of(before, table).items()
                if name in before.scores
            )
    if not added and not differing:
        return []
    sentence = f"{path}: adds {added} values to {filled} checkpoints that already had scores"
    if differing:
        sentence += f"; {differing} values contradict the checkpoints' own, which are kept"
    severity: Severity = "warning" if differing else "info"
    evidence = {"added": added, "contradicting": differing}
    return [Finding("scores_added", severity, f"{sentence}.", evidence=evidence)]


def _unit_mismatch(units: set[str], run: Run) -> str:
    """Explain that a table counts in one unit and the run in the other; an empty string if they share a unit."""
    known = {place for place in PLACE_COLUMNS if any(getattr(one, place) is not None for one in run.checkpoints)}
    if not units or known & units:
        return ""
    (unit,) = units if len(units) == 1 else ("epoch or step",)
    of_run = f"only {known.pop()}s" if known else "neither epoch nor step"
    return f": its rows are by {unit}, but the checkpoints have {of_run}"
