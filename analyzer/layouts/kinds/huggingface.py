"""The output of ``transformers.Trainer``: ``checkpoint-N/`` with ``trainer_state.json`` and the weights."""

from __future__ import annotations

import re
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.layouts.folder import Folder
from analyzer.layouts.folder_series import folders_named, read_folders
from analyzer.layouts.naming import parse_count, parse_score
from analyzer.layouts.ordering import CheckpointSeries
from analyzer.layouts.scores.locating import SCORE_FILES
from analyzer.layouts.scores.rows import read_json
from analyzer.layouts.scores.searching import folder_scores
from analyzer.layouts.scores.sidecars import latest_scores
from analyzer.layouts.scores.tables import ScoreTable, score_table
from analyzer.layouts.scores.writers import is_trainer_state, trainer_rows
from analyzer.layouts.weights.checkpoint import weight_files_in, weights_of
from analyzer.model.names import natural_key
from analyzer.model.run import Checkpoint, Finding
from analyzer.sources import Entry, folder_name, is_file, join

NAME = "huggingface"
SPECIFICITY = 90
LOOKS_LIKE = "checkpoint-N/ folders with trainer_state.json, or one of them, from transformers.Trainer"

_STATE = "trainer_state.json"
_FOLDER = re.compile(r"checkpoint-[0-9]{1,15}")


def recognize(folder: Folder) -> str | None:
    """Return why the folder is a Trainer's output, or None."""
    for entry in _candidates(folder):
        if is_file(join(entry.path, _STATE)):
            return f"{entry.name}/{_STATE}"
    return None


def read(folder: Folder) -> list[CheckpointSeries]:
    """Read every ``checkpoint-N``; scores come from the newest one's log, which covers the whole run.

    If it is empty, they come from what is beside the checkpoints: the Trainer's own log at its end, or event files.
    """
    checkpoints, findings = read_folders(
        folder, sorted(_candidates(folder), key=lambda entry: natural_key(entry.name)), _checkpoint
    )
    log = _log_history(checkpoints, findings) or _by_step(folder_scores(folder.path, findings))
    scored = latest_scores([(checkpoint, checkpoint.step) for checkpoint in checkpoints], log, findings)
    return [CheckpointSeries(scored, "the folders' names", findings, score_files=SCORE_FILES)]


def _candidates(folder: Folder) -> list[Entry]:
    return folders_named(folder, _FOLDER.fullmatch) or _itself(folder)


def _itself(folder: Folder) -> list[Entry]:
    """Return a folder that is itself a checkpoint as the only entry; empty if it is not one."""
    is_checkpoint = weight_files_in(folder.path) and is_file(join(folder.path, _STATE))
    return [Entry(folder_name(folder.path), folder.path, is_folder=True, is_file=False)] if is_checkpoint else []


def _checkpoint(entry: Entry) -> Checkpoint:
    index = weights_of(entry.path)
    try:
        state = _state(entry.path)
    except CheckpointError:  # the weights are usable without it, and the folder's name states the step
        state = {}
    step = entry.name.rpartition("-")[2] if _FOLDER.fullmatch(entry.name) else state.get("global_step")
    epoch = parse_score(state.get("epoch"))
    return Checkpoint(entry.name, entry.path, epoch, parse_count(step), {}, index.tensors, index.files)


def _state(folder: str) -> dict[str, Any]:
    return _mapping(read_json(join(folder, _STATE)))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _log_history(checkpoints: list[Checkpoint], findings: list[Finding]) -> ScoreTable:
    """Return the scores of the newest readable log by step, without keys that are timings rather than scores."""
    for older, checkpoint in reversed(list(enumerate(checkpoints))):
        try:
            state = _state(checkpoint.path)
            rows = trainer_rows(state) if is_trainer_state(state) else []
            table = score_table(join(checkpoint.path, _STATE), rows, findings)
        except CheckpointError as error:
            fallback = "An older log is used" if older else "No scores are read"
            findings.append(Finding("scores_unreadable", "warning", f"{error}. {fallback}."))
            continue
        return _by_step(table)
    return ScoreTable()


def _by_step(table: ScoreTable) -> ScoreTable:
    return ScoreTable({place: scores for place, scores in table.items() if place[0] == "step"})
