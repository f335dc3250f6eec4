"""Detect files named like weights that are something else, left by a tool that did not download the weights."""

from __future__ import annotations

from analyzer.errors import CheckpointError
from analyzer.sources import Source

_HEAD = 256  # bytes
_POINTER = b"version https://git-lfs."
_PAGES = (b"<!doctype html", b"<html")


def reject_impostor(source: Source, begin: int = 0) -> None:
    """Raise CheckpointError with the remedy for a Git LFS pointer or a web page; do nothing for other files.

    Args:
        source: the file.
        begin: where the content to be checked begins.
    """
    head = bytes(source.read(begin, max(0, min(_HEAD, source.stamp.size - begin))))
    if head.startswith(_POINTER):
        raise CheckpointError(
            f"{source.path}: is a Git LFS pointer, not the weights themselves; fetch them with: git lfs pull"
        )
    if head.lstrip().lower().startswith(_PAGES):
        raise CheckpointError(
            f"{source.path}: is a web page with the file name of weights, such as a login page; download the file again"
        )
