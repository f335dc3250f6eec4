"""Find where a pickle ends without interpreting it: by the lengths of its opcodes' arguments.

A file can contain several pickles, one after the other, and only their own STOP opcodes separate them. The lengths are
those of Lib/pickletools.py of CPython.
"""

from __future__ import annotations

from collections.abc import Mapping

from analyzer.errors import CheckpointError
from analyzer.formats.pickles import PICKLE_LIMIT
from analyzer.sources import Source

FIRST_BLOCK, LARGEST_BLOCK = 64 << 10, 1 << 20  # bytes of one request while the end is not known yet

_STOP = ord(".")
_NO_ARGUMENT = b"(.012NQRabdelostu)]}\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98"
_FIXED: Mapping[int, int] = {
    **dict.fromkeys(_NO_ARGUMENT, 0),
    **dict.fromkeys(b"Khq\x80\x82", 1),
    **dict.fromkeys(b"M\x83", 2),
    **dict.fromkeys(b"Jjr\x84", 4),
    **dict.fromkeys(b"G\x95", 8),
}
_LINES: Mapping[int, int] = {**dict.fromkeys(b"ILFSVPgp", 1), **dict.fromkeys(b"ci", 2)}
# The width of the length that precedes the argument.
_COUNTED: Mapping[int, int] = {
    **dict.fromkeys(b"UC\x8a\x8c", 1),
    **dict.fromkeys(b"TXB\x8b", 4),
    **dict.fromkeys(b"\x8d\x8e\x96", 8),
}


class _Scanner:
    """Walks over opcodes; ``position`` is the first opcode that is not passed yet."""

    def __init__(self) -> None:
        self.position = 0
        self._searched = 0  # of an unfinished line, so that growing data is searched once
        self._lines = 0

    def end(self, data: bytearray) -> int | None:
        """Return where the pickle ends, None if ``data`` ends before; call again with more data then.

        Raises:
            ValueError: an opcode is unknown.
        """
        while self.position < len(data):
            code = data[self.position]
            if code == _STOP:
                return self.position + 1
            following = self._following(data, code)
            if following is None:
                return None
            self.position = following
        return None

    def _following(self, data: bytearray, code: int) -> int | None:
        """Return where the next opcode is, perhaps beyond the data; None if the data do not tell yet."""
        argument = self.position + 1
        if code in _FIXED:
            return argument + _FIXED[code]
        if code in _LINES:
            return self._after_lines(data, argument, _LINES[code])
        if code not in _COUNTED:
            raise ValueError(f"unknown opcode {code}")
        begin = argument + _COUNTED[code]
        return begin + int.from_bytes(data[argument:begin], "little") if begin <= len(data) else None

    def _after_lines(self, data: bytearray, argument: int, count: int) -> int | None:
        self._searched = max(self._searched, argument)
        while self._lines < count:
            newline = data.find(b"\n", self._searched)
            self._searched = len(data) if newline < 0 else newline + 1
            if newline < 0:
                return None
            self._lines += 1
        self._lines = 0
        return self._searched


class PickleReader:
    """Reads pickles that follow each other in a file; ``position`` is where the next one begins.

    Blocks grow with the pickle, so that at most about as many bytes as it has are read beyond its end.
    """

    def __init__(self, source: Source, position: int = 0) -> None:
        self.position = position
        self._source = source
        self._data = bytearray()

    def next(self) -> bytes:
        """Return the next pickle, whole.

        Raises:
            CheckpointError: the file ends before it does, or it is larger than :data:`PICKLE_LIMIT`.
        """
        scanner = _Scanner()
        while (end := self._end(scanner)) is None:
            self._read_more(scanner.position)
        pickled = bytes(self._data[:end])
        del self._data[:end]
        self.position += end
        return pickled

    def _end(self, scanner: _Scanner) -> int | None:
        try:
            return scanner.end(self._data)
        except ValueError as error:
            raise CheckpointError(
                f"{self._source.path}: its pickle is invalid (byte {self.position + scanner.position}): {error}. "
                "Copy it again."
            ) from None

    def _read_more(self, needed: int) -> None:
        """Append a block, at least up to the opcode at ``needed`` if the file reaches that far."""
        begin = self.position + len(self._data)
        left = self._source.stamp.size - begin
        if left <= 0 or needed >= len(self._data) + left:
            raise CheckpointError(f"{self._source.path}: ends within a pickle: it is truncated. Copy it again.")
        if max(needed, len(self._data)) >= PICKLE_LIMIT:
            raise CheckpointError(
                f"{self._source.path}: its pickle has more than the limit of {PICKLE_LIMIT} bytes; save the weights "
                "alone"
            )
        block = max(min(max(len(self._data), FIRST_BLOCK), LARGEST_BLOCK), needed + 1 - len(self._data))
        self._data += self._source.read(begin, min(block, left))
