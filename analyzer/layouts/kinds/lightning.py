"""The output of Lightning: ``.ckpt`` files, often as ``version_K/checkpoints/epoch=N-step=M.ckpt``.

Its CSVLogger writes ``metrics.csv`` into ``version_K``. A row's step is the index of the batch at which it was logged,
so the state after that batch has taken one more step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.formats.torch_zip import read_torch
from analyzer.layouts.file_series import unfinished
from analyzer.layouts.folder import Folder
from analyzer.layouts.grouping import ReadCheckpoint, group
from analyzer.layouts.naming import parse_count, place_of
from analyzer.layouts.ordering import CheckpointSeries, collect, series_of
from analyzer.layouts.scores.locating import SCORE_FILES
from analyzer.layouts.scores.searching import folder_scores
from analyzer.layouts.scores.sidecars import latest_scores
from analyzer.layouts.torch_files import keys_of, opened, torch_files
from analyzer.layouts.weights.torch_state import index_of
from analyzer.model.run import Checkpoint
from analyzer.sources import Entry, is_folder

NAME = "lightning"
SPECIFICITY = 95
LOOKS_LIKE = "*.ckpt files from Lightning, or version_K/checkpoints/ with such files"

_MARK = "pytorch-lightning_version"
_BELOW = "checkpoints"
_BATCHES = ("loops", "fit_loop", "epoch_loop.state_dict", "_batches_that_stepped")


def recognize(folder: Folder) -> str | None:
    """Return why the folder is a Lightning run, or None."""
    for entry, file in opened(_candidates(folder)):
        if _MARK in keys_of(file):
            return f"{entry.name} has the key {_MARK}"
    return None


def read(folder: Folder) -> list[CheckpointSeries]:
    """Read every ``.ckpt`` file; its scores come from the last row that was logged before it was saved."""
    saved, findings = collect(_candidates(folder), _saved)
    rows = folder_scores(folder.path, findings)
    after = {("step", step + 1): scores for (place, step), scores in rows.items() if place == "step"}
    checkpoints = latest_scores([(one.checkpoint, one.batches) for one in saved], after, findings)
    findings.extend(unfinished(folder.path))
    groups = group([ReadCheckpoint(checkpoint, has_own_place=True) for checkpoint in checkpoints])
    return series_of(groups, CheckpointSeries([], "the files' metadata", findings, score_files=SCORE_FILES))


@dataclass(frozen=True, slots=True)
class _Saved:
    """A checkpoint, and the number of batches that had taken a step.

    With several optimizers, global_step counts each optimizer's steps and is larger than that.
    """

    checkpoint: Checkpoint
    batches: int | None


def _candidates(folder: Folder) -> list[Entry]:
    below = folder.below(_BELOW)
    here = torch_files(folder, (".ckpt",))
    return here or (torch_files(below, (".ckpt",)) if is_folder(below.path) else [])


def _saved(entry: Entry) -> _Saved:
    file = read_torch(entry.path)
    if _MARK not in keys_of(file):
        raise CheckpointError(f"{entry.path}: has no key {_MARK}, unlike the other files; it is left out")
    index = index_of(entry.path, file, "state_dict")
    epoch, step = place_of(entry.name, index.metadata)
    checkpoint = Checkpoint(entry.name, entry.path, epoch, step, {}, index.tensors, index.files)
    batches = parse_count(_inside(file.tree, *_BATCHES))
    return _Saved(checkpoint, step if batches is None else batches)


def _inside(tree: Any, *keys: str) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree
