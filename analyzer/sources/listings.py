"""Listings of remote folders, kept while a run is being looked for: each layout wants to see the same names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from analyzer.sources.source import Entry

_kept: ContextVar[dict[str, list[Entry]] | None] = ContextVar("kept listings", default=None)


@contextmanager
def kept() -> Iterator[None]:
    """Keep listings from here on; forget them at the end."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def listing(folder: str, ask: Callable[[str], list[Entry]]) -> list[Entry]:
    """A folder's entries: those that are kept, else those that ``ask`` finds."""
    known = _kept.get()
    if known is None:
        return ask(folder)
    if folder not in known:
        known[folder] = ask(folder)
    return known[folder]


def known_entry(folder: str, name: str) -> tuple[bool, Entry | None]:
    """Whether a folder has been listed, and its entry of a name, None where there is none."""
    entries = (_kept.get() or {}).get(folder)
    return entries is not None, next((entry for entry in entries or () if entry.name == name), None)
