"""A folder of safetensors files, each one state of the same weights; scores come from ``metrics.csv`` in the folder."""

from __future__ import annotations

from analyzer.layouts.file_series import read_files
from analyzer.layouts.folder import Folder
from analyzer.layouts.ordering import CheckpointSeries
from analyzer.sources import Entry

NAME = "safetensors"
SPECIFICITY = 10
LOOKS_LIKE = "a folder of *.safetensors files, one per checkpoint"


def recognize(folder: Folder) -> str | None:
    """Return why the folder is a series of safetensors files, or None."""
    names = [entry.name for entry in folder.entries() if _is_candidate(entry) and not entry.is_folder]
    return f"{len(names)} safetensors files" if names else None


def read(folder: Folder) -> list[CheckpointSeries]:
    """Read every safetensors file of the folder; damaged ones become findings.

    Raises:
        CheckpointError: the files are shards or parts of a single checkpoint.
    """
    return read_files(folder, [entry for entry in folder.entries() if _is_candidate(entry)])


def _is_candidate(entry: Entry) -> bool:
    return entry.name.endswith(".safetensors") and not entry.name.startswith(".")
