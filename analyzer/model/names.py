"""Sort names from files in natural order, and make them safe to show. They are untrusted and never become paths."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from hashlib import sha256

_MOST_BYTES = 80  # so that two names and a few words still fit into a file name
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # devices on Windows


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that puts ``layers.10`` after ``layers.2``."""
    return tuple(
        (1, int(part), "") if part.isdecimal() and part.isascii() else (0, 0, part)
        for part in re.split(r"([0-9]{1,18})", name)
        if part  # skip the empty parts around a leading or trailing number
    )


def printable(text: str, limit: int = 0) -> str:
    """Return the text with line breaks, terminal escapes and direction marks made visible.

    Args:
        text: the text.
        limit: the maximum length in characters, beyond which the middle is cut out; 0 for no limit.
    """
    safe = "".join(
        character if character == " " or unicodedata.category(character)[0] not in "CZ" else _escaped(character)
        for character in text
    )
    if limit and len(safe) > limit:
        half = (limit - 1) // 2
        return f"{safe[:half]}…{safe[len(safe) - (limit - 1 - half) :]}"
    return safe


def is_text(name: str) -> bool:
    """Check whether a file name is valid text; on POSIX, a name may be any bytes."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def listed(names: Sequence[str], most: int = 5, limit: int = 80) -> str:
    """Join the first few names in printable form, ``a, b and c``, and state how many more there are.

    Args:
        names: the names.
        most: how many are shown.
        limit: the maximum length of each in characters; 0 for no limit, as for paths.
    """
    parts = [printable(name, limit) for name in names[:most]]
    if len(names) > most:
        parts.append(f"{len(names) - most} more")
    return " and ".join([*filter(None, [", ".join(parts[:-1])]), *parts[-1:]])


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def slug(text: str) -> str:
    """Return a file name that is valid on any system, from the letters and digits of a text; empty if it has none.

    Letters of any script are kept, in NFC, so that names that look the same are the same. A few hexadecimal digits
    replace the end of a long name.
    """
    kept = ""
    for character in unicodedata.normalize("NFC", text):
        kept += character if _is_safe(character, kept[-1:]) else "-"
    name = re.sub("--+", "-", kept).strip(".-")
    if _RESERVED.fullmatch(name):
        name = f"run-{name}"
    if len(name.encode()) <= _MOST_BYTES:
        return name
    digits = sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: _MOST_BYTES - 9].decode(errors='ignore').rstrip('.-')}-{digits}"


def _is_safe(character: str, before: str) -> bool:
    """Check whether a character may be part of a file name; a combining mark only after a character it can modify."""
    category = unicodedata.category(character)
    return (
        character in "._-"
        or category[0] == "L"
        or category == "Nd"
        or (category[0] == "M" and before not in ("", *"._-"))
    )
