"""The output of accelerate's ``save_state``: ``checkpoint_N/``, where N counts the saves, not the steps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from analyzer.layouts.folder import Folder
from analyzer.layouts.folder_series import checkpoint_in, first_with_weights, folders_named, read_folders
from analyzer.layouts.ordering import CheckpointSeries
from analyzer.model.names import listed
from analyzer.model.run import Checkpoint, Finding
from analyzer.sources import Entry, list_folder

NAME = "accelerate"
SPECIFICITY = 60
LOOKS_LIKE = "checkpoint_N/ folders from accelerate"

_FOLDER = re.compile(r"checkpoint_[0-9]{1,15}")
_FURTHER = re.compile(
    r"(?:pytorch_)?model_[0-9]{1,9}\.(?:safetensors|bin)(?:\.index\.json)?|pytorch_model_fsdp_[1-9].*"
)


def recognize(folder: Folder) -> str | None:
    """Return why the folder is a series of accelerate checkpoints, or None."""
    return first_with_weights(_candidates(folder))


def read(folder: Folder) -> list[CheckpointSeries]:
    """Read every ``checkpoint_N``; N orders them."""
    checkpoints, findings = read_folders(folder, _candidates(folder), _checkpoint)
    return [CheckpointSeries(checkpoints, "the folders' names", [*findings, *_further_models(checkpoints)])]


def _candidates(folder: Folder) -> list[Entry]:
    return folders_named(folder, _FOLDER.fullmatch)


def _checkpoint(entry: Entry) -> Checkpoint:
    return checkpoint_in(entry, lambda *_: (None, None))


def _further_models(checkpoints: Sequence[Checkpoint]) -> Iterator[Finding]:
    """Report several models trained together, such as a generator and its critic; only the first one is read."""
    further: dict[str, None] = {}  # an ordered set
    for checkpoint in checkpoints:
        further |= {one.name: None for one in list_folder(checkpoint.path) if _FURTHER.fullmatch(one.name)}
    if further:
        sentence = (
            f"{listed(list(further))}: several models were saved together, and only the first is read. To measure "
            "another one, put its files into separate folders, named model.safetensors."
        )
        yield Finding("further_models", "warning", sentence, evidence={"files": list(further)})
