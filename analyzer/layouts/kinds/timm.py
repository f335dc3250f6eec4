"""What timm's CheckpointSaver leaves behind: ``checkpoint-N.pth.tar``, ``last.pth.tar`` and ``model_best.pth.tar``.

``last`` and ``model_best`` are copies (or links) of numbered ones as long as those are kept. ``summary.csv`` has a row
of ``train_*`` and ``eval_*`` for each epoch.
"""

from __future__ import annotations

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.formats.torch_zip import read_torch
from analyzer.layouts.file_series import read_files
from analyzer.layouts.ordering import Series
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
# States in the middle of an epoch, and one that is being written.
_PASSING = ("recovery", "tmp.")


def recognise(folder: str, key: str = _WEIGHTS) -> str | None:
    """Why the folder is a run of timm, or None."""
    for entry, file in opened(_candidates(folder)):
        if keys_of(file) >= _KEYS | {key}:
            return f"{entry.name} has the keys {', '.join(sorted(_KEYS))}"
    return None


def read(folder: str, key: str = _WEIGHTS) -> list[Series]:
    """What lies under ``key`` in every file; that there are averaged weights as well is said."""
    averaged: list[str] = []

    def read_index(path: str) -> FileIndex:
        file = read_torch(path)
        keys = keys_of(file)
        if not keys >= _KEYS | {key}:
            raise CheckpointError(
                f"{path}: has no {key} with epoch, arch and version, as timm's files have; it is left out"
            )
        if AVERAGED in keys:
            averaged.append(path)
        return index_of(path, file, key)

    series = read_files(folder, _candidates(folder), read_index, ("summary.csv",))
    if averaged and key != AVERAGED:
        sentence = (
            f"{len(averaged)} files hold averaged weights ({AVERAGED}) as well. What is read is {key}; choose the "
            "averaged ones with --layout timm-ema."
        )
        series.findings.append(Finding("averaged_weights", "info", sentence))
    return [series]


def _candidates(folder: str) -> list[Entry]:
    return [entry for entry in torch_files(folder, (".pth.tar",)) if not entry.name.startswith(_PASSING)]
