"""Names from files: brought into a natural order, and made safe to show. They are untrusted and never become paths."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from hashlib import sha256

_MOST_BYTES = 80  # two of them and a few words still make a file name
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # devices on Windows


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key under which ``layers.10`` comes after ``layers.2``."""
    return tuple(
        (1, int(part), "") if part.isdecimal() and part.isascii() else (0, 0, part)
        for part in re.split(r"([0-9]{1,18})", name)
        if part  # the empty parts around a leading or closing number
    )


def printable(text: str, limit: int = 0) -> str:
    """The text with line breaks, terminal escapes and direction marks made visible; cut in the middle at ``limit``."""
    safe = "".join(
        character if character == " " or unicodedata.category(character)[0] not in "CZ" else _escaped(character)
        for character in text
    )
    if limit and len(safe) > limit:
        half = (limit - 1) // 2
        return f"{safe[:half]}…{safe[len(safe) - (limit - 1 - half) :]}"
    return safe


def is_text(name: str) -> bool:
    """Whether a file name is text that can be stored; on POSIX it may be any bytes."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names, printable, and how many more there are."""
    text = ", ".join(printable(name, 80) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def slug(text: str) -> str:
    """A name that a file may have on any system, of the letters and digits of a text; empty where it has none.

    They may be of any script, as NFC, so that a name that looks the same is the same. Of a long name, a few hexadecimal
    digits stand for what is cut off.
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
    """Whether a character may stand in a file name; a mark, such as an accent, only on what it belongs to."""
    category = unicodedata.category(character)
    return (
        character in "._-"
        or category[0] == "L"
        or category == "Nd"
        or (category[0] == "M" and before not in ("", *"._-"))
    )
