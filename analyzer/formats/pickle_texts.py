"""Parse strings and numbers that Python 2 and protocol 0 write into a pickle."""

from __future__ import annotations

import re


def python_2_text(data: bytes) -> str:
    """Decode a string of Python 2, which states no encoding: UTF-8 if valid, else Latin-1."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def quoted(line: bytes) -> str:
    """Parse a quoted string of protocol 0."""
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise ValueError("a string has no quotes")
    return python_2_text(re.sub(rb"\\(x[0-9a-fA-F]{2}|.)", _unescaped_byte, line[1:-1], flags=re.DOTALL))


_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b"'": b"'", b'"': b'"'}


def _unescaped_byte(match: re.Match[bytes]) -> bytes:
    escape = match[1]
    if len(escape) == 3:
        return bytes([int(escape[1:], 16)])
    if escape not in _ESCAPES:
        raise ValueError("a string has an unknown escape")
    return _ESCAPES[escape]


def raw_unicode(line: bytes) -> str:
    r"""Decode text of protocol 0: Latin-1 with \uXXXX and \UXXXXXXXX; the library's codec would need an import."""
    text = re.sub(
        r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))",
        lambda match: chr(int(match[1] or match[2], 16)),
        line.decode("latin-1"),
    )
    text.encode("utf-8")  # rejects lone surrogates, as the other opcodes for text do
    return text


def decimal(line: bytes) -> int | bool:
    """Parse an integer or a boolean of protocol 0."""
    if line in (b"00", b"01"):
        return line == b"01"
    return int(line.removesuffix(b"L"))
