"""The averaged weights (``state_dict_ema``) of a run of timm, instead of those that were trained: only on request."""

from __future__ import annotations

from analyzer.layouts.kinds import timm
from analyzer.layouts.ordering import Series

NAME = "timm-ema"
SPECIFICITY = timm.SPECIFICITY - 1  # never chosen by itself: where it matches, timm does as well
LOOKS_LIKE = "the same files, for the averaged weights in them"


def recognise(folder: str) -> str | None:
    """Why the folder is a run of timm with averaged weights, or None."""
    return timm.recognise(folder, timm.AVERAGED)


def read(folder: str) -> list[Series]:
    """Every file's averaged weights."""
    return timm.read(folder, timm.AVERAGED)
