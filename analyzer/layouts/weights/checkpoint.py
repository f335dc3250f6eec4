"""Index the weights of one checkpoint: a file, shards with an index, an adapter or a distributed folder.

Every layout reads its checkpoints through :func:`weights_of`, so that layouts and formats do not multiply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex, dcp, npz, safetensors
from analyzer.layouts.foreign import foreign_reason
from analyzer.layouts.weights import adapters, distributed, shards, torch_state
from analyzer.sources import is_folder, join, list_folder

Reader = Callable[[str], FileIndex]

TORCH_FILES = (".pt", ".pth", ".pth.tar", ".bin", ".ckpt")
_FILES: Mapping[str, Reader] = {
    ".safetensors": safetensors.read_index,
    ".npz": npz.read_index,
    **dict.fromkeys(TORCH_FILES, torch_state.read_index),
}
# Names of weights in a checkpoint's folder, in the order of preference, which is that of the usual loaders.
_IN_FOLDERS: Mapping[str, Reader] = {
    "model.safetensors": safetensors.read_index,
    "model.safetensors.index.json": lambda path: shards.read_index(path, _of_file),
    "pytorch_model.bin": torch_state.read_index,
    "pytorch_model.bin.index.json": lambda path: shards.read_index(path, _of_file),
    "adapter_model.safetensors": lambda path: adapters.read_index(path, _of_file),
    "adapter_model.bin": lambda path: adapters.read_index(path, _of_file),
}
_DISTRIBUTED = ".metadata"
_DISTRIBUTED_BELOW = "pytorch_model_fsdp_0"  # where accelerate and the Trainer put a distributed checkpoint


def weights_of(path: str) -> FileIndex:
    """Index the weights of a checkpoint; only headers are read.

    Args:
        path: a ``.safetensors``, ``.npz`` or torch file, or a folder with the weights of one checkpoint.

    Raises:
        CheckpointError: there are no weights, or they are damaged, incomplete or of an unsupported kind.
    """
    return _of_folder(path) if is_folder(path) else _of_file(path)


def weight_files_in(folder: str) -> list[str]:
    """Return the names of a folder's weights of one checkpoint; the first is the one that is read.

    Raises:
        CheckpointError: the folder cannot be read.
    """
    present = {entry.name for entry in list_folder(folder)}
    known = [name for name in _IN_FOLDERS if name in present]
    return known + [name for name in (_DISTRIBUTED, _DISTRIBUTED_BELOW) if name in present]


def _of_file(path: str) -> FileIndex:
    for suffix, read in _FILES.items():
        if path.endswith(suffix):
            return read(path)
    raise CheckpointError(f"{path}: is not a file of weights that can be read ({', '.join(_FILES)}); convert it")


def _of_folder(folder: str) -> FileIndex:
    present = weight_files_in(folder)
    if not present:
        raise CheckpointError(_why_none(folder))
    if present[0] == _DISTRIBUTED:
        return distributed.only_weights(folder, dcp.read_index(folder))
    path = join(folder, present[0])
    return _of_folder(path) if present[0] == _DISTRIBUTED_BELOW else _IN_FOLDERS[present[0]](path)


def _why_none(folder: str) -> str:
    entries = list_folder(folder)
    if any(entry.name.endswith(".distcp") for entry in entries):
        return (
            f"{folder}: has no {_DISTRIBUTED}, which is written last: the checkpoint is still being written or was "
            "interrupted. Save it again, or move it elsewhere."
        )
    names = [entry.name for entry in entries if entry.name.endswith((".safetensors", ".bin"))]
    return (
        shards.missing_index(folder, names)
        or foreign_reason(folder, entries)
        or (
            f"{folder}: contains no weights such as model.safetensors, pytorch_model.bin or {_DISTRIBUTED}; it is "
            "still being written, or they were moved. Wait, or move the folder elsewhere"
        )
    )
