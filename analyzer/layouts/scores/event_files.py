"""Read scalars from the event files of TensorBoard, through the messages that the package ``tensorboard`` defines.

An event file is a series of records: the length as uint64, the masked CRC-32C of these eight bytes, that many bytes,
and their masked CRC-32C, all little-endian (``tensorboard/summary/writer/record_writer.py``). The package is imported
when the first file is read. TensorFlow is never needed. The framing is parsed here, so that lengths are checked before
memory is allocated and files behind URLs are read in ranges.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.layouts.scores.tables import PLACE_COLUMNS
from analyzer.model.run import Finding
from analyzer.sources import Source, open_source

EVENT_FILE = re.compile(r".*\btfevents\.([0-9]{1,12})\b.*")  # the number is the time in seconds
INSTALL = "pip install 'weightlapse[tensorboard]'"
LARGEST_FILE = 1 << 30
LARGEST_RECORD = 16 << 20  # scalars need some 50 bytes, all scalars of a model some KB; images and graphs are larger
MOST_VALUES = 5_000_000

_BLOCK = 1 << 20
_CHECKED_BYTES = 1 << 16  # of a record whose checksum is verified: this takes 0.1 µs per byte
_HEADER = struct.Struct("<QI")
_NOT_SET = -1.0  # Lightning's value of hp_metric
_NUMBERS: Mapping[
    int, tuple[str, str]
] = {  # by TensorFlow's number of the dtype: how one element is packed, and the field for unpacked ones
    1: ("<f", "float_val"),
    2: ("<d", "double_val"),
    3: ("<i", "int_val"),
    9: ("<q", "int64_val"),
    19: ("<e", ""),  # a half is listed as an integer unless it is packed
}


class MissingPackageError(CheckpointError):
    """The package that reads event files is not installed."""


class _DamagedRecordError(Exception):
    """A record whose checksum does not match its bytes."""


def event_rows(path: str, findings: list[Finding] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the scalars of an event file as rows: ``step`` and the tags; consecutive ones of a step share a row.

    A record that the file ends in is left out: the training is still writing it. A damaged record ends the reading,
    with a finding.

    Args:
        path: the file.
        findings: receives findings about damaged and large records.

    Raises:
        MissingPackageError: tensorboard is not installed.
        CheckpointError: the file cannot be read, or is larger than 1 GiB, or has more than 5 million values.
    """
    event_type = _event_type()
    row: dict[str, Any] = {}
    values = 0
    for data in _intact_records(path, findings):
        try:
            event = event_type.FromString(data)
        except Exception as error:  # protobuf has several implementations, each with its own errors
            if findings is not None:
                findings.append(_unreadable(path, f"a record is not an event ({type(error).__name__})"))
            break
        for value in event.summary.value if event.HasField("summary") else ():
            number = _scalar(value)
            if number is None or not _is_score(value.tag, number):
                continue
            values += 1
            if values > MOST_VALUES:
                raise CheckpointError(
                    f"{path}: has more than {MOST_VALUES} values. Save those you need as CSV, and name that file with "
                    "--scalars"
                )
            if row and row["step"] != event.step:
                yield row
                row = {}
            row |= {"step": event.step, value.tag: number}
    if row:
        yield row


def is_event_file(name: str) -> bool:
    """Check whether a name is that of an event file, such as ``events.out.tfevents.1700000000.host.1.0``."""
    return EVENT_FILE.fullmatch(name) is not None


def time_of(name: str) -> int:
    """Return the time in an event file's name, in seconds; 0 if it has none."""
    match = EVENT_FILE.fullmatch(name)
    return int(match[1]) if match else 0


@cache
def _event_type() -> Any:
    """Return the class of event messages.

    Raises:
        MissingPackageError: tensorboard is not installed.
        CheckpointError: it is installed but cannot be imported.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event
    except ImportError:
        raise MissingPackageError(
            f"event files of TensorBoard are read with a package that is not installed; install it: {INSTALL}"
        ) from None
    except Exception as error:  # a protobuf of another version fails in many ways
        raise CheckpointError(
            f"the package tensorboard cannot be imported: {type(error).__name__}: {error}. Update it: {INSTALL} -U"
        ) from error
    return Event


def _is_score(tag: str, number: float) -> bool:
    """Check whether a scalar is a score or an epoch; a logged step is not, because the event states its own."""
    name = tag.strip().lower()
    return bool(name) and name not in PLACE_COLUMNS["step"] and not (name == "hp_metric" and number == _NOT_SET)


def _scalar(value: Any) -> float | None:
    """Return the number in a summary's value; None if it is an image, a histogram, a text or an array."""
    match value.WhichOneof("value"):
        case "simple_value":
            return float(value.simple_value)
        case "tensor":
            return _element(value.tensor)
    return None


def _element(tensor: Any) -> float | None:
    """Return the element of a tensor without dimensions; None for other tensors."""
    packing, field = _NUMBERS.get(tensor.dtype, ("", ""))
    if not packing or tensor.tensor_shape.dim:
        return None
    if len(tensor.tensor_content) == struct.calcsize(packing):
        (element,) = struct.unpack(packing, tensor.tensor_content)
        return float(element)
    unpacked: Sequence[float] = getattr(tensor, field) if field else ()
    return float(unpacked[0]) if len(unpacked) == 1 else None


def _intact_records(path: str, findings: list[Finding] | None) -> Iterator[bytes]:
    """Yield the records up to the first damaged one; report it, and those that are too large."""
    large = 0
    with open_source(path) as source:
        if source.stamp.size > LARGEST_FILE:
            raise CheckpointError(
                f"{path}: {source.stamp.size} bytes are more than the {LARGEST_FILE} that are read of an event file. "
                "Save the scalars you need as CSV, and name that file with --scalars"
            )
        try:
            for record in _records(source):
                if record is None:
                    large += 1
                else:
                    yield record
        except _DamagedRecordError as error:
            if findings is not None:
                findings.append(_unreadable(path, str(error)))
    if large and findings is not None:
        sentence = f"{path}: {large} records above {LARGEST_RECORD >> 20} MiB, such as images or graphs, are not read."
        findings.append(Finding("scores_large_records", "info", sentence))


def _unreadable(path: str, reason: str) -> Finding:
    sentence = f"{path}: {reason}; it is read up to there. Copy the file again if the original is intact."
    return Finding("scores_unreadable", "warning", sentence)


def _records(source: Source) -> Iterator[bytes | None]:
    """Yield the bytes of each complete record; None for one that is too large.

    Raises:
        _DamagedRecordError: a checksum does not match.
    """
    size = source.stamp.size
    blocks = _Blocks(source)
    at = 0
    while at + _HEADER.size <= size:
        header = blocks.read(at, _HEADER.size)
        length, checksum = _HEADER.unpack(header)
        if _masked_crc(header[:8]) != checksum:
            raise _DamagedRecordError(f"the record at byte {at} is damaged")
        end = at + _HEADER.size + length + 4
        if end > size:
            return
        if length > LARGEST_RECORD:
            yield None
        else:
            data = blocks.read(at + _HEADER.size, length + 4)
            if length <= _CHECKED_BYTES and _masked_crc(data[:-4]) != int.from_bytes(data[-4:], "little"):
                raise _DamagedRecordError(f"the record at byte {at} is damaged")
            yield data[:-4]
        at = end


class _Blocks:
    """Reads small ranges of a file through blocks of 1 MiB, so that a remote one takes few requests."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._start = 0
        self._block = b""

    def read(self, at: int, length: int) -> bytes:
        """Return ``length`` bytes from ``at`` on."""
        if not self._start <= at <= at + length <= self._start + len(self._block):
            self._start = at
            size = min(max(length, _BLOCK), self._source.stamp.size - at)
            self._block = bytes(self._source.read(at, size))
        return self._block[at - self._start : at - self._start + length]


@cache
def _crc_table() -> tuple[int, ...]:
    """Return the table of CRC-32C, the Castagnoli polynomial in reversed order."""
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


def _masked_crc(data: bytes) -> int:
    table = _crc_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
