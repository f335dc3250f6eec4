"""Read torch files: the zip archives that ``torch.save`` writes since torch 1.6, and the format before.

The format before is in :mod:`analyzer.formats.torch_legacy`. The archive has stored (never deflated) entries in one
folder: ``data.pkl`` is a pickle in which each storage is a persistent id, ``data/KEY`` contains a storage's bytes,
``byteorder`` states the byte order (little if it is missing). See torch/serialization.py. The pickle is parsed, never
executed: :mod:`analyzer.formats.pickles`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from analyzer.errors import CheckpointError, NotACheckpointError
from analyzer.formats.impostors import reject_impostor
from analyzer.formats.pickle_trees import tree, uncollected
from analyzer.formats.pickles import PICKLE_LIMIT, interpret
from analyzer.formats.torch_legacy import is_legacy, read_legacy
from analyzer.formats.torch_tensors import TENSOR_CALLS, Storage, sizes, storage_dtype, width_of
from analyzer.formats.zips import STORED, Archive
from analyzer.model.run import Checksum, FileStamp
from analyzer.sources import Source, open_source

# torch cannot read the format of its first versions without obeying the pickle inside.
_CONVERT_TAR = (
    "Convert it on a machine with torch, if you trust whoever made it, because this runs code from the file: "
    'torch.save(torch.load(OLD, map_location="cpu", weights_only=False), NEW)'
)
_COUNTER = re.compile(rb"\s*[-+]?[0-9]{1,20}(?:\.[0-9]*)?\s*")  # what SpeechBrain's counter.ckpt contains
_TAR_MARK = (257, b"ustar")
_HEAD = 512  # bytes that tell the format
_SHORTEST = 100  # bytes of a zip archive from torch


@dataclass(frozen=True, slots=True)
class TorchFile:
    """The content of a file of ``torch.save``, as a tree of :func:`analyzer.formats.pickle_trees.tree`.

    Tensors have no name; the parts of tensors that share a storage refer to the same bytes.
    """

    tree: object
    files: tuple[FileStamp, ...]


def read_torch(path: str) -> TorchFile:
    """Return the content of the file at ``path``; reads its pickles and the storages' headers only.

    Raises:
        CheckpointError: not a complete torch file, one that contradicts itself, or a TorchScript program.
    """
    with open_source(path) as source:
        size = source.stamp.size
        head = bytes(source.read(0, min(size, _HEAD)))
        value = read_legacy(source) if is_legacy(head) else read_object(source, 0, size)
        source.verify_unchanged()
        return TorchFile(value, (source.stamp,))


def read_object(source: Source, begin: int, length: int) -> object:
    """Return the tree in a torch zip that fills ``length`` bytes of a file from ``begin`` on.

    Raises:
        CheckpointError: as for :func:`read_torch`.
    """
    _require_zip(source, begin, length)
    archive = Archive(source, begin, length)
    folder = _folder(archive)
    order = archive.entries.get(f"{folder}/byteorder")
    byteorder = bytes(archive.read(order, 16)) if order else b"little"
    if byteorder not in (b"little", b"big"):
        raise archive.error(f"its byte order is {byteorder!r}")
    data = archive.read(archive.entries[f"{folder}/data.pkl"], PICKLE_LIMIT)
    storages = _storages(archive, f"{folder}/data/", byteorder == b"big")
    with uncollected():
        return tree(source.path, interpret(source.path, data, TENSOR_CALLS, storages, length), length)


def _require_zip(source: Source, begin: int, length: int) -> None:
    """Raise CheckpointError, with the actual kind of file and the remedy, if it is not a zip archive."""
    head = bytes(source.read(begin, min(length, _HEAD)))
    if head.startswith(b"PK\x03\x04"):
        return
    reject_impostor(source, begin)
    start, mark = _TAR_MARK
    if head[start : start + len(mark)] == mark:
        raise CheckpointError(f"{source.path}: was written in the format of torch's first versions. {_CONVERT_TAR}")
    if _COUNTER.fullmatch(head):
        raise NotACheckpointError(f"{source.path}: contains a number and no weights; move it elsewhere")
    if length < _SHORTEST:
        raise CheckpointError(f"{source.path}: {length} bytes are too few for a torch file; copy it again")
    if head[:1] == b"\x80" and head[1] in range(2, 6):
        raise CheckpointError(
            f"{source.path}: is not a torch file: it is a plain pickle, which torch.save does not write. Load it with "
            "the program that wrote it, and save its weights with torch.save or numpy.savez"
        )
    raise CheckpointError(
        f"{source.path}: is not a torch file: it is neither a zip archive, which torch.save writes since 1.6, nor has "
        "it the magic number of the format before; move it elsewhere"
    )


def _folder(archive: Archive) -> str:
    """Return the folder that contains all entries.

    Raises:
        CheckpointError: there is no such folder, or the archive is a TorchScript program.
    """
    found = [name[: -len("/data.pkl")] for name in archive.entries if name.endswith("/data.pkl")]
    if len(found) != 1 or "/" in found[0]:
        raise CheckpointError(
            f"{archive.path}: is not a torch file: a zip archive, but without a data.pkl in a folder; move it elsewhere"
        )
    (folder,) = found
    if any(name == f"{folder}/constants.pkl" or name.startswith(f"{folder}/code/") for name in archive.entries):
        raise CheckpointError(
            f"{archive.path}: is a TorchScript program, not a checkpoint. Save its weights on a machine with torch: "
            'torch.save(torch.jit.load(OLD, map_location="cpu").state_dict(), NEW)'
        )
    return folder


def _storages(archive: Archive, prefix: str, big_endian: bool) -> Callable[[object], object]:
    """Return a function that resolves a persistent id: ("storage", class, key, device, number of elements)."""
    begins: dict[str, int] = {}

    def storage(persistent_id: object) -> object:
        if not isinstance(persistent_id, tuple) or len(persistent_id) != 5 or persistent_id[0] != "storage":
            raise ValueError("a persistent id is not a storage")
        _, kind, key, device, count = persistent_id
        dtype = storage_dtype(kind)
        (elements,) = sizes((count,))
        length = elements * width_of(dtype)
        if device == "meta":
            return Storage(archive.path, 0, length, dtype, absent="it has no values (device meta)")
        if not isinstance(key, str):
            raise ValueError("a storage's key is not a string")
        entry = archive.entries.get(f"{prefix}{key}")
        if entry is None:
            raise ValueError(f"the storage {key[:80]!r} is missing")
        if entry.method != STORED:
            raise ValueError(f"the storage {key!r} is compressed, which torch never does")
        if entry.length != length:
            raise ValueError(f"the storage {key!r} has {entry.length} bytes but {length} are declared")
        if entry.name not in begins:
            begins[entry.name] = archive.locate(entry)
        begin = begins[entry.name]
        checksum = Checksum(entry.name, begin, length, entry.crc32) if entry.crc32 else None
        return Storage(archive.path, begin, length, dtype, big_endian, checksum=checksum)

    return storage
