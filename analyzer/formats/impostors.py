"""Files that only have the name of weights: what tools leave in their place where the weights did not come."""

from __future__ import annotations

from analyzer.errors import CheckpointError
from analyzer.sources import Source

_HEAD = 256  # bytes
_POINTER = b"version https://git-lfs."
_PAGES = (b"<!doctype html", b"<html")


def refuse_impostor(source: Source, begin: int = 0) -> None:
    """Raise CheckpointError, with the remedy, for a file that is no weights at all; for others do nothing."""
    head = bytes(source.read(begin, max(0, min(_HEAD, source.stamp.size - begin))))
    if head.startswith(_POINTER):
        raise CheckpointError(
            f"{source.path}: is a pointer of Git LFS, which stands for the weights; fetch them with: git lfs pull"
        )
    if head.lstrip().lower().startswith(_PAGES):
        raise CheckpointError(
            f"{source.path}: is a web page under the name of weights, such as one that asks to log in; download the "
            "file again"
        )
