"""What is behind URLs: the entries of folders, and files as they are now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

from analyzer.errors import CheckpointError
from analyzer.model.run import FileStamp
from analyzer.sources.faults import NotThereError, persist
from analyzer.sources.filesystems import asking, connected, is_web
from analyzer.sources.listings import known_entry, listing
from analyzer.sources.source import Entry

LONGEST_NAME = 1024  # of a file, in the stores that allow the most

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = ("LastModified", "Last-Modified", "last_modified", "mtime", "updated", "modified", "created")
_ETAGS = ("ETag", "etag", "blob_id", "md5Hash")


def list_folder(url: str) -> list[Entry]:
    """The entries of a folder sorted by name; one request.

    Raises:
        CheckpointError: the folder does not exist or cannot be read.
    """
    return list(listing(url, _list))


def is_file(url: str) -> bool:
    """Whether there is a file; CheckpointError where the server does not tell."""
    is_listed, entry = known_entry(*_parted(url))
    if is_listed:
        return entry is not None and entry.is_file
    try:
        about = _about(url)
    except NotThereError:
        return False
    # A web server tells a folder from a file only by sending the reader on to an address with a slash.
    return about["type"] == "file" and not str(about.get("url", "")).endswith("/")


def is_folder(url: str) -> bool:
    """Whether there is a folder, on a web server a page with links below; CheckpointError where it does not tell."""
    is_listed, entry = known_entry(*_parted(url))
    if is_listed:
        return entry is not None and entry.is_folder
    try:
        return bool(list_folder(url)) if is_web(url) else _about(url)["type"] == "directory"
    except NotThereError:
        return False


def _parted(url: str) -> tuple[str, str]:
    """The folder, and the name in it, however a web server writes it."""
    folder, _, part = url.rpartition("/")
    return folder, unquote(part) if is_web(url) else part


def _about(url: str) -> dict[str, Any]:
    """What the server tells about a file or folder now."""

    def ask() -> dict[str, Any]:
        with connected(url) as (server, path):
            server.invalidate_cache(path)
            return dict(server.info(path, **asking(server)))

    return persist(url, ask)


def _list(url: str) -> list[Entry]:
    def ask() -> list[dict[str, Any]]:
        with connected(url) as (server, path):
            server.invalidate_cache(path)
            return list(server.ls(path, detail=True, **asking(server)))

    entries = filter(None, (_entry(url, found) for found in persist(url, ask)))
    # A page may link to one file in several spellings.
    named = {(entry.name, entry.is_folder): entry for entry in sorted(entries, key=lambda entry: entry.path)}
    return sorted(named.values(), key=lambda entry: entry.name)


def _entry(folder: str, found: dict[str, Any]) -> Entry | None:
    """An entry from what a listing says; None for the folder itself, links that lead elsewhere and endless names."""
    is_link, kind, name = found["type"] == "link", found["type"], str(found["name"])
    if is_web(folder):
        part = name.removeprefix(folder.rstrip("/") + "/").rstrip("/")
        if "/" in part or "?" in part or "#" in part or "/" in unquote(part):
            return None
        name = unquote(part)
    else:
        stripped = name.rstrip("/")
        part = name = stripped.rpartition("/")[2]
        if stripped.strip("/") == folder.partition("://")[2].strip("/"):
            return None
    if name in ("", ".", "..") or len(name) > LONGEST_NAME:
        return None
    path = f"{folder.rstrip('/')}/{part}"
    if is_link:
        kind = _kind_behind(path)
    return Entry(name, path, kind == "directory", kind == "file", is_link)


def _kind_behind(link: str) -> str:
    try:
        return str(_about(link)["type"])
    except CheckpointError:  # it leads nowhere
        return "link"


def stamp_of(url: str) -> FileStamp:
    """A file as it is on the server now: size, time of the last change and mark of the content, as far as it tells.

    Raises:
        CheckpointError: there is no such file, or the server does not tell its size.
    """
    about = _about(url)
    if about["type"] != "file":
        raise CheckpointError(f"{url}: is a folder, not a regular file; move it elsewhere")
    if not isinstance(about.get("size"), int):
        raise CheckpointError(f"{url}: the server does not tell its size. Copy the run here first.")
    modified = next((about[key] for key in _TIMES if about.get(key)), None)
    etag = next((str(about[key]) for key in _ETAGS if about.get(key)), "")
    return FileStamp(url, about["size"], _nanoseconds(modified), etag.strip('"'))


def _nanoseconds(told: Any) -> int:
    """A time as servers tell it in nanoseconds since 1970; 0 where it is not understood."""
    try:
        if isinstance(told, str):
            told = datetime.fromisoformat(told) if told[:1].isdigit() else parsedate_to_datetime(told)
        if isinstance(told, (int, float)):
            return int(told * 10**9)
        if not isinstance(told, datetime):
            return 0
    except (ValueError, OverflowError):
        return 0
    aware = told if told.tzinfo else told.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1000
