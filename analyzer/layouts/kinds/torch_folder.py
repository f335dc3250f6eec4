"""A folder of files from ``torch.save``, one per checkpoint, from any training loop."""

from __future__ import annotations

from analyzer.layouts.file_series import read_files
from analyzer.layouts.folder import Folder
from analyzer.layouts.ordering import CheckpointSeries, not_checkpoints
from analyzer.layouts.torch_files import state_files, torch_files

NAME = "torch"
SPECIFICITY = 10
LOOKS_LIKE = "a folder of *.pt, *.pth, *.bin or *.ckpt files from torch.save, one per checkpoint"


def recognize(folder: Folder) -> str | None:
    """Return why the folder is a series of torch files, or None."""
    files = torch_files(folder)
    return f"{len(files)} torch files" if files else None


def read(folder: Folder) -> list[CheckpointSeries]:
    """Read every torch file of the folder; damaged ones and those without weights become findings.

    Raises:
        CheckpointError: the files are shards or parts of a single checkpoint.
    """
    files = torch_files(folder)
    first, *others = read_files(folder, files)
    first.findings.extend(not_checkpoints(state_files(folder)))
    return [first, *others]
