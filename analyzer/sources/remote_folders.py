"""List folders behind URLs, and read the current state of remote files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

from analyzer.errors import CheckpointError
from analyzer.model.run import FileStamp
from analyzer.sources.faults import NotFoundError, with_retries
from analyzer.sources.filesystems import connected, is_web, request_options
from analyzer.sources.listings import known_entry, listing
from analyzer.sources.source import Entry

LONGEST_NAME = 1024  # characters; no object store allows longer names

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = ("LastModified", "Last-Modified", "last_modified", "mtime", "updated", "modified", "created")
_ETAGS = ("ETag", "etag", "blob_id", "md5Hash")


def list_folder(url: str) -> list[Entry]:
    """Return the entries of a folder sorted by name, with one request.

    Raises:
        CheckpointError: the folder does not exist or cannot be read.
    """
    return list(listing(url, _list))


def is_file(url: str) -> bool:
    """Check whether a file exists; raise CheckpointError if the server cannot be asked."""
    is_listed, entry = known_entry(*_split(url))
    if is_listed:
        return entry is not None and entry.is_file
    try:
        about = _about(url)
    except NotFoundError:
        return False
    # A web server distinguishes a folder from a file only by redirecting to an address with a trailing slash.
    return about["type"] == "file" and not str(about.get("url", "")).endswith("/")


def is_folder(url: str) -> bool:
    """Check whether a folder exists; on a web server, that is a page with links to addresses below it.

    Raises:
        CheckpointError: the server cannot be asked.
    """
    is_listed, entry = known_entry(*_split(url))
    if is_listed:
        return entry is not None and entry.is_folder
    try:
        return bool(list_folder(url)) if is_web(url) else _about(url)["type"] == "directory"
    except NotFoundError:
        return False


def _split(url: str) -> tuple[str, str]:
    """Return the folder and the decoded name in it."""
    folder, _, part = url.rpartition("/")
    return folder, unquote(part) if is_web(url) else part


def _about(url: str) -> dict[str, Any]:
    """Return the server's current description of a file or folder."""

    def request() -> dict[str, Any]:
        with connected(url) as (server, path):
            server.invalidate_cache(path)
            return dict(server.info(path, **request_options(server)))

    return with_retries(url, request)


def _list(url: str) -> list[Entry]:
    def request() -> list[dict[str, Any]]:
        with connected(url) as (server, path):
            server.invalidate_cache(path)
            return list(server.ls(path, detail=True, **request_options(server)))

    entries = filter(None, (_entry(url, found) for found in with_retries(url, request)))
    # A page may link to the same file with different encodings.
    named = {(entry.name, entry.is_folder): entry for entry in sorted(entries, key=lambda entry: entry.path)}
    return sorted(named.values(), key=lambda entry: entry.name)


def _entry(folder: str, found: dict[str, Any]) -> Entry | None:
    """Convert an item of a listing; None for the folder itself, for links that lead elsewhere and overlong names."""
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
    except CheckpointError:  # a dangling link
        return "link"


def stamp_of(url: str) -> FileStamp:
    """Return the current state of a file on the server: size, and modification time and etag if it reports them.

    Raises:
        CheckpointError: there is no such file, or the server does not report its size.
    """
    about = _about(url)
    if about["type"] != "file":
        raise CheckpointError(f"{url}: is a folder, not a regular file; move it elsewhere")
    if not isinstance(about.get("size"), int):
        raise CheckpointError(f"{url}: the server does not report its size. Copy the run to this machine first.")
    modified = next((about[key] for key in _TIMES if about.get(key)), None)
    etag = next((str(about[key]) for key in _ETAGS if about.get(key)), "")
    return FileStamp(url, about["size"], _nanoseconds(modified), etag.strip('"'))


def _nanoseconds(time: Any) -> int:
    """Convert a time in any of the servers' formats to nanoseconds since 1970; 0 if it cannot be parsed."""
    try:
        if isinstance(time, str):
            time = datetime.fromisoformat(time) if time[:1].isdigit() else parsedate_to_datetime(time)
        if isinstance(time, (int, float)):
            return int(time * 10**9)
        if not isinstance(time, datetime):
            return 0
    except (ValueError, OverflowError):
        return 0
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1000
