"""Index the weights of one checkpoint: a file, shards with an index, an adapter or a distributed folder.

Every layout reads its checkpoints through :func:`weights_of`, so that layouts and formats do not multiply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex, dcp, npz, safetensors
from analyzer.layouts.foreign import foreign_reason, model_parallel_reason
from analyzer.layouts.weights import adapters, deepspeed, distributed, shards, torch_state
from analyzer.sources import is_folder, join, list_folder

Reader = Callable[[str], FileIndex]

TORCH_FILES = (".pt", ".pth", ".pth.tar", ".th", ".bin", ".ckpt")  # .th is AllenNLP's and Demucs'
_FILES: Mapping[str, Reader] = {
    ".safetensors": safetensors.read_index,
    ".npz": npz.read_index,
    **dict.fromkeys(TORCH_FILES, torch_state.read_index),
}
# Names of weights in a checkpoint's folder, in the order of preference, which is that of the usual loaders.
_WHOLE = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.bin.index.json",
)
_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
# Of other trainers: diffusers' and mlx-lm's adapters, loops with torch.save, NeMo, SpeechBrain, Mistral, Meta.
_OTHERS = (
    "pytorch_lora_weights.safetensors",
    "pytorch_lora_weights.bin",
    "adapters.safetensors",
    *("model.pt", "pytorch_model.pt", "model.pth", "pytorch_model.pth", "model.ckpt", "model_weights.ckpt"),
    "consolidated.safetensors",
    "consolidated.00.pth",
)
_DISTRIBUTED = ".metadata"
_BELOW = ("pytorch_model_fsdp_0", "pytorch_model")  # accelerate's folders of FSDP (the Trainer's too) and DeepSpeed


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
    present = {entry.name: entry for entry in list_folder(folder)}
    names = (*_WHOLE, *_ADAPTERS, *_OTHERS, _DISTRIBUTED)
    known = [name for name in names if name in present]
    known += [deepspeed.WEIGHTS] * (deepspeed.WEIGHTS in present)
    return known + [name for name in _BELOW if name in present and present[name].is_folder]


def _of_file(path: str) -> FileIndex:
    return adapters.with_updates(path, _as_stored(path))


def _as_stored(path: str) -> FileIndex:
    """Index a file without regard to adapters."""
    for suffix, read in _FILES.items():
        if path.endswith(suffix):
            return read(path)
    raise CheckpointError(f"{path}: is not a file of weights that can be read ({', '.join(_FILES)}); convert it")


def _of_folder(folder: str) -> FileIndex:
    present = weight_files_in(folder)
    if not present:
        raise CheckpointError(_why_none(folder))
    first = present[0]
    path = join(folder, first)
    if first == _DISTRIBUTED:
        return distributed.only_weights(folder, dcp.read_index(folder))
    if first == deepspeed.WEIGHTS:
        return deepspeed.read_index(folder)
    if first in _BELOW:
        return _of_folder(path)
    if first in _ADAPTERS:
        return adapters.read_index(path, _as_stored)
    if first.endswith(".index.json"):
        return adapters.with_updates(path, shards.read_index(path, _as_stored))
    if reason := model_parallel_reason(folder, [entry.name for entry in list_folder(folder)]):
        raise CheckpointError(reason)
    return _of_file(path)


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
