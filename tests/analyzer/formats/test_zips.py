"""The directory of a zip archive, record by record: each length, count and position must agree with the others."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest
from formats_testing import write, zipped

from analyzer.errors import CheckpointError
from analyzer.formats import zips
from analyzer.formats.zips import Archive
from analyzer.sources import LocalSource

FILES = {"a": b"1234567", "folder/b": b"", "c": bytes(range(100))}
END, END_64, LOCATOR_64 = 22, 56, 20  # bytes of the records at the end


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.zip"


def read(path: Path, data: bytes, begin: int = 0, length: int | None = None) -> dict[str, bytes]:
    """Every entry's stored bytes, each located by its own header."""
    with LocalSource(write(path, data)) as source:
        archive = Archive(source, begin, length)
        return {
            name: bytes(source.read(archive.locate(entry), entry.length)) for name, entry in archive.entries.items()
        }


def assert_rejected(path: Path, data: bytes, word: str, begin: int = 0, length: int | None = None) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(path, data, begin, length)
    assert str(caught.value).startswith(f"{path}: ") and word in str(caught.value)


def patched(data: bytes, place: int, form: str, value: int) -> bytes:
    """The data with one number replaced; a negative place counts from the end."""
    changed = bytearray(data)
    struct.pack_into(f"<{form}", changed, place if place >= 0 else len(data) + place, value)
    return bytes(changed)


def number(data: bytes, place: int, form: str) -> int:
    (value,) = struct.unpack_from(f"<{form}", data, place if place >= 0 else len(data) + place)
    return int(value)


def with_zip64(data: bytes) -> bytes:
    """The archive with the 64-bit end record and its locator before a plain end record that refers to them."""
    count, size, offset = (number(data, place, form) for place, form in ((-12, "H"), (-10, "I"), (-6, "I")))
    body = data[:-END]
    end_64 = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(body), 1)
    return body + end_64 + locator + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, *[0xFFFF] * 2, *[2**32 - 1] * 2, 0)


@pytest.mark.parametrize("convert", [lambda data: data, with_zip64], ids=["plain", "64-bit"])
def test_every_entry_is_where_it_was_written(path: Path, convert) -> None:
    data = convert(zipped(FILES))
    assert read(path, data) == FILES
    assert read(path, b"before" + data + b"after", 6, len(data)) == FILES
    assert_rejected(path, b"before" + data, "it is damaged or not a single archive")
    assert_rejected(path, b"before" + data + b"after", "it is damaged or not a single archive", 5, len(data) + 1)


def test_an_archive_with_a_comment_is_rejected(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", b"1")
        file.comment = b"hello"
    assert_rejected(path, path.read_bytes(), "does not end with the end record")
    assert_rejected(path, patched(zipped(FILES), -2, "H", 5), "it is split, or has a comment")


@pytest.mark.parametrize("place", [-18, -16, -14], ids=["disk", "disk of the directory", "entries on this disk"])
def test_a_split_archive_is_rejected(path: Path, place: int) -> None:
    data = zipped(FILES)
    assert_rejected(path, patched(data, place, "H", number(data, place, "H") + 1), "it is split")


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("place", [-10, -6], ids=["length", "offset"])
def test_a_directory_whose_declared_place_disagrees_is_rejected(path: Path, place: int, change: int) -> None:
    data = zipped(FILES)
    assert_rejected(path, patched(data, place, "I", number(data, place, "I") + change), "its directory should end at")


@pytest.mark.parametrize("change", [-1, 1])
def test_a_directory_whose_declared_length_leaves_bytes_over_is_rejected(path: Path, change: int) -> None:
    """Length and offset agree with each other, but not with the entries."""
    data = zipped(FILES)
    moved = patched(data, -10, "I", number(data, -10, "I") - change)
    moved = patched(moved, -6, "I", number(data, -6, "I") + change)
    assert_rejected(path, moved, "its directory is truncated")
    extended = data[:-END] + bytes(3) + patched(data, -10, "I", number(data, -10, "I") + 3)[-END:]
    size = number(extended, -10, "I")
    assert_rejected(path, extended, f"3 entries in {size - 3} bytes but 3 in {size} are declared")


@pytest.mark.parametrize("change", [-1, 1])
def test_a_declared_number_of_entries_that_disagrees_is_rejected(path: Path, change: int) -> None:
    data = zipped(FILES)
    for place in (-14, -12):
        data = patched(data, place, "H", len(FILES) + change)
    assert_rejected(path, data, f"bytes but {len(FILES) + change} in ")


@pytest.mark.parametrize(
    "place, form, value, word",
    [
        (0, "I", 0x06064B51, "its end record is not where its locator points"),
        (4, "Q", 45, "its end record has an unknown length"),
        (16, "I", 1, "it is split"),
        (20, "I", 1, "it is split"),
        (24, "Q", 2, "it is split"),
        (END_64 + 8, "Q", 0, "its end record is not where its locator points"),
        (END_64 + 16, "I", 2, "its end record is not where its locator points"),
    ],
)
def test_a_64_bit_end_record_is_checked(path: Path, place: int, form: str, value: int, word: str) -> None:
    data = with_zip64(zipped(FILES))
    assert_rejected(path, patched(data, len(data) - END - LOCATOR_64 - END_64 + place, form, value), word)


def test_the_limits_of_a_directory_are_inclusive(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped(FILES)
    size = number(data, -10, "I")
    monkeypatch.setattr(zips, "DIRECTORY_LIMIT", size)
    monkeypatch.setattr(zips, "MOST_ENTRIES", len(FILES))
    assert read(path, data) == FILES
    monkeypatch.setattr(zips, "DIRECTORY_LIMIT", size - 1)
    assert_rejected(path, data, f"a directory of 3 entries in {size} bytes is declared")
    monkeypatch.setattr(zips, "DIRECTORY_LIMIT", size)
    monkeypatch.setattr(zips, "MOST_ENTRIES", len(FILES) - 1)
    assert_rejected(path, data, f"a directory of 3 entries in {size} bytes is declared")


def test_a_comment_of_an_entry_may_fill_the_directory_but_not_exceed_it(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        info = zipfile.ZipInfo("a")
        info.comment = b"why"
        file.writestr(info, b"1")
    data = path.read_bytes()
    assert read(path, data) == {"a": b"1"}
    place = data.index(b"PK\x01\x02") + 32
    assert_rejected(path, patched(data, place, "H", 4), "its directory is truncated")


def test_a_small_entry_is_read_up_to_the_limit_and_against_its_checksum(path: Path) -> None:
    data = zipped({"a": b"1234567"})
    with LocalSource(write(path, data)) as source:
        archive = Archive(source)
        assert archive.read(archive.entries["a"], 7) == b"1234567"
        with pytest.raises(CheckpointError, match="'a' has 7 bytes, more than the limit of 6"):
            archive.read(archive.entries["a"], 6)
    with LocalSource(write(path, data.replace(b"1234567", b"1234568"))) as source:
        archive = Archive(source)
        with pytest.raises(CheckpointError, match="its checksum does not match"):
            archive.read(archive.entries["a"], 7)


def test_an_entry_without_a_checksum_is_read(path: Path) -> None:
    """torch writes 0 if it is told not to compute checksums."""
    data = zipped({"a": b"1234567"})
    with LocalSource(write(path, patched(data, data.index(b"PK\x01\x02") + 16, "I", 0))) as source:
        archive = Archive(source)
        assert archive.read(archive.entries["a"], 7) == b"1234567"


def test_the_directory_may_have_another_order_than_the_file(path: Path) -> None:
    data = zipped({name: bytes([number]) * 5000 for number, name in enumerate("abc")})
    start = data.index(b"PK\x01\x02")
    entries = data[start:-END].split(b"PK\x01\x02")[1:]
    backwards = data[:start] + b"".join(b"PK\x01\x02" + entry for entry in reversed(entries)) + data[-END:]
    found = read(path, backwards)
    assert list(found) == ["c", "b", "a"] and found == read(path, data)


def test_sizes_may_be_missing_from_a_local_header_only_if_its_flag_says_so(path: Path) -> None:
    data = zipped({"a": b"1234567"})
    without = patched(patched(data, 18, "I", 0), 22, "I", 0)
    assert read(path, patched(without, 6, "H", 8)) == {"a": b"1234567"}
    with_marks = patched(patched(data, 18, "I", 2**32 - 1), 22, "I", 2**32 - 1)  # "see the extra field"
    for flags in (0, 8):
        assert read(path, patched(with_marks, 6, "H", flags)) == {"a": b"1234567"}
    for flags in (0, 4):
        assert_rejected(path, patched(without, 6, "H", flags), "contradicts the directory")
    assert_rejected(path, patched(patched(data, 18, "I", 6), 6, "H", 8), "contradicts the directory")


def wide(extra: bytes, size: int = 2**32 - 1) -> bytes:
    """An archive of one entry whose stored length (and inflated size) the directory has in an extra field."""
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 45, 0, 0, 0, 0, 0, 2**32 - 1, 2**32 - 1, 1, 0) + b"a" + b"1234567"
    entry = struct.pack(
        "<4s6H3I5H2I", b"PK\x01\x02", 45, 45, 0, 0, 0, 0, 0, 2**32 - 1, size, 1, len(extra), 0, 0, 0, 0, 0
    )
    directory = entry + b"a" + extra
    return local + directory + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), len(local), 0)


def test_64_bit_sizes_are_taken_from_the_extra_field(path: Path) -> None:
    other = struct.pack("<2H3s", 0x5455, 3, b"abc")
    field = struct.pack("<2H2Q", 1, 16, 7, 7)
    for extra in (field, other + field, field + other):
        assert read(path, wide(extra)) == {"a": b"1234567"}
    assert read(path, wide(struct.pack("<2HQ", 1, 8, 7), size=7)) == {"a": b"1234567"}
    for extra in (b"", other, field[:12], struct.pack("<2HQ", 1, 8, 7), struct.pack("<2H15s", 1, 15, bytes(15))):
        assert_rejected(path, wide(extra), "the 64-bit sizes of 'a' are missing")


def test_an_entry_may_end_where_the_next_begins_but_not_behind_it(path: Path) -> None:
    data = zipped(FILES)
    assert read(path, data) == FILES
    assert_rejected(path, patched(data, 28, "H", 1), "overlaps what follows it")  # one more byte before its content
