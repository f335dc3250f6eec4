"""Compare how a table counts steps and epochs with how the checkpoints do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from analyzer.layouts.naming import place_in_name
from analyzer.layouts.scores.tables import ScoreTable
from analyzer.model.run import Checkpoint, Finding

_ADDED = "places_from_scores"


def in_units_of(checkpoints: Sequence[Checkpoint], table: ScoreTable, path: str, findings: list[Finding]) -> ScoreTable:
    """Return the table with its rows placed as the checkpoints count, where that is certain; report it if it is not.

    Args:
        checkpoints: the checkpoints.
        table: the scores.
        path: the file or folder that they are from, for messages.
        findings: receives findings about the units.
    """
    epochs = sorted({one.epoch for one in checkpoints if one.epoch is not None})
    if not epochs or any(one.step is not None and ("step", one.step) in table for one in checkpoints):
        return table
    if table.counts_calls and all(one.step is None for one in checkpoints) and _are_epochs(table, epochs):
        sentence = f"{path}: its steps are the epochs of the checkpoints, 1 for each epoch, so they count epochs."
        findings.append(Finding("scores_by_epoch", "info", sentence))
        return _moved(table, "step", 0)
    known = sorted(place for unit, place in table if unit == "epoch")
    if table.epochs_from_one and known and epochs[-1] <= known[-1] - 1:
        sentence = (
            f"{path}: ultralytics counts epochs from 1 in its table and from 0 in its checkpoints; each row belongs to "
            "the epoch before its number."
        )
        findings.append(Finding("scores_by_epoch", "info", sentence))
        return _moved(table, "epoch", -1)
    if known and known[0] == 0 and _are_named_from_zero(checkpoints):
        sentence = (
            f"{path}: the names of the checkpoints and the rows count epochs from 0, and the checkpoints contain how "
            "many have ended; each row belongs to the checkpoint that is named after its number."
        )
        findings.append(Finding("scores_by_epoch", "info", sentence))
        return _moved(table, "epoch", 1)
    if known and _is_shifted(known, epochs):
        sentence = (
            f"{path}: the epochs of the scores are {known[0]:g} to {known[-1]:g}, those of the checkpoints "
            f"{epochs[0]:g} to {epochs[-1]:g}. One of them may count from 0 and the other from 1; each score is added "
            "to the checkpoint of the same number. Correct the epochs in the file if they are off by one."
        )
        evidence = {"scores": [known[0], known[-1]], "checkpoints": [epochs[0], epochs[-1]]}
        findings.append(Finding("scores_shifted", "warning", sentence, evidence=evidence))
        table.steps, table.epochs = {}, {}
    return table


def with_other_counts(
    checkpoints: list[Checkpoint], table: ScoreTable, path: str, findings: list[Finding]
) -> list[Checkpoint]:
    """Return the checkpoints with the steps (or epochs) that the table has for their epochs (or steps).

    Nothing is added unless the table tells it for all of them.

    Args:
        checkpoints: the checkpoints.
        table: the scores.
        path: the file or folder that they are from, for messages.
        findings: receives a finding if something is added, for :func:`with_places_said`.
    """
    placed = [one for one in checkpoints if one.epoch is not None or one.step is not None]
    if not placed:
        return checkpoints
    if table.steps and all(one.step is None and one.epoch in table.steps for one in placed):
        filled = [one if one.epoch is None else replace(one, step=table.steps[one.epoch]) for one in checkpoints]
        added = "steps"
    elif table.epochs and all(one.epoch is None and one.step in table.epochs for one in placed):
        filled = [one if one.step is None else replace(one, epoch=table.epochs[one.step]) for one in checkpoints]
        epochs = [one.epoch for one in sorted(filled, key=lambda one: one.step or 0) if one.epoch is not None]
        if epochs != sorted(epochs):
            return checkpoints
        added = "epochs"
    else:
        return checkpoints
    findings.append(Finding(_ADDED, "info", f"{path}: {added} are those of the scores.", evidence={"added": added}))
    return filled


def with_places_said(ordered_by: str, findings: Sequence[Finding]) -> tuple[str, list[Finding]]:
    """Return what orders a run, with where steps or epochs are from that the scores added, and the other findings.

    That is so in every run of many trainers, so it is no finding of its own.
    """
    added = dict.fromkeys(str(one.evidence["added"]) for one in findings if one.rule == _ADDED)
    said = "; ".join([ordered_by, *(f"{what} from the scores" for what in added)])
    return said, [one for one in findings if one.rule != _ADDED]


def _are_epochs(table: ScoreTable, epochs: Sequence[float]) -> bool:
    """Check whether a table by step has a row for each epoch and about as many as there are epochs.

    It may go on for as many epochs as there are between two checkpoints: the next one is not written yet.
    """
    steps = sorted(place for unit, place in table if unit == "step")
    if any(unit == "epoch" for unit, _ in table) or not steps or steps != [steps[0] + at for at in range(len(steps))]:
        return False
    longest = max((after - before for before, after in pairwise(epochs)), default=1)
    return steps[0] <= epochs[0] and epochs[-1] <= steps[-1] < epochs[-1] + longest


def _is_shifted(known: Sequence[float], epochs: Sequence[float]) -> bool:
    """Check whether one series of epochs begins at 0 and ends one before the other, which begins at 1 or later."""
    scores_from_zero = known[0] == 0 and epochs[0] >= 1 and epochs[-1] == known[-1] + 1
    checkpoints_from_zero = epochs[0] == 0 and known[0] == 1 and known[-1] == epochs[-1] + 1
    return scores_from_zero or checkpoints_from_zero


def _are_named_from_zero(checkpoints: Sequence[Checkpoint]) -> bool:
    """Check whether the names state the epoch before the one in the files, as DINO's ``checkpoint0020.pth`` does."""
    named = [(one.epoch, place_in_name(one.name)) for one in checkpoints if one.epoch is not None]
    numbers = [(stated, step if epoch is None else epoch) for stated, (epoch, step) in named]
    known = [(stated, number) for stated, number in numbers if number is not None]
    return len(known) > 1 and all(stated == number + 1 for stated, number in known)


def _moved(table: ScoreTable, unit: str, by: int) -> ScoreTable:
    """Return the table with the rows of a unit placed by epoch, ``by`` epochs later."""
    moved = ScoreTable({place: scores for place, scores in table.items() if place[0] != unit})
    moved.update({("epoch", number + by): scores for (known, number), scores in table.items() if known == unit})
    if unit == "epoch":
        moved.steps = {epoch + by: step for epoch, step in table.steps.items()}
        moved.epochs = {step: epoch + by for step, epoch in table.epochs.items()}
    return moved
