"""Index the tensors of a file: where each tensor's bytes are, nothing more. One module per encoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analyzer.model.run import FileStamp, TensorInfo


@dataclass(frozen=True, slots=True)
class FileIndex:
    """The index of a file, or of a folder that is one checkpoint: tensors by name, and the writer's metadata.

    ``files`` are the stamps of all files that contain its tensors or that were read for the index. ``read_from`` is the
    key of the weights where there was a choice, ``others`` names what else holds tensors in the file and is not read.
    """

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    files: tuple[FileStamp, ...]
    read_from: str = ""
    others: tuple[str, ...] = ()
