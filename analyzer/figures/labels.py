"""Names from checkpoints as text that is safe to draw: visible, in order, and no wider than its place.

A tensor's name is whatever a stranger wrote into a file. Control characters, marks that reverse the direction
of reading, combining marks and signs that the font lacks are shown as escapes; long names lose their middle.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import takewhile

from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font

from analyzer.figures.style import FONT, SMALL_SIZE

ELLIPSIS = "…"
_MOST_CHARACTERS = 1000  # more would never fit; looking at more of a hostile name is wasted time
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})


def safe_text(text: str) -> str:
    r"""Give ``text`` with what is not plainly visible written as an escape such as ``\n`` or ``\u202e``."""
    return "".join(_visible(character) for character in text)


def text_width(text: str, size: float = SMALL_SIZE) -> float:
    """Give the width of one line of safe text in points."""
    return sum(_advance(character) for character in text) * size


def fitted(name: str, width: float, size: float = SMALL_SIZE) -> str:
    """Give ``name`` as safe text no wider than ``width`` points, without its middle if need be."""
    shortened = len(name) > _MOST_CHARACTERS
    kept = name[: _MOST_CHARACTERS // 2] + name[-_MOST_CHARACTERS // 2 :] if shortened else name
    pieces = [_visible(character) for character in kept]
    if not pieces:
        return "(empty name)"
    if not shortened and sum(text_width(piece, size) for piece in pieces) <= width:
        return "".join(pieces)
    room = width - text_width(ELLIPSIS, size)
    head: list[str] = []
    tail: list[str] = []
    head_width = tail_width = 0.0
    while pieces:
        at_end = tail_width <= head_width
        piece = pieces.pop(-1 if at_end else 0)
        piece_width = text_width(piece, size)
        if head_width + tail_width + piece_width > room:
            break
        if at_end:
            tail.append(piece)
            tail_width += piece_width
        else:
            head.append(piece)
            head_width += piece_width
    return "".join(head) + ELLIPSIS + "".join(reversed(tail))


def short_labels(names: Sequence[str], width: float, size: float = SMALL_SIZE) -> tuple[list[str], str]:
    """Give a label for each name, none wider than ``width`` points, and what all of them lack.

    Where names are too long, the parts up to a dot with which all begin or end are dropped first, and the
    second result says so; it is empty otherwise. Names that still come out alike get their number.
    """
    begin, end = _shared_ends(names, width, size)
    kept = [name[len(begin) : len(name) - len(end)] for name in names]
    labels = [fitted(name, width, size) for name in kept]
    alike = {label for label, count in Counter(labels).items() if count > 1}
    for index, label in enumerate(labels):
        if label in alike:
            number = f" #{index + 1}"
            labels[index] = fitted(kept[index], width - text_width(number, size), size) + number
    said = [f"{verb} {fitted(part, 200, size)}" for verb, part in (("begins with", begin), ("ends with", end)) if part]
    return labels, f"every layer's name {' and '.join(said)}, left out here" if said else ""


def _shared_ends(names: Sequence[str], width: float, size: float) -> tuple[str, str]:
    if len(names) < 2 or all(fitted(name, width, size) == safe_text(name) for name in names):
        return "", ""
    parts = [name.split(".") for name in names]
    fewest = min(len(each) for each in parts)
    first = _count_shared(parts, fewest - 1)
    last = _count_shared([each[::-1] for each in parts], fewest - 1 - first)
    begin = "".join(f"{part}." for part in parts[0][:first])
    return begin, "".join(f".{part}" for part in parts[0][len(parts[0]) - last :])


def _count_shared(parts: Sequence[Sequence[str]], most: int) -> int:
    shared = takewhile(lambda column: len(set(column)) == 1, zip(*parts, strict=False))
    return min(most, sum(1 for _ in shared))


@lru_cache(maxsize=4096)
def _visible(character: str) -> str:
    code = ord(character)
    if character == "\\":
        return "\\\\"
    plain = (
        unicodedata.category(character)[0] in "LNPS"
        and unicodedata.bidirectional(character) not in _RIGHT_TO_LEFT
        and _font().get_char_index(code) != 0
    )
    if plain or character == " ":
        return character
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    if named:
        return named
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@lru_cache(maxsize=4096)
def _advance(character: str) -> float:
    """Give the width of a character in units of the font size."""
    font = _font()
    font.set_size(100, 72)
    return float(font.load_char(ord(character)).linearHoriAdvance) / 65536 / 100


@cache
def _font() -> FT2Font:
    return FT2Font(findfont(FONT))
