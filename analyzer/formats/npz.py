"""Index numpy's npz files: zip archives of npy files, stored or deflated.

The npy header is read by a separate grammar, because numpy's reader evaluates it as Python. See numpy.lib.format.
Arrays of Python objects are pickles, which are never read: they are listed as unsupported.
"""

from __future__ import annotations

import re
import zlib
from math import prod

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex, require_short_name
from analyzer.formats.zips import DEFLATED, Archive, Entry
from analyzer.model.names import natural_key
from analyzer.model.run import Checksum, Part, TensorInfo
from analyzer.sources import Source, open_source

MOST_DIMENSIONS = 64  # numpy's own limit
HEADER_LIMIT = 10_000  # numpy's own limit for files it does not trust
# Deflate cannot shrink data by more than this; https://zlib.net/zlib_tech.html.
LARGEST_RATIO = 1032
# Beyond this size, data compressed more than a hundredfold is taken for a zip bomb; weights never compress that well.
INFLATED_LIMIT, BOMB_RATIO = 256 << 20, 100
LARGEST = 2**63 - 1

DTYPES = {
    "b1": "bool", "i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "u4": "uint32",
    "i8": "int64", "u8": "uint64", "f2": "float16", "f4": "float32", "f8": "float64",
    "c8": "complex64", "c16": "complex128",
}  # fmt: skip
_NOT_NUMBERS = {
    "O": "Python objects, a pickle, which is never read",
    "V": "raw bytes without a type (numpy writes bfloat16 like this)",
    "S": "text", "U": "text", "M": "times", "m": "durations",
}  # fmt: skip
_LONG = ("f12", "f16", "c24", "c32")
_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
_ITEM = re.compile(
    r"""\s*'(?P<key>descr|fortran_order|shape)'\s*:\s*
    (?: '(?P<dtype>[^'\\]{1,40})' | (?P<fields>\[.*\]) | (?P<truth>True|False)
      | \(\s*(?P<sizes>(?:[0-9]{1,20}L?\s*,\s*)*(?:[0-9]{1,20}L?\s*)?)\) )
    \s*(?:,|$)""",
    re.VERBOSE | re.DOTALL,
)
_DTYPE = re.compile(r"(?P<order>[<>|=]?)(?P<kind>[a-zA-Z])(?P<width>[0-9]{0,9})(?P<unit>\[[0-9a-zA-Z]{1,9}\])?")


def read_index(path: str) -> FileIndex:
    """Index the arrays in the file at ``path``; reads and inflates headers only.

    Raises:
        CheckpointError: not a complete npz file, one that contradicts itself, or a zip bomb.
    """
    with open_source(path) as source:
        archive = Archive(source)
        arrays = [entry for entry in archive.entries.values() if entry.name.endswith(".npy")]
        if not arrays:
            raise CheckpointError(f"{path}: is not an npz file: it contains no .npy entry; move it elsewhere")
        infos = [_tensor(source, archive, entry) for entry in arrays]
        source.verify_unchanged()
        infos.sort(key=lambda info: natural_key(info.name))
        return FileIndex({info.name: info for info in infos}, {}, (source.stamp,))


def _tensor(source: Source, archive: Archive, entry: Entry) -> TensorInfo:
    """Index one array from its header."""
    name = entry.name.removesuffix(".npy")
    require_short_name(archive.path, name)
    begin = archive.locate(entry)
    if entry.method == DEFLATED:
        _require_plausible(archive, entry)
    head = _head(source, archive, entry, begin)
    try:
        header, data_begin = _header(head)
        dtype, shape, in_fortran_order, reason, big_endian = _fields(header)
    except ValueError as error:
        raise CheckpointError(f"{archive.path}: array {name!r}: {error}; save it again with numpy.savez") from None
    if reason:
        return TensorInfo(name, dtype, shape, (), reason)
    size = prod(shape) * _width(dtype)
    if data_begin + size != entry.size:
        raise CheckpointError(
            f"{archive.path}: array {name!r}: shape {list(shape)} of {dtype} does not fill the "
            f"{entry.size - data_begin} bytes declared for it; copy the file again"
        )
    strides = _fortran_strides(shape) if in_fortran_order and sum(length > 1 for length in shape) > 1 else None
    if entry.method == DEFLATED:
        checksum = Checksum(entry.name, begin, entry.length, entry.crc32, deflated=True)
        part = Part(archive.path, begin, entry.length, strides=strides, inflated=(data_begin, size), checksum=checksum)
    else:
        before = zlib.crc32(head[:data_begin])
        checksum = Checksum(entry.name, begin + data_begin, size, entry.crc32, before)
        part = Part(archive.path, begin + data_begin, size, strides=strides, checksum=checksum)
    return TensorInfo(name, dtype, shape, (part,), big_endian=big_endian)


def _require_plausible(archive: Archive, entry: Entry) -> None:
    """Raise CheckpointError if the declared sizes are those of a zip bomb."""
    ratio = entry.size / max(1, entry.length)
    if ratio > LARGEST_RATIO + 1 or (entry.size > INFLATED_LIMIT and ratio > BOMB_RATIO):
        raise CheckpointError(
            f"{archive.path}: {entry.name!r} would inflate from {entry.length} to {entry.size} bytes, like a zip bomb; "
            "if it is not one, save it with numpy.savez"
        )


def _head(source: Source, archive: Archive, entry: Entry, begin: int) -> bytes:
    """Return the beginning of an npy file, including its whole header."""
    wanted = min(entry.size, len(_MAGIC) + 6 + HEADER_LIMIT)
    if entry.method != DEFLATED:
        return bytes(source.read(begin, wanted))
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    try:  # a deflated block may store its bytes uncompressed, which adds a few bytes
        return decoder.decompress(bytes(source.read(begin, min(entry.length, 2 * wanted + 1024))), wanted)
    except zlib.error as error:
        raise archive.error(f"{entry.name!r} cannot be inflated: {error}") from None


def _header(head: bytes) -> tuple[str, int]:
    """Return the header's text, and the offset of the data.

    Raises:
        ValueError: not an npy file, or one with an incomplete or too long header.
    """
    if head[:6] != _MAGIC or len(head) < 12:
        raise ValueError("is not an npy file")
    version = head[6]
    if version not in _LENGTH_BYTES or head[7]:
        raise ValueError(f"npy version {version}.{head[7]} is unknown")
    start = 8 + _LENGTH_BYTES[version]
    length = int.from_bytes(head[8:start], "little")
    if length > HEADER_LIMIT:
        raise ValueError(f"a header of {length} bytes is declared, more than {HEADER_LIMIT}")
    if start + length > len(head):
        raise ValueError("its header is truncated")
    return head[start : start + length].decode("utf-8" if version == 3 else "latin-1"), start + length


def _fields(header: str) -> tuple[str, tuple[int, ...], bool, str | None, bool]:
    """Parse a header into (dtype, shape, in Fortran order, reason why it is unsupported or None, big endian).

    Raises:
        ValueError: not a header as numpy writes it.
    """
    text = header.strip()
    found: dict[str, re.Match[str]] = {}
    position, end = 1, len(text) - 1
    if not text.startswith("{") or not text.endswith("}"):
        raise ValueError("its header is not a dictionary")
    while position < end and text[position:end].strip():
        match = _ITEM.match(text, position, end)
        if match is None or match["key"] in found:
            raise ValueError("its header is invalid")
        found[match["key"]] = match
        position = match.end()
    kinds = {"descr": ("dtype", "fields"), "fortran_order": ("truth",), "shape": ("sizes",)}
    if found.keys() != kinds.keys() or any(match.lastgroup not in kinds[key] for key, match in found.items()):
        raise ValueError("its header is invalid")
    shape = tuple(int(size.strip().rstrip("L")) for size in found["shape"]["sizes"].split(",") if size.strip())
    if any(size > LARGEST for size in shape):
        raise ValueError("its declared size overflows")
    dtype, reason, big_endian = _dtype(found["descr"]["dtype"])
    if len(shape) > MOST_DIMENSIONS:
        reason = f"{len(shape)} dimensions are more than {MOST_DIMENSIONS}"
    return dtype, shape, found["fortran_order"]["truth"] == "True", reason, big_endian


def _dtype(text: str | None) -> tuple[str, str | None, bool]:
    """Return (name, reason why it is unsupported or None, big endian) for numpy's code of a dtype.

    Args:
        text: the code; None for a record.

    Raises:
        ValueError: numpy has no such dtype.
    """
    if text is None:
        return "record", "records of several values", False
    match = _DTYPE.fullmatch(text)
    code = match["kind"] + match["width"] if match else ""
    if match and code in DTYPES and not match["unit"]:
        width = _width(DTYPES[code])
        if width > 1 and match["order"] not in ("<", ">"):
            raise ValueError(f"dtype {text!r} does not state its byte order")
        return DTYPES[code], None, match["order"] == ">" and width > 1
    if code in _LONG:
        return text, f"{text}: numbers whose width varies by machine", False
    if match and match["kind"] in _NOT_NUMBERS:
        return text, f"{text}: {_NOT_NUMBERS[match['kind']]}", False
    raise ValueError(f"unknown dtype {text!r}")


def _width(dtype: str) -> int:
    code = next(code for code, name in DTYPES.items() if name == dtype)
    return int(code[1:])


def _fortran_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(shape[:axis]) for axis in range(len(shape)))
