"""A folder of ``.npz`` files from ``numpy.savez``, one per checkpoint."""

from __future__ import annotations

from analyzer.layouts.file_series import read_files
from analyzer.layouts.folder import Folder
from analyzer.layouts.ordering import CheckpointSeries
from analyzer.sources import Entry

NAME = "numpy"
SPECIFICITY = 10
LOOKS_LIKE = "a folder of *.npz files, one per checkpoint"

_NO_WEIGHTS = (".optimizer.npz",)  # Marian's, beside the models


def recognize(folder: Folder) -> str | None:
    """Return why the folder is a series of npz files, or None."""
    names = [entry.name for entry in _candidates(folder) if not entry.is_folder]
    return f"{len(names)} npz files" if names else None


def read(folder: Folder) -> list[CheckpointSeries]:
    """Read every npz file of the folder; damaged ones become findings."""
    return read_files(folder, _candidates(folder))


def _candidates(folder: Folder) -> list[Entry]:
    return [
        entry
        for entry in folder.entries()
        if entry.name.endswith(".npz") and not entry.name.startswith(".") and not entry.name.endswith(_NO_WEIGHTS)
    ]
