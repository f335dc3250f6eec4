"""What nanoGPT's ``train.py`` leaves behind: ``ckpt.pt``, written over and over; a series where copies were kept."""

from __future__ import annotations

from analyzer.layouts.file_series import read_files
from analyzer.layouts.ordering import Series
from analyzer.layouts.torch_files import keys_of, opened, torch_files

NAME = "nanogpt"
SPECIFICITY = 80
LOOKS_LIKE = "ckpt*.pt files from nanoGPT"

_KEYS = frozenset({"model", "iter_num", "best_val_loss"})


def recognise(folder: str) -> str | None:
    """Why the folder is a run of nanoGPT, or None."""
    for entry, file in opened(torch_files(folder, (".pt",))):
        if keys_of(file) >= _KEYS:
            return f"{entry.name} has the keys {', '.join(sorted(_KEYS))}"
    return None


def read(folder: str) -> list[Series]:
    """Every file's ``model`` at its ``iter_num``; the loss is the best up to then."""
    return [read_files(folder, torch_files(folder, (".pt",)))]
