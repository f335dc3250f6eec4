"""Turn names from checkpoints into text that is safe to draw: visible, in order, and no wider than its place.

A tensor's name comes from a file that anyone may have written. Control characters, characters that reverse the
reading direction, combining characters and those that the font lacks are shown as escapes; long names lose their
middle.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import takewhile

from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font

from analyzer.figures.drawing.style import FONT, SMALL_SIZE

ELLIPSIS = "…"
_MAX_CHARACTERS = 1000  # more would never fit, and a hostile name may be very long
_MAX_IN_PATH = 200  # characters; a longer name is not cut word by word
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})


def safe_text(text: str) -> str:
    r"""Return ``text`` with everything that is not plainly visible as an escape such as ``\n`` or ``\u202e``."""
    return "".join(_visible(character) for character in text)


def text_width(text: str, size: float = SMALL_SIZE) -> float:
    """Return the width of one line of safe text in points."""
    return sum(_advance(character) for character in text) * size


def fitted(name: str, width: float, size: float = SMALL_SIZE) -> str:
    """Return ``name`` as safe text no wider than ``width`` points; a name that is too long loses its middle."""
    shortened = len(name) > _MAX_CHARACTERS
    kept = name[: _MAX_CHARACTERS // 2] + name[-_MAX_CHARACTERS // 2 :] if shortened else name
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


def wrapped(text: str, width: float, size: float = SMALL_SIZE) -> list[str]:
    """Return safe text in lines no wider than ``width`` points; only a word wider than that is cut."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
            continue
        lines += _pieces(word, width, size)
    return lines


def _pieces(word: str, width: float, size: float) -> list[str]:
    """Return a word in pieces no wider than ``width`` points."""
    pieces = [""]
    for character in word:
        if pieces[-1] and text_width(pieces[-1] + character, size) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces


def short_labels(names: Sequence[str], width: float, size: float = SMALL_SIZE) -> tuple[list[str], str]:
    """Return a label for each name, none wider than ``width`` points, and a note on the parts that all labels lack.

    If names are too long, the dot-separated parts with which all of them begin or end are dropped first, and the note
    names these parts; it is empty otherwise. Names that are still too long lose the parts before their first number
    that all of them share. Then words are cut, but never a part with a number in it. Labels that would still be equal
    get a number.
    """
    begin, end = _shared_ends(names, width, size)
    kept = [name[len(begin) : len(name) - len(end)] for name in names]
    if not all(kept):  # nothing would be left of one of the names
        begin, end, kept = "", "", list(names)
    if not all(_fits(name, width, size) for name in kept):
        kept = _without_shared_paths(kept)
    labels = [_with_numbers(name, width, size) for name in kept]
    alike = {label for label, count in Counter(labels).items() if count > 1}
    for index, label in enumerate(labels):
        if label in alike:
            number = f" #{index + 1}"
            labels[index] = fitted(kept[index], width - text_width(number, size), size) + number
    dropped = [
        f"{verb} {fitted(part, 200, size)}" for verb, part in (("begins with", begin), ("ends with", end)) if part
    ]
    return labels, f"every layer's name {' and '.join(dropped)}, left out here" if dropped else ""


def _fits(name: str, width: float, size: float) -> bool:
    return fitted(name, width, size) == safe_text(name)


def _without_shared_paths(names: Sequence[str]) -> list[str]:
    """Drop the parts before the first number that all names with a number share: ``…11.attention.output.dense``."""
    parts = [name.split(".") for name in names]
    paths = [list(takewhile(_is_word, each)) for each in parts]
    distinct = {tuple(path) for path, each in zip(paths, parts, strict=True) if len(path) < len(each)}
    fewest = min(map(len, distinct), default=0)
    first = _count_shared(list(distinct), fewest)
    last = _count_shared([path[::-1] for path in distinct], fewest - first)
    found = []
    for name, path, each in zip(names, paths, parts, strict=True):
        if not first + last or len(path) == len(each):
            found.append(name)
            continue
        kept = path[first : len(path) - last]
        rest = ".".join(each[len(path) :])
        head = (ELLIPSIS if first and kept else "") + ".".join(kept)
        found.append(f"{head}{ELLIPSIS if last or not kept else '.'}{rest}")
    return found


def _with_numbers(name: str, width: float, size: float) -> str:
    """Return the name no wider than ``width`` points, with its numbers if possible.

    The words between its ends are cut to the same length; if that is not enough, all words; otherwise its middle goes.
    """
    parts = name.split(".")
    if len(name) > _MAX_IN_PATH or all(map(_is_word, parts)) or _fits(name, width, size):
        return fitted(name, width, size)
    lengths = range(2, max(map(len, parts)))
    for spared in ({0, len(parts) - 1}, set[int]()):
        room = bisect_left(lengths, True, key=lambda most: not _fits(_cut(parts, most, spared), width, size))
        if room and _fits(shorter := _cut(parts, lengths[room - 1], spared), width, size):
            return safe_text(shorter)
    return fitted(name, width, size)


def _cut(parts: Sequence[str], most: int, spared: set[int]) -> str:
    """Join the parts, with words cut to ``most`` characters except at the ``spared`` places; numbers stay whole."""
    cut = [
        part if place in spared or not _is_word(part) or len(part) <= most + 1 else part[:most] + ELLIPSIS
        for place, part in enumerate(parts)
    ]
    return ".".join(cut).replace(f"{ELLIPSIS}.", ELLIPSIS)


def _is_word(part: str) -> bool:
    return not any(character.isdecimal() for character in part)


def _shared_ends(names: Sequence[str], width: float, size: float) -> tuple[str, str]:
    if len(names) < 2 or all(_fits(name, width, size) for name in names):
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
    """Return the width of a character in units of the font size."""
    font = _font()
    font.set_size(100, 72)
    return float(font.load_char(ord(character)).linearHoriAdvance) / 65536 / 100


@cache
def _font() -> FT2Font:
    return FT2Font(findfont(FONT))
