"""Index a checkpoint of torch.distributed.checkpoint (DCP): a folder with ``.metadata`` and files ``__R_N.distcp``.

``.metadata`` is a pickle that lists the boxes of each tensor and where each box is stored: a separate torch zip at
(file, offset, length). See torch/distributed/checkpoint/metadata.py and filesystem.py. The pickle is parsed, never
executed; the file names in it are checked before any file is opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite, prod

import numpy as np

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex, require_short_name
from analyzer.formats.pickle_calls import Calls
from analyzer.formats.pickle_trees import Record
from analyzer.formats.pickles import PICKLE_LIMIT, interpret
from analyzer.formats.torch_tensors import MOST_DIMENSIONS, TENSOR_CALLS, UNREADABLE, dtype_name, sizes
from analyzer.formats.torch_zip import read_object
from analyzer.model.names import natural_key, printable
from analyzer.model.run import FileStamp, Part, TensorInfo
from analyzer.sources import Source, is_inside, join, open_source

METADATA = ".metadata"
MOST_BOXES = 4096  # of one tensor; they are compared pairwise
# Each chunk is stored somewhere, so a file has about as many as storage locations, unless tensors share a list of them.
CHUNKS_PER_PLACE, MORE_CHUNKS = 2, 10_000
LARGEST_SCALAR = 64 << 10  # bytes of an entry that may be a plain number or string

_MODULES = ("torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem")
_CLASSES = (
    "Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata", "MetadataIndex",
    "TensorProperties", "StorageMeta", "_StorageInfo",
)  # fmt: skip
_CALLS: Calls = {
    **{name: TENSOR_CALLS[name] for name in ("torch.Size", "torch.device")},
    **{f"{module}.{kind}": partial(Record, kind) for module in _MODULES for kind in _CLASSES},
}


@dataclass(frozen=True, slots=True, eq=False)
class _Box:
    """A part of a tensor, and where it is stored."""

    tensor: str
    start: tuple[int, ...]
    shape: tuple[int, ...]
    file: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class _Declared:
    """A tensor as ``.metadata`` declares it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    boxes: tuple[_Box, ...]
    unsupported: str | None


def read_index(folder: str) -> FileIndex:
    """Index the boxes of each tensor; plain numbers and strings among the entries become metadata.

    Raises:
        CheckpointError: ``.metadata`` is missing or invalid, or a file is missing or contradicts it.
    """
    path = join(folder, METADATA)
    with open_source(path) as source:
        if source.stamp.size > PICKLE_LIMIT:
            raise CheckpointError(
                f"{path}: {source.stamp.size} bytes are more than the limit of {PICKLE_LIMIT}; convert the checkpoint "
                "to safetensors"
            )
        value = interpret(path, source.read(0, source.stamp.size), _CALLS)
        source.verify_unchanged()
        stamps = [source.stamp]
    try:
        declared, scalars = _declarations(path, value)
    except ValueError as error:
        raise CheckpointError(
            f"{path}: {error}. Save the checkpoint again, or convert it on the machine that wrote it: "
            "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE"
        ) from None
    boxes = [box for tensor in declared if not tensor.unsupported for box in tensor.boxes] + scalars
    dtypes = {tensor.name: tensor.dtype for tensor in declared}
    found: dict[_Box, TensorInfo] = {}
    metadata: dict[str, str] = {}
    for file, inside in _by_file(boxes).items():
        stamps.append(_read_file(folder, file, inside, dtypes, found, metadata))
    tensors = [_tensor(tensor, found) for tensor in declared]
    tensors.sort(key=lambda info: natural_key(info.name))
    return FileIndex({info.name: info for info in tensors}, metadata, tuple(stamps))


def _by_file(boxes: Sequence[_Box]) -> dict[str, list[_Box]]:
    """Group boxes by file in the order of offsets, so that each file is opened once and read forward."""
    files: dict[str, list[_Box]] = {}
    for box in sorted(boxes, key=lambda box: (natural_key(box.file), box.offset)):
        files.setdefault(box.file, []).append(box)
    return files


def _read_file(
    folder: str,
    file: str,
    boxes: Sequence[_Box],
    dtypes: Mapping[str, str],
    found: dict[_Box, TensorInfo],
    metadata: dict[str, str],
) -> FileStamp:
    """Index the boxes of one file; add tensors to ``found`` and plain values to ``metadata``."""
    with open_source(_inside(folder, file)) as source:
        end = 0
        for box in boxes:
            if box.offset < end:
                raise CheckpointError(
                    f"{source.path}: {box.tensor!r} overlaps another tensor; save the checkpoint again"
                )
            end = box.offset + box.length
            if box.offset + box.length > source.stamp.size:
                raise CheckpointError(
                    f"{source.path}: {box.tensor!r} should end at byte {box.offset + box.length}, "
                    f"but the file has {source.stamp.size}; copy it again"
                )
            if box.tensor in dtypes:
                found[box] = _stored(source, box, dtypes[box.tensor])
            elif (text := _scalar(source, box)) is not None:
                metadata[box.tensor] = text
        source.verify_unchanged()
        return source.stamp


def _inside(folder: str, file: str) -> str:
    """Return the path of a file in the folder.

    Raises:
        CheckpointError: the path leads out of the folder.
    """
    path = join(folder, file)
    if not is_inside(folder, path):
        raise CheckpointError(f"{path}: is a link that leads out of the folder; replace it with the file itself")
    return path


def _stored(source: Source, box: _Box, dtype: str) -> TensorInfo:
    """Index one box, which is a torch zip with a single tensor."""
    info = read_object(source, box.offset, box.length)
    if isinstance(info, TensorInfo) and (info.dtype, info.shape) == (dtype, box.shape):
        return info
    found = f"{info.dtype} of shape {list(info.shape)}" if isinstance(info, TensorInfo) else "no tensor"
    raise CheckpointError(
        f"{source.path}: {box.tensor!r} at byte {box.offset} should be {dtype} of shape {list(box.shape)}, "
        f"but is {found}; files of two checkpoints may have been mixed. Copy the checkpoint again"
    )


def _scalar(source: Source, box: _Box) -> str | None:
    """Return a plain number or string, such as a step, as text; None for any other entry that is not a tensor."""
    if box.length > LARGEST_SCALAR:
        return None
    try:
        value = read_object(source, box.offset, box.length)
    except CheckpointError:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    return None if isinstance(value, float) and not isfinite(value) else str(value)


def _tensor(declared: _Declared, found: Mapping[_Box, TensorInfo]) -> TensorInfo:
    """Assemble a tensor from its boxes."""
    infos = [] if declared.unsupported else [found[box] for box in declared.boxes]
    reason = declared.unsupported or next((info.unsupported for info in infos if info.unsupported), None)
    if not reason and len({info.big_endian for info in infos}) > 1:
        reason = "its chunks differ in their byte order"
    parts: list[Part] = []
    for box, info in zip(declared.boxes, infos, strict=True) if not reason else ():
        (part,) = info.parts
        is_whole = box.shape == declared.shape  # then the part is the same as in any other format
        parts.append(part if is_whole else replace(part, start=box.start, shape=box.shape))
    big_endian = bool(infos) and infos[0].big_endian
    return TensorInfo(declared.name, declared.dtype, declared.shape, tuple(parts), reason, big_endian)


# ------------------------------------------------------------------------------------------- content of .metadata


def _declarations(path: str, value: object) -> tuple[list[_Declared], list[_Box]]:
    """Return the declared tensors, and the boxes of all other entries.

    Raises:
        ValueError: not the metadata of a DCP checkpoint.
    """
    fields = _fields(value, "Metadata")
    entries, storage = fields.get("state_dict_metadata"), fields.get("storage_data")
    if not isinstance(entries, dict) or not isinstance(storage, dict):
        raise ValueError("is not the metadata of a DCP checkpoint that was written to files")
    places = dict(_place(index, info) for index, info in storage.items())
    if len(places) != len(storage):
        raise ValueError("it has two storage locations for one entry")
    declared: list[_Declared] = []
    scalars: list[_Box] = []
    left = CHUNKS_PER_PLACE * len(places) + MORE_CHUNKS
    for name, entry in entries.items():
        if not isinstance(name, str):
            raise ValueError("a tensor's name is not a string")
        require_short_name(path, name)
        if isinstance(entry, Record) and entry.name == "TensorStorageMetadata":
            chunks = _chunks(name, entry)
            left -= len(chunks)
            if left < 0:
                raise ValueError(f"its tensors have many more chunks than its {len(places)} storage locations")
            declared.append(_declare(name, entry, chunks, places))
        elif (place := places.get((name, _ANYWHERE))) and not place[3]:
            scalars.append(_Box(name, (), (), *place[:3]))
    return declared, scalars


# A tensor's name and its box's first element, as strings: a hostile file could make tuples of numbers collide in a
# dictionary.
_Key = tuple[str, str]
_ANYWHERE = ""
_Place = tuple[str, int, int, bool]


def _place(index: object, info: object) -> tuple[_Key, _Place]:
    """Return the key of a box, and where it is stored: (file, offset, length, whether it is transformed)."""
    key, where = _fields(index, "MetadataIndex"), _fields(info, "_StorageInfo")
    name, offset, file = key.get("fqn"), key.get("offset"), where.get("relative_path")
    if not isinstance(name, str) or not isinstance(file, str):
        raise ValueError("a name or a path in it is not a string")
    if file in ("", ".", "..") or any(character in file for character in "/\\\0:"):
        raise ValueError(f"{printable(file, 80)!r} is not the plain name of a file in the folder")
    begin, length = sizes((where.get("offset"), where.get("length")))
    key_of_box = name, _ANYWHERE if offset is None else str(sizes(offset))
    return key_of_box, (file, begin, length, bool(where.get("transform_descriptors")))


def _chunks(name: str, entry: Record) -> list[object]:
    """Return the chunks of a declared tensor.

    Raises:
        ValueError: they are not a list.
    """
    chunks = _fields(entry, "TensorStorageMetadata").get("chunks")
    if not isinstance(chunks, list):
        raise ValueError(f"{printable(name, 80)!r} has no list of chunks")
    return chunks


def _declare(name: str, entry: Record, chunks: Sequence[object], places: Mapping[_Key, _Place]) -> _Declared:
    """Return one declared tensor; a gap, an overlap or an unknown encoding makes it unsupported.

    Raises:
        ValueError: the entry is malformed, or a box has no storage location.
    """
    fields = _fields(entry, "TensorStorageMetadata")
    properties = fields.get("properties")
    state = properties.state if isinstance(properties, Record) else None
    first = state[0] if isinstance(state, tuple) and state else state.get("dtype") if isinstance(state, dict) else None
    dtype, shape = dtype_name(first), sizes(fields.get("size"))
    unsupported = f"{dtype}: {UNREADABLE[dtype][1]}" if dtype in UNREADABLE else None
    if len(shape) > MOST_DIMENSIONS:
        unsupported = f"{len(shape)} dimensions are more than {MOST_DIMENSIONS}"
    if len(chunks) > MOST_BOXES:
        return _Declared(name, dtype, shape, (), f"it is stored in more than {MOST_BOXES} chunks")
    boxes: list[_Box] = []
    for chunk in chunks:
        inner = _fields(chunk, "ChunkStorageMetadata")
        start, extent = sizes(inner.get("offsets")), sizes(inner.get("sizes"))
        place = places.get((name, str(start))) or places.get((name, _ANYWHERE))
        if place is None:
            raise ValueError(f"it has no storage location for {printable(name, 80)!r}")
        if 0 not in extent or (0 in shape and not boxes):
            boxes.append(_Box(name, start, extent, *place[:3]))
        if place[3]:
            unsupported = "it is stored compressed or encrypted by an extension of torch"
    unsupported = unsupported or _misfit(shape, boxes)
    return _Declared(name, dtype, shape, tuple(boxes), unsupported)


def _fields(value: object, kind: str) -> Mapping[str, object]:
    """Return the state of a record of the given class.

    Raises:
        ValueError: the value is something else.
    """
    if not isinstance(value, Record) or value.name != kind:
        raise ValueError(f"a {kind} is expected")
    state = value.state
    return {key: item for key, item in state.items() if isinstance(key, str)} if isinstance(state, dict) else {}


def _misfit(shape: tuple[int, ...], boxes: Sequence[_Box]) -> str | None:
    """Return why boxes do not tile a tensor exactly; None if each is inside, no two overlap and none is missing."""
    if 0 in shape:
        return (
            None if len(boxes) <= 1 and all(box.shape == shape for box in boxes) else "its chunks contradict its shape"
        )
    if any(len(box.start) != len(shape) or len(box.shape) != len(shape) for box in boxes):
        return "its chunks have a different number of dimensions"
    if any(a + n > size for box in boxes for a, n, size in zip(box.start, box.shape, shape, strict=True)):
        return "its chunks extend beyond it"
    if sum(prod(box.shape) for box in boxes) != prod(shape):
        return "its chunks leave a gap or overlap"
    starts = np.array([box.start for box in boxes], dtype=np.int64)
    ends = starts + np.array([box.shape for box in boxes], dtype=np.int64)
    for number in range(len(boxes) - 1 if shape else 0):
        apart = (ends[number] <= starts[number + 1 :]) | (ends[number + 1 :] <= starts[number])
        if not apart.any(axis=1).all():
            return "its chunks leave a gap or overlap"
    return None if boxes else "its chunks are missing"
