"""A folder of files from ``torch.save``, one per checkpoint, whatever the training loop put into them."""

from __future__ import annotations

from analyzer.errors import CheckpointError
from analyzer.layouts.file_series import read_files
from analyzer.layouts.ordering import Series
from analyzer.layouts.torch_files import torch_files
from analyzer.layouts.weights.shards import missing_index
from analyzer.sources import list_folder

NAME = "torch"
SPECIFICITY = 10
LOOKS_LIKE = "a folder of *.pt, *.pth, *.bin or *.ckpt files from torch.save, one per checkpoint"


def recognise(folder: str) -> str | None:
    """Why the folder is a series of torch files, or None."""
    files = torch_files(folder)
    return f"{len(files)} torch files" if files else None


def read(folder: str) -> list[Series]:
    """Every torch file of the folder; damaged ones and those without weights become findings."""
    if any(entry.name.endswith(".bin.index.json") for entry in list_folder(folder)):
        raise CheckpointError(
            f"{folder}: holds the shards of a single checkpoint, not a series. Name the folder that holds the "
            "checkpoint folders."
        )
    files = torch_files(folder)
    if reason := missing_index(folder, [entry.name for entry in files]):
        raise CheckpointError(reason)
    return [read_files(folder, files)]
