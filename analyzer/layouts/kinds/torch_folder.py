"""A folder of files from ``torch.save``, one per checkpoint, from any training loop."""

from __future__ import annotations

from analyzer.errors import CheckpointError
from analyzer.layouts.file_series import read_files
from analyzer.layouts.foreign import model_parallel_reason
from analyzer.layouts.ordering import CheckpointSeries, not_checkpoints
from analyzer.layouts.torch_files import state_files, torch_files
from analyzer.layouts.weights.shards import missing_index
from analyzer.sources import list_folder

NAME = "torch"
SPECIFICITY = 10
LOOKS_LIKE = "a folder of *.pt, *.pth, *.bin or *.ckpt files from torch.save, one per checkpoint"


def recognize(folder: str) -> str | None:
    """Return why the folder is a series of torch files, or None."""
    files = torch_files(folder)
    return f"{len(files)} torch files" if files else None


def read(folder: str) -> list[CheckpointSeries]:
    """Read every torch file of the folder; damaged ones and those without weights become findings.

    Raises:
        CheckpointError: the files are shards or parts of a single checkpoint.
    """
    if any(entry.name.endswith(".bin.index.json") for entry in list_folder(folder)):
        raise CheckpointError(
            f"{folder}: contains the shards of a single checkpoint, not a series. Name the folder that contains the "
            "checkpoint folders."
        )
    files = torch_files(folder)
    names = [entry.name for entry in files]
    if reason := missing_index(folder, names) or model_parallel_reason(folder, names):
        raise CheckpointError(reason)
    series = read_files(folder, files)
    series.findings.extend(not_checkpoints(state_files(folder)))
    return [series]
