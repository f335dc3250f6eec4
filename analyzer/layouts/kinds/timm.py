"""The output of timm's CheckpointSaver: ``checkpoint-N.pth.tar``, ``last.pth.tar`` and ``model_best.pth.tar``.

``last`` and ``model_best`` are copies of (or links to) numbered files as long as those are kept. ``summary.csv`` has a
row of ``train_*`` and ``eval_*`` for each epoch.
"""

from __future__ import annotations

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.formats.torch_zip import read_torch
from analyzer.layouts.file_series import read_files
from analyzer.layouts.folder import Folder
from analyzer.layouts.ordering import CheckpointSeries
from analyzer.layouts.torch_files import keys_of, opened, torch_files
from analyzer.layouts.weights.torch_state import index_of
from analyzer.model.run import Finding
from analyzer.sources import Entry

NAME = "timm"
SPECIFICITY = 85
LOOKS_LIKE = "checkpoint-N.pth.tar files from timm"

AVERAGED = "state_dict_ema"
_WEIGHTS = "state_dict"
_KEYS = frozenset({"arch", "epoch", "version"})
# States in the middle of an epoch, and a file that is being written.
_TRANSIENT = ("recovery", "tmp.")


def recognize(folder: Folder, key: str = _WEIGHTS) -> str | None:
    """Return why the folder is a timm run, or None."""
    for entry, file in opened(_candidates(folder)):
        if keys_of(file) >= _KEYS | {key}:
            return f"{entry.name} has the keys {', '.join(sorted(_KEYS))}"
    return None


def read(folder: Folder, key: str = _WEIGHTS) -> list[CheckpointSeries]:
    """Read the weights under ``key`` in every file; report it if the files also contain averaged weights."""
    averaged: list[str] = []

    def read_index(path: str) -> FileIndex:
        file = read_torch(path)
        keys = keys_of(file)
        if not keys >= _KEYS | {key}:
            raise CheckpointError(
                f"{path}: has no {key} with epoch, arch and version, unlike timm's files; it is left out"
            )
        if AVERAGED in keys:
            averaged.append(path)
        return index_of(path, file, key)

    series = read_files(folder, _candidates(folder), read_index)
    if averaged and key != AVERAGED:
        sentence = (
            f"{len(averaged)} files also contain averaged weights ({AVERAGED}). {key} is read; choose the averaged "
            "weights with --layout timm-ema."
        )
        series[0].findings.append(Finding("averaged_weights", "info", sentence))
    return series


def _candidates(folder: Folder) -> list[Entry]:
    return [entry for entry in torch_files(folder, (".pth.tar",)) if not entry.name.startswith(_TRANSIENT)]
