"""A file's encoding: an index of where each tensor's bytes lie, nothing more. One file per encoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analyzer.run import FileStamp, TensorInfo


@dataclass(frozen=True, slots=True)
class FileIndex:
    """What one file says about itself: tensors by name, the writer's metadata strings, and the file's stamp."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    stamp: FileStamp
