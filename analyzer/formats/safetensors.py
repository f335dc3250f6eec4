"""Index safetensors files: eight bytes of header length, a JSON header, then the tensors' bytes without gaps.

Accepts what the reference library accepts, except that duplicate keys are rejected (the library keeps the last one).
The rules are those of the format's specification, https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isinf
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex, require_short_name
from analyzer.formats.impostors import reject_impostor
from analyzer.formats.json_texts import require_modest
from analyzer.model.names import natural_key
from analyzer.model.run import Part, TensorInfo
from analyzer.sources import Source, open_source

HEADER_LIMIT = 100_000_000
LARGEST_INTEGER = 2**64 - 1
MOST_DIMENSIONS = 64  # numpy's own limit
FIELDS = ("dtype", "shape", "data_offsets")
DEEPEST_FIELD = 125  # the reference library's JSON parser stops at 127 levels in all

# Bits per element and the numpy (or ml-dtypes) name; no name if an element is smaller than a byte.
DTYPES: Mapping[str, tuple[int, str | None]] = {
    "BOOL": (8, "bool"),
    "U8": (8, "uint8"),
    "I8": (8, "int8"),
    "U16": (16, "uint16"),
    "I16": (16, "int16"),
    "U32": (32, "uint32"),
    "I32": (32, "int32"),
    "U64": (64, "uint64"),
    "I64": (64, "int64"),
    "F16": (16, "float16"),
    "BF16": (16, "bfloat16"),
    "F32": (32, "float32"),
    "F64": (64, "float64"),
    "C64": (64, "complex64"),
    "F8_E4M3": (8, "float8_e4m3fn"),
    "F8_E5M2": (8, "float8_e5m2"),
    "F8_E4M3FNUZ": (8, "float8_e4m3fnuz"),
    "F8_E5M2FNUZ": (8, "float8_e5m2fnuz"),
    "F8_E8M0": (8, "float8_e8m0fnu"),
    "F4": (4, None),
    "F6_E2M3": (6, None),
    "F6_E3M2": (6, None),
}


def read_index(path: str) -> FileIndex:
    """Index the tensors in the file at ``path``; reads the header only.

    Raises:
        CheckpointError: the file is incomplete, not safetensors, or contradicts itself.
    """
    with open_source(path) as source:
        stamp = source.stamp
        header_bytes = _read_header(source)
    header = _parse_header(path, header_bytes)
    metadata = _metadata(path, header.pop("__metadata__", None))
    declared = [_declared(path, name, entry) for name, entry in header.items()]
    data_start = 8 + len(header_bytes)
    _require_contiguous(path, declared, stamp.size - data_start)
    # Writers sort by dtype and alphabet, so the file's order is meaningless; layers.10 belongs after layers.2.
    declared.sort(key=lambda item: natural_key(item.name))
    return FileIndex({item.name: _tensor(path, item, data_start) for item in declared}, metadata, (stamp,))


@dataclass(frozen=True, slots=True)
class _Declared:
    """A header entry with valid fields; ``begin`` and ``end`` count bytes from the start of the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def _read_header(source: Source) -> bytearray:
    size = source.stamp.size
    if size < 8:
        raise CheckpointError(f"{source.path}: {size} bytes are too few for a safetensors file; copy it again")
    length = int.from_bytes(source.read(0, 8), "little")
    if length > HEADER_LIMIT:
        reject_impostor(source)
        raise CheckpointError(
            f"{source.path}: is not a safetensors file: its first eight bytes declare a header of {length} bytes; "
            "move it elsewhere"
        )
    if length > size - 8:
        raise CheckpointError(
            f"{source.path}: truncated: a header of {length} bytes is declared but {size - 8} follow; copy it again"
        )
    return source.read(8, length)


def _parse_header(path: str, data: bytearray) -> dict[str, Any]:
    require_modest(path, data)
    try:
        header = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_reject_constant,
            parse_int=_parse_integer,
            parse_float=_parse_float,
        )
        if b"\\u" in data:
            json.dumps(header, ensure_ascii=False).encode()  # rejects lone surrogates, as the reference does
    except (ValueError, RecursionError) as error:
        reason = str(error) or "nested too deeply"
        raise CheckpointError(f"{path}: the safetensors header is not valid JSON: {reason}; copy it again") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: the safetensors header is not a JSON object; copy it again")
    return header


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} occurs twice")
            seen.add(key)
    return result


def _reject_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _parse_integer(text: str) -> int | float:
    # JSON numbers are read as in Rust: one that does not fit an unsigned 64-bit integer becomes a float.
    if text == "-0" or len(text) > 20 or abs(int(text)) > LARGEST_INTEGER:
        return _parse_float(text)
    return int(text)


def _parse_float(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise ValueError(f"a number of {len(text)} characters is out of range")
    return value


def _metadata(path: str, value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise CheckpointError(
            f"{path}: __metadata__ in the safetensors header is not a map from strings to strings; save the file again"
        )
    return value


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_INTEGER


def _declared(path: str, name: str, entry: Any) -> _Declared:
    require_short_name(path, name)
    where = f"{path}: tensor {name!r}"
    if isinstance(entry, list) and len(entry) == 3:  # the reference library also accepts a list of the fields
        entry = dict(zip(FIELDS, entry, strict=True))
    if not isinstance(entry, dict):
        raise CheckpointError(f"{where}: its header entry is not a JSON object")
    if len(entry) > len(FIELDS) and _deeper_than(DEEPEST_FIELD, [entry[key] for key in entry if key not in FIELDS]):
        raise CheckpointError(f"{where}: its header entry is nested too deeply")
    dtype, shape, offsets = (entry.get(field) for field in FIELDS)
    if isinstance(dtype, dict) and list(dtype.values()) == [None]:  # another spelling that the reference accepts
        (dtype,) = dtype
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise CheckpointError(f"{where}: unknown dtype {dtype!r}")
    if not isinstance(shape, list) or not all(_is_size(size) for size in shape):
        raise CheckpointError(f"{where}: its shape is not a list of sizes")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(offset) for offset in offsets):
        raise CheckpointError(f"{where}: its data_offsets are not two positions")
    begin, end = offsets
    bits = _checked_product(where, [*shape, DTYPES[dtype][0]])
    if bits % 8 or bits // 8 != end - begin:
        raise CheckpointError(
            f"{where}: shape {shape} of {dtype} does not fill the {end - begin} bytes declared for it"
        )
    return _Declared(name, dtype, tuple(shape), begin, end)


def _deeper_than(levels: int, values: list[Any]) -> bool:
    """Check whether a list or object is nested inside ``levels`` others."""
    for _ in range(levels):
        values = [inner for value in values if isinstance(value, (list, dict)) for inner in _items(value)]
        if not values:
            return False
    return any(isinstance(value, (list, dict)) for value in values)


def _items(value: list[Any] | dict[str, Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _checked_product(where: str, factors: list[int]) -> int:
    """Return the product, multiplied from left to right; like the reference, reject an unsigned 64-bit overflow.

    Raises:
        CheckpointError: a partial product overflows.
    """
    product = 1
    for factor in factors:
        product *= factor
        if product > LARGEST_INTEGER:
            raise CheckpointError(f"{where}: its declared size overflows")
    return product


def _require_contiguous(path: str, declared: list[_Declared], data_length: int) -> None:
    position = 0
    for item in sorted(declared, key=lambda item: (item.begin, item.end)):
        if item.begin != position or item.end < item.begin:
            raise CheckpointError(
                f"{path}: tensor {item.name!r}: its bytes {item.begin} to {item.end} overlap or leave a gap "
                f"(expected to begin at {position}); copy the file again"
            )
        position = item.end
    if position > data_length:
        raise CheckpointError(
            f"{path}: truncated: its tensors need {position} bytes of data but {data_length} exist; copy it again"
        )
    if position < data_length:
        raise CheckpointError(
            f"{path}: {data_length - position} bytes follow the last tensor; it is not a single complete file. "
            "Copy it again"
        )


def _tensor(path: str, item: _Declared, data_start: int) -> TensorInfo:
    dtype = DTYPES[item.dtype][1]
    unsupported = None
    if dtype is None:
        unsupported = f"elements of {item.dtype} are smaller than a byte"
    elif len(item.shape) > MOST_DIMENSIONS:
        unsupported = f"{len(item.shape)} dimensions are more than {MOST_DIMENSIONS}"
    part = Part(path, data_start + item.begin, item.end - item.begin)
    return TensorInfo(item.name, dtype or item.dtype, item.shape, (part,), unsupported)
