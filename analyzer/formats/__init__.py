"""Index the tensors of a file: where each tensor's bytes are, nothing more. One module per encoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analyzer.errors import CheckpointError
from analyzer.model.run import FileStamp, TensorInfo

LONGEST_NAME = 1024  # characters of a tensor's name; those of models have at most a few hundred


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


def require_short_name(path: str, name: str) -> None:
    """Raise CheckpointError if a tensor's name is too long to be one."""
    if len(name) > LONGEST_NAME:
        raise CheckpointError(
            f"{path}: the name of a tensor has {len(name)} characters, more than {LONGEST_NAME}, like an attack "
            f"({name[:40]!r}...); move the file elsewhere, or save the weights with shorter names"
        )
