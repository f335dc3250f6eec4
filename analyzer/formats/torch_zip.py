"""Read torch zip files, which ``torch.save`` writes since torch 1.6.

The archive has stored (never deflated) entries in one folder: ``data.pkl`` is a pickle in which each storage is a
persistent id, ``data/KEY`` contains a storage's bytes, ``byteorder`` states the byte order (little if it is missing).
See torch/serialization.py. The pickle is parsed, never executed: :mod:`analyzer.formats.pickles`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from analyzer.errors import CheckpointError, NotACheckpointError
from analyzer.formats.impostors import reject_impostor
from analyzer.formats.pickle_trees import Unknown, tree
from analyzer.formats.pickles import PICKLE_LIMIT, interpret
from analyzer.formats.torch_tensors import STORAGE_CLASSES, TENSOR_CALLS, Storage, sizes, width_of
from analyzer.formats.zips import STORED, Archive
from analyzer.model.run import Checksum, FileStamp
from analyzer.sources import Source, open_source

_CONVERT = "Convert it on a machine with torch: torch.save(torch.load(OLD, weights_only=True), NEW)"
_LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")  # the magic number as a pickle of its own
_COUNTER = re.compile(rb"\s*[-+]?[0-9]{1,20}(?:\.[0-9]*)?\s*")  # what SpeechBrain's counter.ckpt contains
_TAR_MARK = (257, b"ustar")


@dataclass(frozen=True, slots=True)
class TorchFile:
    """The content of a file of ``torch.save``, as a tree of :func:`analyzer.formats.pickle_trees.tree`.

    Tensors have no name; the parts of tensors that share a storage refer to the same bytes.
    """

    tree: object
    files: tuple[FileStamp, ...]


def read_torch(path: str) -> TorchFile:
    """Return the content of the file at ``path``; reads its pickle and the entries' headers only.

    Raises:
        CheckpointError: not a complete torch zip, one that contradicts itself, a legacy file, or a TorchScript program.
    """
    with open_source(path) as source:
        value = read_object(source, 0, source.stamp.size)
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
    return tree(source.path, interpret(source.path, data, TENSOR_CALLS, storages))


def _require_zip(source: Source, begin: int, length: int) -> None:
    """Raise CheckpointError, with the actual kind of file and the remedy, if it is not a zip archive."""
    head = bytes(source.read(begin, min(length, 512)))
    if head.startswith(b"PK\x03\x04"):
        return
    reject_impostor(source, begin)
    start, mark = _TAR_MARK
    if head.startswith(_LEGACY) or head[start : start + len(mark)] == mark:
        raise CheckpointError(f"{source.path}: was written in torch's format before version 1.6. {_CONVERT}")
    if _COUNTER.fullmatch(head):
        raise NotACheckpointError(f"{source.path}: contains a number and no weights; move it elsewhere")
    if length < 100:
        raise CheckpointError(f"{source.path}: {length} bytes are too few for a torch file; copy it again")
    raise CheckpointError(
        f"{source.path}: is not a torch file: it is not a zip archive, which torch.save writes since 1.6; "
        "move it elsewhere"
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
            "torch.save(torch.jit.load(OLD).state_dict(), NEW)"
        )
    return folder


def _storages(archive: Archive, prefix: str, big_endian: bool) -> Callable[[object], object]:
    """Return a function that resolves a persistent id: ("storage", class, key, device, number of elements)."""
    begins: dict[str, int] = {}

    def storage(persistent_id: object) -> object:
        if not isinstance(persistent_id, tuple) or len(persistent_id) != 5 or persistent_id[0] != "storage":
            raise ValueError("a persistent id is not a storage")
        _, kind, key, device, count = persistent_id
        if not isinstance(kind, Unknown) or kind.name not in STORAGE_CLASSES:
            raise ValueError(f"a storage has the unknown class {getattr(kind, 'name', '')!r}")
        dtype = STORAGE_CLASSES[kind.name]
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
