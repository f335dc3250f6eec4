"""Numbers of bytes as people write and read them: in powers of 1000, or of 1024 where an ``i`` says so."""

from __future__ import annotations

_LETTERS = "kMGT"


def parse_size(text: str) -> int:
    """A size such as ``500MB``, ``4GB`` or ``2GiB`` in bytes; a bare number is one of bytes.

    Raises:
        ValueError: it is no size.
    """
    units = {"": 1, "b": 1}
    for power, letter in enumerate(_LETTERS.lower(), start=1):
        units |= {letter: 1000**power, f"{letter}b": 1000**power, f"{letter}ib": 1024**power}
    number = text.rstrip("BKMGTIbkmgti ")
    unit = text[len(number) :].strip().lower()
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError, OverflowError):
        raise ValueError(f"{text!r} is not a size; write 500MB, 4GB or 2GiB") from None


def size_text(size: int) -> str:
    """``4 bytes``, ``264 MB``, ``1.6 GB``: three significant digits."""
    if size < 1000:
        return f"{size} byte{'' if size == 1 else 's'}"
    for power, letter in enumerate(_LETTERS, start=1):
        if size < 999.5 * 1000**power:
            return f"{size / 1000**power:.3g} {letter}B"
    return f"{size / 1e12:.0f} TB"
