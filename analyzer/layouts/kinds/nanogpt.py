"""The output of nanoGPT's ``train.py``: ``ckpt.pt``, which is overwritten; a series if copies were kept."""

from __future__ import annotations

from analyzer.layouts.file_series import read_files
from analyzer.layouts.folder import Folder
from analyzer.layouts.ordering import CheckpointSeries
from analyzer.layouts.torch_files import keys_of, opened, torch_files

NAME = "nanogpt"
SPECIFICITY = 80
LOOKS_LIKE = "ckpt*.pt files from nanoGPT"

_KEYS = frozenset({"model", "iter_num", "best_val_loss"})


def recognize(folder: Folder) -> str | None:
    """Return why the folder is a nanoGPT run, or None."""
    for entry, file in opened(torch_files(folder, (".pt",))):
        if keys_of(file) >= _KEYS:
            return f"{entry.name} has the keys {', '.join(sorted(_KEYS))}"
    return None


def read(folder: Folder) -> list[CheckpointSeries]:
    """Read ``model`` from every file, at its ``iter_num``; the loss is the best so far."""
    return read_files(folder, torch_files(folder, (".pt",)))
