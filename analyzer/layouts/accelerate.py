"""What accelerate's ``save_state`` leaves behind: ``checkpoint_N/``, where N counts the saves, not the steps."""

from __future__ import annotations

import re

from analyzer.layouts.file_series import unfinished
from analyzer.layouts.folder_series import several_weights
from analyzer.layouts.ordering import Series, collect
from analyzer.layouts.weights import held_by, weights_of
from analyzer.run import Checkpoint
from analyzer.sources import Entry, list_folder

NAME = "accelerate"
SPECIFICITY = 60
LOOKS_LIKE = "checkpoint_N/ folders from accelerate"

_FOLDER = re.compile(r"checkpoint_[0-9]{1,15}")


def recognise(folder: str) -> str | None:
    """Why the folder holds accelerate's checkpoints, or None."""
    return next((entry.name for entry in _candidates(folder) if held_by(entry.path)), None)


def read(folder: str) -> list[Series]:
    """Every ``checkpoint_N`` in the order of N."""
    checkpoints, findings = collect(_candidates(folder), _checkpoint)
    findings.extend([*several_weights(checkpoints), *unfinished(folder)])
    return [Series(checkpoints, "the folders' names", findings)]


def _candidates(folder: str) -> list[Entry]:
    return [entry for entry in list_folder(folder) if entry.is_folder and _FOLDER.fullmatch(entry.name)]


def _checkpoint(entry: Entry) -> Checkpoint:
    index = weights_of(entry.path)
    return Checkpoint(entry.name, entry.path, None, None, {}, index.tensors, index.files)
