"""Cache listings of remote folders during the search for runs, in which every layout looks at the same names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from analyzer.sources.source import Entry

_cache: ContextVar[dict[str, list[Entry]] | None] = ContextVar("cached listings", default=None)


@contextmanager
def caching() -> Iterator[None]:
    """Cache listings within this context; forget them at its end."""
    token = _cache.set({})
    try:
        yield
    finally:
        _cache.reset(token)


def listing(folder: str, fetch: Callable[[str], list[Entry]]) -> list[Entry]:
    """Return a folder's entries from the cache, or else from ``fetch``."""
    known = _cache.get()
    if known is None:
        return fetch(folder)
    if folder not in known:
        known[folder] = fetch(folder)
    return known[folder]


def known_entry(folder: str, name: str) -> tuple[bool, Entry | None]:
    """Return whether a folder's listing is cached, and its entry of that name, None if there is none."""
    entries = (_cache.get() or {}).get(folder)
    return entries is not None, next((entry for entry in entries or () if entry.name == name), None)
