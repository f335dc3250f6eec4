"""Read weights split over several files with an index such as ``model.safetensors.index.json``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.layouts.scores.sidecars import read_json
from analyzer.model.names import is_text, listed, natural_key, printable
from analyzer.model.run import FileStamp, TensorInfo
from analyzer.sources import containing_folder, folder_names, is_file, is_inside, join, list_folder, open_source

_SHARD = re.compile(r"(?P<stem>.+)-[0-9]{5}-of-[0-9]{5}\.(?P<suffix>safetensors|bin)")
# earlier versions of torchtune put the shards of all epochs into one folder (FullModelHFCheckpointer.save_checkpoint).
_TORCHTUNE = re.compile(
    r"hf_model_(?P<shard>[0-9]{4})_(?P<epoch>[0-9]{1,9})\.pt"
    r"|model-(?P<part>[0-9]{5})-of-(?P<count>[0-9]{5})_(?P<at>[0-9]{1,9})\.safetensors"
)


def read_index(path: str, read_file: Callable[[str], FileIndex]) -> FileIndex:
    """Return the tensors of all shards, each from the shard that the index names.

    All shard names are checked before any shard is opened: they are untrusted, and only plain names of files in the
    index's own folder are accepted.

    Args:
        path: the index file.
        read_file: reads one shard.

    Raises:
        CheckpointError: a name leaves the folder, a shard or a tensor is missing, or a tensor is in two shards.
    """
    weight_map = _weight_map(path, read_json(path))
    folder = containing_folder(path)
    names = sorted(set(weight_map.values()), key=natural_key)
    for name in names:
        _require_plain(path, folder, name)
    for name in names:
        if not is_file(join(folder, name)):
            raise CheckpointError(f"{path}: names the shard {printable(name)}, which is missing; copy it again")
    with open_source(path) as source:
        stamp = source.stamp
    merged, shard_of = _merged(path, folder, names, read_file)
    for name, shard in weight_map.items():
        if shard_of.get(name) != shard:
            raise CheckpointError(
                f"{path}: {printable(name)} is not in {printable(shard)}, where it should be; copy the shard again"
            )
    return FileIndex(merged.tensors, merged.metadata, (stamp, *merged.files))


def torchtune_epochs(names: Iterable[str]) -> dict[int, list[str]]:
    """Group the shards of torchtune in one flat folder by epoch.

    Args:
        names: names of files; those of other kinds are ignored.

    Returns:
        for each epoch in order, the names of its shards in order.
    """
    epochs: dict[int, list[tuple[int, str]]] = {}
    for name in names:
        if match := _TORCHTUNE.fullmatch(name):
            epoch, number = int(match["epoch"] or match["at"]), int(match["shard"] or match["part"])
            epochs.setdefault(epoch, []).append((number, name))
    return {epoch: [name for _, name in sorted(epochs[epoch])] for epoch in sorted(epochs)}


def read_torchtune(
    folder: str, names: Sequence[str], read_file: Callable[[str], FileIndex], count: int = 0
) -> FileIndex:
    """Return the tensors of all shards of one epoch, as :func:`torchtune_epochs` groups them.

    Args:
        folder: the folder of the shards.
        names: their names, in order.
        read_file: reads one shard.
        count: how many shards other epochs have.

    Raises:
        CheckpointError: a shard is missing or damaged, or a tensor is in two shards.
    """
    matches = [match for name in names if (match := _TORCHTUNE.fullmatch(name))]
    numbers = [int(match["shard"] or match["part"]) for match in matches]
    count = max([count, *numbers, *(int(match["count"]) for match in matches if match["count"])])
    first = join(folder, names[0])
    if len(numbers) != count or len(set(numbers)) != count:
        raise CheckpointError(
            f"{first}: of the {count} shards of this epoch there are only {listed(list(names))}; copy the others again"
        )
    return _merged(first, folder, names, read_file)[0]


def _merged(
    path: str, folder: str, names: Sequence[str], read_file: Callable[[str], FileIndex]
) -> tuple[FileIndex, dict[str, str]]:
    """Return the tensors of all shards as one index, and the name of the shard of each tensor."""
    files: list[FileStamp] = []
    tensors: dict[str, TensorInfo] = {}
    metadata: dict[str, str] = {}
    shard_of: dict[str, str] = {}
    for shard in names:
        index = read_file(join(folder, shard))
        for name, info in index.tensors.items():
            if name in shard_of:
                raise CheckpointError(
                    f"{path}: {printable(name)} is in two shards, {printable(shard_of[name])} and {printable(shard)}; "
                    "copy the checkpoint again"
                )
            shard_of[name] = shard
            tensors[name] = info
        metadata.update(index.metadata)
        files.extend(index.files)
    ordered = {name: tensors[name] for name in sorted(tensors, key=natural_key)}
    return FileIndex(ordered, metadata, tuple(files)), shard_of


def reject_shards(folder: str, names: Sequence[str]) -> None:
    """Check that the files of a folder are not the shards of one checkpoint.

    Args:
        folder: the folder.
        names: those of its files that would be a series of checkpoints.

    Raises:
        CheckpointError: they are shards, or the folder cannot be read.
    """
    if any(entry.name.endswith((".safetensors.index.json", ".bin.index.json")) for entry in list_folder(folder)):
        raise CheckpointError(
            f"{folder}: contains the shards of a single checkpoint, not a series. Name the folder that contains the "
            "checkpoint folders."
        )
    if reason := missing_index(folder, names):
        raise CheckpointError(reason)


def missing_index(folder: str, names: Sequence[str]) -> str | None:
    """Return why files cannot be used that are all shards of one checkpoint without an index; None for other files."""
    shards = [_SHARD.fullmatch(name) for name in names]
    if not shards or not shards[0] or not all(shards):
        return None
    index = f"{shards[0]['stem']}.{shards[0]['suffix']}.index.json"
    return (
        f"{folder}: contains the shards of a single checkpoint ({printable(names[0])}, ...), but {printable(index)} is "
        "missing, which lists the tensors in each shard; copy it there as well"
    )


def _weight_map(path: str, index: Any) -> Mapping[str, str]:
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError(f"{path}: has no weight_map from tensor names to shard names; copy it again")
    if not weight_map:
        raise CheckpointError(f"{path}: its weight_map is empty, so there are no weights; save the checkpoint again")
    return weight_map


def _blobs(folder: str) -> tuple[str, ...]:
    """Return where the links in a snapshot of huggingface_hub's cache lead; empty for other folders."""
    _, snapshots, repository, *_ = (*folder_names(folder), "", "", "")
    if snapshots != "snapshots" or not repository.startswith("models--"):
        return ()
    return (join(containing_folder(containing_folder(folder)), "blobs"),)


def _require_plain(path: str, folder: str, name: str) -> None:
    is_plain = name not in ("", ".", "..") and is_text(name) and not any(one in name for one in "/\\:\0")
    if not is_plain or not any(is_inside(place, join(folder, name)) for place in (folder, *_blobs(folder))):
        raise CheckpointError(
            f"{path}: its weight_map names {printable(name, 120)!r}, which is not a file of this folder; it is not "
            "opened. Put the shards themselves, not links, into the folder of the index."
        )
