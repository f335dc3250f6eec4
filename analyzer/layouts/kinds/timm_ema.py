"""The averaged weights (``state_dict_ema``) of a timm run instead of the trained ones; read only on request."""

from __future__ import annotations

from analyzer.layouts.folder import Folder
from analyzer.layouts.kinds import timm
from analyzer.layouts.ordering import CheckpointSeries

NAME = "timm-ema"
SPECIFICITY = timm.SPECIFICITY - 1  # never chosen automatically: timm matches whenever this does
LOOKS_LIKE = "the same files, for the averaged weights in them"


def recognize(folder: Folder) -> str | None:
    """Return why the folder is a timm run with averaged weights, or None."""
    return timm.recognize(folder, timm.AVERAGED)


def read(folder: Folder) -> list[CheckpointSeries]:
    """Read the averaged weights of every file."""
    return timm.read(folder, timm.AVERAGED)
