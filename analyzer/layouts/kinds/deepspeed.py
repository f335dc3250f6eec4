"""The output of ``DeepSpeedEngine.save_checkpoint``: a folder for each tag, usually ``global_stepN``.

Of ZeRO stages 1 and 2 the weights are whole and are read; fragments are rejected with the tool that merges them.
"""

from __future__ import annotations

import re

from analyzer.layouts.folder import Folder
from analyzer.layouts.folder_series import checkpoint_in, folders_named, read_folders
from analyzer.layouts.naming import place_of
from analyzer.layouts.ordering import CheckpointSeries
from analyzer.layouts.weights.deepspeed import has_states
from analyzer.model.run import Checkpoint
from analyzer.sources import Entry, folder_name

NAME = "deepspeed"
SPECIFICITY = 70
LOOKS_LIKE = "global_stepN/ folders with mp_rank_00_model_states.pt from DeepSpeed (ZeRO stage 1 or 2)"

_TAG = re.compile(r"global_step[0-9]{1,15}")
_WITH_OTHER_TAGS = ("latest", "zero_to_fp32.py")  # DeepSpeed saves them beside the folders of the tags


def recognize(folder: Folder) -> str | None:
    """Return why the folder is a series of DeepSpeed checkpoints, or one of them, or None."""
    return next((entry.name for entry in _candidates(folder)), None)


def read(folder: Folder) -> list[CheckpointSeries]:
    """Read the folder of every tag; the step is the file's ``global_steps``, or else in the name."""
    checkpoints, findings = read_folders(folder, _candidates(folder), _checkpoint)
    return [CheckpointSeries(checkpoints, "the files' metadata and the folders' names", findings)]


def _candidates(folder: Folder) -> list[Entry]:
    if has_states(folder.path):
        return [Entry(folder_name(folder.path), folder.path, is_folder=True, is_file=False)]
    names = {entry.name for entry in folder.entries()}
    any_tag = not names.isdisjoint(_WITH_OTHER_TAGS)
    tags = folders_named(folder, lambda name: any_tag or _TAG.fullmatch(name))
    return [entry for entry in tags if has_states(entry.path)]


def _checkpoint(entry: Entry) -> Checkpoint:
    return checkpoint_in(entry, place_of)
