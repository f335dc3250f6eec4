"""Read the files that ``torch.save`` wrote before torch 1.6, and writes without ``_use_new_zipfile_serialization``.

Such a file is a row of pickles: a magic number, the version of the protocol, facts about the writing machine, the
object itself, and the list of its storages' keys; then, for each key, the number of elements (8 bytes) and the raw
elements. See _legacy_save and _legacy_load in torch/serialization.py (1.0 to 2.15) and, for the bytes of storages,
torch/csrc/generic/serialization.cpp. Elements are little-endian whatever machine wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass

from analyzer.errors import CheckpointError
from analyzer.formats.pickle_ends import PickleReader
from analyzer.formats.pickle_trees import Unknown, tree, uncollected
from analyzer.formats.pickles import interpret
from analyzer.formats.torch_tensors import TENSOR_CALLS, Storage, sizes, storage_dtype, width_of
from analyzer.sources import Source

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# The magic number as a pickle of its own: its bytes in the binary protocols, its digits in protocols 0 and 1.
_MARKS = (_MAGIC.to_bytes(10, "little"), f"L{_MAGIC}L\n".encode())
_MARK_WITHIN = 64  # bytes
_COUNT = 8  # bytes of a storage's number of elements
_SWAPPED_PAIRS = "complex values that a big-endian machine wrote have no defined order in this format"


def is_legacy(head: bytes) -> bool:
    """Check whether a file that begins with ``head`` (64 bytes or more) has the magic number of this format."""
    return head[:1] in (b"\x80", b"L") and any(mark in head[:_MARK_WITHIN] for mark in _MARKS)


def read_legacy(source: Source) -> object:
    """Return the tree in the file, with tensors as ranges of its bytes; elements are not read.

    Raises:
        CheckpointError: the file is truncated, contradicts itself, or has bytes behind its end.
    """
    path, size = source.path, source.stamp.size
    reader = PickleReader(source)
    heads = [interpret(path, reader.next(), {}) for _ in range(3)]
    if heads[:2] != [_MAGIC, _PROTOCOL] or not isinstance(heads[2], dict):
        raise _damaged(path, f"its version is not {_PROTOCOL}, the only one of torch's format before 1.6")
    little_endian = heads[2].get("little_endian") is not False
    data = reader.next()
    declared = _Declared()
    interpret(path, data, {}, declared.note)
    begins = _begins(source, interpret(path, reader.next(), {}), reader.position, declared.lengths, little_endian)
    storages = _Storages(path, declared.lengths, begins, little_endian)
    with uncollected():
        return tree(path, interpret(path, data, TENSOR_CALLS, storages.resolve, size), size)


def _damaged(path: str, reason: str) -> CheckpointError:
    return CheckpointError(f"{path}: {reason}; it is damaged, or not a single file. Copy it again.")


@dataclass(frozen=True, slots=True)
class _Named:
    """A storage as a persistent id names it; ``view`` is (first element, number of elements) of a part of it."""

    key: str
    dtype: str
    count: int
    view: tuple[int, int] | None


def _named(persistent_id: object) -> _Named | Unknown:
    """Parse ("storage", class, key, device, elements, view), or ("module", class, source file, source).

    Raises:
        ValueError: it is neither of them.
    """
    if not isinstance(persistent_id, tuple) or not persistent_id:
        raise ValueError("a persistent id is not a storage")
    if persistent_id[0] == "module" and len(persistent_id) == 4 and isinstance(persistent_id[1], Unknown):
        return persistent_id[1]
    if persistent_id[0] != "storage" or len(persistent_id) not in (5, 6):
        raise ValueError("a persistent id is not a storage")
    _, kind, key, _, count, *views = persistent_id
    if not isinstance(key, str):
        raise ValueError("a storage's key is not a string")
    (elements,) = sizes((count,))
    view = views[0] if views else None
    if view is None:
        return _Named(key, storage_dtype(kind), elements, None)
    if not isinstance(view, tuple) or len(view) != 3:
        raise ValueError("a view of a storage is malformed")
    start, length = sizes(view[1:])
    if start + length > elements:
        raise ValueError(f"a view of the storage {key[:80]!r} extends beyond it")
    return _Named(key, storage_dtype(kind), elements, (start, length))


class _Declared:
    """Collects the storages that a pickle refers to: key to (number of elements, dtype) of the first reference."""

    def __init__(self) -> None:
        self.lengths: dict[str, tuple[int, str]] = {}

    def note(self, persistent_id: object) -> object:
        named = _named(persistent_id)
        if isinstance(named, _Named):
            self.lengths.setdefault(named.key, (named.count, named.dtype))
        return named


def _begins(
    source: Source, keys: object, position: int, declared: dict[str, tuple[int, str]], little_endian: bool
) -> dict[str, int]:
    """Return where each storage's elements begin; their numbers in the file must be those of the pickle.

    Raises:
        CheckpointError: keys are missing or unknown, a number differs, or the file does not end with the last storage.
    """
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _damaged(source.path, "its storages are not listed")
    if len(set(keys)) != len(keys) or set(keys) != declared.keys():
        raise _damaged(source.path, "its list of storages contradicts its pickle")
    begins: dict[str, int] = {}
    for key in keys:
        count, dtype = declared[key]
        begins[key] = position + _COUNT
        position = begins[key] + count * width_of(dtype)
    if position != source.stamp.size:
        raise _damaged(source.path, f"its storages should end at byte {position}, but it has {source.stamp.size}")
    counts = {key: bytearray(_COUNT) for key in keys}
    ranges = [(begins[key] - _COUNT, memoryview(counts[key])) for key in keys]
    for error in source.read_ranges(ranges):
        if error:
            raise error
    # Elements are little-endian everywhere; their number was big-endian on big-endian machines in early versions.
    for key in keys:
        count = declared[key][0]
        found = int.from_bytes(counts[key], "little")
        if found != count and (little_endian or int.from_bytes(counts[key], "big") != count):
            raise _damaged(source.path, f"the storage {key[:80]!r} has {found} elements but {count} are declared")
    return begins


class _Storages:
    """Resolves persistent ids to ranges of bytes."""

    def __init__(
        self, path: str, declared: dict[str, tuple[int, str]], begins: dict[str, int], little_endian: bool
    ) -> None:
        self.path = path
        self.declared = declared
        self.begins = begins
        self.little_endian = little_endian

    def resolve(self, persistent_id: object) -> object:
        """Return a :class:`Storage`, or the class of a module.

        Raises:
            ValueError: the id is malformed, or contradicts an earlier one of the same storage.
        """
        named = _named(persistent_id)
        if isinstance(named, Unknown):
            return named
        count, dtype = self.declared[named.key]
        width, length = width_of(named.dtype), count * width_of(dtype)
        if named.count * width != length:
            raise ValueError(f"the storage {named.key[:80]!r} is declared with two sizes")
        begin = self.begins[named.key]
        if named.view:
            begin, length = begin + named.view[0] * width, named.view[1] * width
        is_swapped = not self.little_endian and named.dtype.startswith("complex")
        return Storage(self.path, begin, length, named.dtype, absent=_SWAPPED_PAIRS if is_swapped else None)
