"""A file's encoding: an index of where each tensor's bytes lie, nothing more. One file per encoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analyzer.model.run import FileStamp, TensorInfo


@dataclass(frozen=True, slots=True)
class FileIndex:
    """What a file (or a folder that is one checkpoint) says about itself: tensors by name, the writer's metadata.

    ``files`` are all files that its tensors lie in, and that it was read from, as they were then.
    """

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    files: tuple[FileStamp, ...]
