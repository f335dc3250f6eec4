"""Parse and format numbers of bytes, in units of powers of 1000, or of 1024 for units with an ``i``."""

from __future__ import annotations

_LETTERS = "kMGT"


def parse_size(text: str) -> int:
    """Return a size such as ``500MB``, ``4GB`` or ``2GiB`` in bytes; a number without a unit counts bytes.

    Raises:
        ValueError: the text is not a size.
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
    """Format a number of bytes with three significant digits: ``4 bytes``, ``264 MB``, ``1.6 GB``."""
    if size < 1000:
        return f"{size} byte{'' if size == 1 else 's'}"
    for power, letter in enumerate(_LETTERS, start=1):
        if size < 999.5 * 1000**power:
            return f"{size / 1000**power:.3g} {letter}B"
    return f"{size / 1e12:.0f} TB"
