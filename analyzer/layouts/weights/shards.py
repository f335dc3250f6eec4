"""Read weights split over several files with an index such as ``model.safetensors.index.json``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.layouts.scores.sidecars import read_json
from analyzer.model.names import is_text, natural_key, printable
from analyzer.model.run import FileStamp, TensorInfo
from analyzer.sources import containing_folder, folder_names, is_file, is_inside, join, list_folder, open_source

_SHARD = re.compile(r"(?P<stem>.+)-[0-9]{5}-of-[0-9]{5}\.(?P<suffix>safetensors|bin)")


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
        files: list[FileStamp] = [source.stamp]
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
    for name, shard in weight_map.items():
        if shard_of.get(name) != shard:
            raise CheckpointError(
                f"{path}: {printable(name)} is not in {printable(shard)}, where it should be; copy the shard again"
            )
    ordered = {name: tensors[name] for name in sorted(tensors, key=natural_key)}
    return FileIndex(ordered, metadata, tuple(files))


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
