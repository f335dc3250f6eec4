"""What accelerate's ``save_state`` leaves behind: ``checkpoint_N/``, where N counts the saves, not the steps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from analyzer.layouts.folder_series import checkpoint_in, first_with_weights, folders_named, read_folders
from analyzer.layouts.ordering import Series
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


def recognise(folder: str) -> str | None:
    """Why the folder holds accelerate's checkpoints, or None."""
    return first_with_weights(_candidates(folder))


def read(folder: str) -> list[Series]:
    """Every ``checkpoint_N`` in the order of N."""
    checkpoints, findings = read_folders(folder, _candidates(folder), _checkpoint)
    return [Series(checkpoints, "the folders' names", [*findings, *_further_models(checkpoints)])]


def _candidates(folder: str) -> list[Entry]:
    return folders_named(folder, _FOLDER.fullmatch)


def _checkpoint(entry: Entry) -> Checkpoint:
    return checkpoint_in(entry, lambda *_: (None, None))


def _further_models(checkpoints: Sequence[Checkpoint]) -> Iterator[Finding]:
    """Says it where several models were trained together (a generator and its critic, say): the first one is read."""
    further: dict[str, None] = {}  # a set in order
    for checkpoint in checkpoints:
        further |= {one.name: None for one in list_folder(checkpoint.path) if _FURTHER.fullmatch(one.name)}
    if further:
        sentence = (
            f"{listed(list(further))}: several models were saved together, of which only the first is read. Put the "
            "files of another into folders of their own, named model.safetensors, to have it measured."
        )
        yield Finding("further_models", "warning", sentence, evidence={"files": list(further)})
