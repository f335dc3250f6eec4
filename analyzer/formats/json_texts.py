"""Estimate what a JSON text becomes before it is parsed: three bytes of it can request a hundred."""

from __future__ import annotations

from analyzer.errors import CheckpointError

SMALL_MEMORY, MEMORY_PER_BYTE = 64 << 20, 10
_CONTAINER, _QUOTE, _SLOT = 80, 12, 8  # bytes that a list or object, half a string, and a place in a list take


def require_modest(path: str, text: str | bytes | bytearray) -> None:
    """Raise CheckpointError if a JSON text would take much more memory than its size explains, as ``[],[],[]`` does.

    The headers of safetensors files take about 7 bytes for each of theirs, logs of scores less.
    """
    marks = ("[", "{", '"', ",") if isinstance(text, str) else (b"[", b"{", b'"', b",")
    lists, objects, quotes, commas = (text.count(mark) for mark in marks)  # type: ignore[arg-type]
    expected = _CONTAINER * (lists + objects) + _QUOTE * quotes + _SLOT * commas
    if expected > max(SMALL_MEMORY, MEMORY_PER_BYTE * len(text)):
        raise CheckpointError(
            f"{path}: its JSON consists of {lists + objects} lists and objects in {len(text)} bytes, like an attack; "
            "move it elsewhere"
        )
