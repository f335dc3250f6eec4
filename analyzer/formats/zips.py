"""Read the directory of a zip archive strictly: where each entry's bytes are in the file.

The standard library's zipfile module searches for the directory, and accepts data before the archive and overlaps
inside it. Here an archive must fill its file (or a window of it) exactly, or it is rejected. Layout of the records:
APPNOTE.TXT 6.3.10 (PKWARE), sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from analyzer.errors import CheckpointError
from analyzer.formats.impostors import reject_impostor
from analyzer.sources import Source

STORED, DEFLATED = 0, 8
DIRECTORY_LIMIT = 256 << 20
MOST_ENTRIES = 1_000_000
_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_END_64, _LOCATOR_64 = b"PK\x06\x06", b"PK\x06\x07"
_ENCRYPTED, _SIZES_FOLLOW = 0x1, 0x8
_IN_EXTRA = 0xFFFFFFFF  # the actual number is 64 bits wide and is in the extra field
_READ_AHEAD = 4096  # bytes; one read then covers local headers that are close together


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in an archive: ``length`` stored bytes, ``size`` inflated ones, between ``header`` and ``until``.

    ``crc32`` is the writer's CRC-32 of the inflated bytes; 0 if torch computed none, which is an option
    (torch.serialization.set_crc32_options) and the case for storages that are filled in later (skip_data).
    """

    name: str
    method: int
    length: int
    size: int
    header: int
    until: int
    crc32: int


class Archive:
    """A zip archive that fills ``length`` bytes of a file from ``begin`` on (all of it by default).

    Raises:
        CheckpointError: not a complete zip archive, or one that contradicts itself.
    """

    def __init__(self, source: Source, begin: int = 0, length: int | None = None) -> None:
        self.path = source.path
        self._source = source
        self._begin = begin
        self._end = source.stamp.size if length is None else begin + length
        self._block, self._block_start = bytearray(), 0
        try:
            self.entries: Mapping[str, Entry] = self._read_directory()
        except (struct.error, IndexError):
            raise self.error("its directory is truncated") from None

    def error(self, reason: str) -> CheckpointError:
        """Return an error with the file, the reason and the remedy."""
        return CheckpointError(f"{self.path}: {reason}; it is damaged or not a single archive. Copy it again.")

    def locate(self, entry: Entry) -> int:
        """Return where the entry's bytes begin in the file.

        Raises:
            CheckpointError: the entry's local header contradicts the directory.
        """
        try:
            header = self._bytes(entry.header, 30)
            signature, _, flags, method, _, _, _, length, size, name, extra = struct.unpack("<4s5H3I2H", header)
            local_name = self._bytes(entry.header + 30, name)
        except struct.error:
            raise self.error(f"the header of {entry.name!r} is truncated") from None
        begin: int = entry.header + 30 + name + extra
        unknown = (0, _IN_EXTRA) if flags & _SIZES_FOLLOW else (_IN_EXTRA,)
        agrees = (
            signature == _LOCAL
            and method == entry.method
            and not flags & _ENCRYPTED
            and local_name == entry.name.encode()
            and length in (entry.length, *unknown)
            and size in (entry.size, *unknown)
        )
        if not agrees:
            raise self.error(f"the header of {entry.name!r} contradicts the directory")
        if begin + entry.length > entry.until:
            raise self.error(f"{entry.name!r} overlaps what follows it")
        return begin

    def read(self, entry: Entry, limit: int) -> bytearray:
        """Read a small stored entry and verify its checksum.

        Raises:
            CheckpointError: the entry is compressed, larger than ``limit``, or changed after it was written.
        """
        if entry.method != STORED:
            raise self.error(f"{entry.name!r} is compressed, which no writer of this format does")
        if entry.length > limit:
            raise CheckpointError(
                f"{self.path}: {entry.name!r} has {entry.length} bytes, more than the limit of {limit}; "
                "save the weights alone"
            )
        data = self._source.read(self.locate(entry), entry.length)
        if entry.crc32 and zlib.crc32(data) != entry.crc32:
            raise self.error(f"{entry.name!r} was changed after it was written: its checksum does not match")
        return data

    def _read_directory(self) -> dict[str, Entry]:
        start, size, count = self._read_end()
        if size > DIRECTORY_LIMIT or count > MOST_ENTRIES:
            raise self.error(f"a directory of {count} entries in {size} bytes is declared")
        data = bytes(self._source.read(start, size))
        entries: dict[str, Entry] = {}
        position = 0
        while position < size and len(entries) < count:
            name, method, length, inflated, header, crc32, position = self._read_entry(data, position)
            if name in entries:
                raise self.error(f"{name!r} occurs twice in it")
            entries[name] = Entry(name, method, length, inflated, self._begin + header, start, crc32)
        if position != size or len(entries) != count:
            raise self.error(
                f"its directory has {len(entries)} entries in {position} bytes but {count} in {size} are declared"
            )
        return self._without_overlap(entries)

    def _read_end(self) -> tuple[int, int, int]:
        """Return the directory's start, size and number of entries, from the record at the end of the archive."""
        tail = self._source.read(max(self._begin, self._end - 98), min(98, max(0, self._end - self._begin)))
        if tail[-22:-18] != _END:
            reject_impostor(self._source, self._begin)
            raise self.error("does not end with the end record of a zip archive")
        disk, start_disk, here, count, size, offset, comment = struct.unpack("<4H2IH", tail[-18:])
        end = self._end - 22
        if tail[-42:-38] == _LOCATOR_64:
            _, position, disks = struct.unpack("<IQI", tail[-38:-22])
            end = self._end - 98
            if len(tail) < 98 or tail[:4] != _END_64 or self._begin + position != end or disks > 1:
                raise self.error("its end record is not where its locator points")
            (length, _, _, disk, start_disk, here, count, size, offset) = struct.unpack("<Q2H2I4Q", tail[4:56])
            if length != 44:
                raise self.error("its end record has an unknown length")
        if disk or start_disk or here != count or comment:
            raise self.error("it is split, or has a comment")
        start = self._begin + offset
        if start + size != end:
            raise self.error(f"its directory should end at byte {start + size} but ends at {end}")
        return start, size, count

    def _read_entry(self, data: bytes, position: int) -> tuple[str, int, int, int, int, int, int]:
        signature, _, _, flags, method, _, _, crc32, *numbers = struct.unpack_from("<4s6H3I5H2I", data, position)
        length, size, name_length, extra_length, comment, disk, _, _, header = numbers
        after_name = position + 46 + name_length
        after_extra = after_name + extra_length
        if signature != _CENTRAL or after_extra + comment > len(data) or disk:
            raise self.error("its directory is truncated")
        try:
            name = data[position + 46 : after_name].decode("utf-8")
        except UnicodeDecodeError:
            raise self.error("an entry's name is not UTF-8") from None
        wide = _wide_numbers(data[after_name:after_extra], [size, length, header])
        if wide is None:
            raise self.error(f"the 64-bit sizes of {name!r} are missing")
        size, length, header = wide
        if flags & _ENCRYPTED:
            raise CheckpointError(f"{self.path}: {name!r} is encrypted; decrypt the archive first")
        if method not in (STORED, DEFLATED):
            raise CheckpointError(
                f"{self.path}: {name!r} is compressed by method {method}, which is not supported; save it with "
                "numpy.savez"
            )
        if method == STORED and length != size:
            raise self.error(f"{name!r} has {length} stored bytes but a size of {size}")
        return name, method, length, size, header, crc32, after_extra + comment

    def _without_overlap(self, entries: dict[str, Entry]) -> dict[str, Entry]:
        """Return each entry with the position where the next one begins; the first must begin the archive."""
        in_place = sorted(entries.values(), key=lambda entry: entry.header)
        if in_place and in_place[0].header != self._begin:
            raise self.error("its first entry does not begin it")
        untils = [entry.header for entry in in_place[1:]] + [entry.until for entry in in_place[-1:]]
        bounded = {}
        for entry, until in zip(in_place, untils, strict=True):
            if entry.header + 30 + len(entry.name.encode()) + entry.length > until:
                raise self.error(f"{entry.name!r} overlaps what follows it")
            bounded[entry.name] = replace(entry, until=until)
        return {name: bounded[name] for name in entries}

    def _bytes(self, start: int, length: int) -> bytes:
        """Return a few bytes at ``start``, from the block that was read last if it contains them."""
        within = start - self._block_start
        if within < 0 or within + length > len(self._block):
            wanted = min(max(length, _READ_AHEAD), self._end - start)
            self._block, self._block_start, within = self._source.read(start, max(0, wanted)), start, 0
        return bytes(self._block[within : within + length])


def _wide_numbers(extra: bytes, numbers: list[int]) -> list[int] | None:
    """Return (size, length, header) with numbers from the 64-bit extra field filled in; None if they are missing."""
    if _IN_EXTRA not in numbers:
        return numbers
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            missing = numbers.count(_IN_EXTRA)
            field = extra[position + 4 : position + 4 + length]
            if len(field) < 8 * missing:
                return None
            wide = iter(struct.unpack_from(f"<{missing}Q", field))
            return [next(wide) if number == _IN_EXTRA else number for number in numbers]
        position += 4 + length
    return None
