"""A folder of safetensors files, each one state of the same weights; scores come from ``metrics.csv`` in the folder."""

from __future__ import annotations

from analyzer.errors import CheckpointError
from analyzer.layouts.file_series import read_files
from analyzer.layouts.foreign import model_parallel_reason
from analyzer.layouts.ordering import CheckpointSeries
from analyzer.layouts.weights.shards import missing_index
from analyzer.sources import Entry, list_folder

NAME = "safetensors"
SPECIFICITY = 10
LOOKS_LIKE = "a folder of *.safetensors files, one per checkpoint"


def recognize(folder: str) -> str | None:
    """Return why the folder is a series of safetensors files, or None."""
    names = [entry.name for entry in list_folder(folder) if _is_candidate(entry) and not entry.is_folder]
    return f"{len(names)} safetensors files" if names else None


def read(folder: str) -> list[CheckpointSeries]:
    """Read every safetensors file of the folder; damaged ones become findings.

    Raises:
        CheckpointError: the files are shards or parts of a single checkpoint.
    """
    entries = list_folder(folder)
    if any(entry.name.endswith(".safetensors.index.json") for entry in entries):
        raise CheckpointError(
            f"{folder}: contains the shards of a single checkpoint, not a series. Name the folder that contains the "
            "checkpoint folders."
        )
    files = [entry for entry in entries if _is_candidate(entry)]
    names = [entry.name for entry in files]
    if reason := missing_index(folder, names) or model_parallel_reason(folder, names):
        raise CheckpointError(reason)
    return [read_files(folder, files)]


def _is_candidate(entry: Entry) -> bool:
    return entry.name.endswith(".safetensors") and not entry.name.startswith(".")
