"""Show what the Python API returns in a line, and in a notebook as a small HTML table."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from html import escape

from analyzer.model.names import listed, printable

MOST_ROWS = 10  # of a table in a notebook; the middle of a longer one is left out
_NAME_LENGTH = 80  # characters


def html_table(caption: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table with at most :data:`MOST_ROWS` rows, everything in it escaped.

    Args:
        caption: the text above the table.
        header: the names of the columns, empty for none.
        rows: the cells of each row; of many rows, the first and the last ones are shown.
    """
    head = f"<thead><tr>{''.join(f'<th>{_text(one)}</th>' for one in header)}</tr></thead>" if header else ""
    half = MOST_ROWS // 2
    lines = [_row(row) for row in rows]
    if len(lines) > MOST_ROWS:
        left_out = f'<tr><td colspan="{len(rows[0])}">… {len(lines) - 2 * half} more …</td></tr>'
        lines = [*lines[:half], left_out, *lines[-half:]]
    return f"<table><caption>{_text(caption)}</caption>{head}<tbody>{''.join(lines)}</tbody></table>"


def counted(number: int, noun: str) -> str:
    """Return ``1 tensor`` or ``2 tensors``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def suggestion(name: str, known: Sequence[str]) -> str:
    """Return what a mistyped name may have meant, or else the names there are, to follow an error message."""
    if close := get_close_matches(name, known, n=3):
        return f"did you mean {' or '.join(repr(printable(one, _NAME_LENGTH)) for one in close)}?"
    return f"there are {listed(known)}" if known else "there are none"


def _row(cells: Sequence[object]) -> str:
    return f"<tr>{''.join(f'<td>{_text(one)}</td>' for one in cells)}</tr>"


def _text(value: object) -> str:
    if value is None:
        return "–"
    return escape(f"{value:.6g}" if isinstance(value, float) else printable(str(value), _NAME_LENGTH))
