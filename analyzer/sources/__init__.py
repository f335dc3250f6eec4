"""List folders and read bytes of files, on this machine or behind a URL, through one interface.

A path is a URL if it begins with a scheme such as ``s3://`` or ``S3://``; all other paths, and ``file://``, are local.
Libraries that serve URLs are imported when the first one is opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from analyzer.errors import CheckpointError
from analyzer.model.run import FileStamp
from analyzer.sources import local
from analyzer.sources.local import LocalSource
from analyzer.sources.source import Entry, Source

__all__ = [
    "Entry",
    "LocalSource",
    "Source",
    "cached_listings",
    "canonical",
    "containing_folder",
    "file_name",
    "folder_name",
    "folder_names",
    "is_file",
    "is_folder",
    "is_inside",
    "is_remote",
    "join",
    "list_folder",
    "open_source",
    "path_below",
    "read_text",
]

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")  # one letter is a drive


def is_remote(path: str) -> bool:
    """Check whether a path is a URL of another machine."""
    scheme = _SCHEME.match(path)
    return scheme is not None and scheme[1].lower() not in ("file", "local")


def canonical(path: str) -> str:
    """Return the path in the form that the other functions of this package accept.

    ``file://`` becomes a local path; a URL gets a lower-case scheme and no trailing slash.

    Raises:
        CheckpointError: the URL carries a password or a query, or is malformed.
    """
    if is_remote(path):
        from analyzer.sources.filesystems import require_plain

        protocol, _, rest = path.partition("://")
        path = f"{protocol.lower()}://{rest}"
        require_plain(path)
        return path if path.endswith("://") else path.rstrip("/")
    if scheme := _SCHEME.match(path):
        from urllib.request import url2pathname  # imports all of http.client, which other paths do not need

        return url2pathname(unquote(path[scheme.end() :].removeprefix("localhost")))
    return path


def list_folder(path: str) -> list[Entry]:
    """Return the entries of a folder sorted by name; dangling and looping links are neither files nor folders.

    Raises:
        CheckpointError: the folder cannot be read.
    """
    if is_remote(path):
        from analyzer.sources import remote_folders

        return remote_folders.list_folder(path)
    return local.list_folder(path)


@contextmanager
def cached_listings() -> Iterator[None]:
    """List each remote folder only once within this context, however many layouts look at it."""
    from analyzer.sources.listings import caching

    with caching():
        yield


def join(folder: str, *names: str) -> str:
    """Return the path of a name inside a folder."""
    if not is_remote(folder):
        return str(Path(folder, *names))
    if folder.startswith(("http://", "https://")):
        names = tuple(quote(name) for name in names)
    return "/".join([folder.rstrip("/"), *names])


def containing_folder(path: str) -> str:
    """Return the folder that contains a path."""
    return path.rstrip("/").rpartition("/")[0] if is_remote(path) else local.containing_folder(path)


def is_inside(folder: str, path: str) -> bool:
    """Check whether a path, with links followed, is inside the folder; False if that cannot be determined."""
    if is_remote(folder):
        below = path.removeprefix(f"{folder.rstrip('/')}/")
        return below != path and ".." not in below.split("/")
    return local.is_inside(folder, path)


def path_below(folder: str, path: str) -> str:
    """Return a path relative to a folder above it, with slashes: ``b/c`` for ``/a`` and ``/a/b/c``."""
    if is_remote(folder):
        return path.removeprefix(folder.rstrip("/")).strip("/")
    return Path(path).relative_to(folder).as_posix()


def is_file(path: str) -> bool:
    """Check whether a path is a regular file, with links followed; False if a local path cannot be examined.

    Raises:
        CheckpointError: a server cannot be asked.
    """
    if is_remote(path):
        from analyzer.sources import remote_folders

        return remote_folders.is_file(path)
    return local.is_file(path)


def is_folder(path: str) -> bool:
    """Check whether a path is a folder, with links followed; False if a local path cannot be examined.

    Raises:
        CheckpointError: a server cannot be asked.
    """
    if is_remote(path):
        from analyzer.sources import remote_folders

        return remote_folders.is_folder(path)
    return local.is_folder(path)


def open_source(path: str, expected: FileStamp | None = None) -> Source:
    """Open a file for reading ranges of bytes.

    Args:
        path: the file.
        expected: the file as it was indexed. A local file is compared with it at once, a remote one when
            ``verify_unchanged`` is called, which saves a request.

    Raises:
        CheckpointError: not a regular file, unreadable, or not the file that ``expected`` describes.
    """
    if is_remote(path):
        from analyzer.sources.remote import RemoteSource

        return RemoteSource(path, expected)
    return LocalSource(path, expected)


def read_text(path: str, limit: int = 256 << 20) -> str:
    """Read a small file such as JSON or CSV as UTF-8 text.

    Raises:
        CheckpointError: not a regular file, larger than ``limit`` bytes, or not UTF-8.
    """
    with open_source(path) as source:
        if source.stamp.size > limit:
            raise CheckpointError(
                f"{path}: {source.stamp.size} bytes are more than the {limit} that are read of such a file; "
                "move it elsewhere"
            )
        data = source.read(0, source.stamp.size)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: is not UTF-8 text (byte {error.start}); convert or remove it") from error


def folder_name(path: str) -> str:
    """Return the last part of a folder's path or URL, also for ``.`` and with a trailing slash."""
    return folder_names(path)[0]


def file_name(path: str) -> str:
    """Return the last part of a file's path or URL; a link is not followed, so that its own name is returned."""
    return path.rpartition("/")[2] if is_remote(path) else Path(path).name


def folder_names(path: str) -> list[str]:
    """Return the names of a folder and of all folders above it, up to a server or bucket; ``run`` if there is none."""
    if not is_remote(path):
        names = list(Path(path).resolve().parts[1:])
    elif path.startswith(("http://", "https://")):
        address = urlsplit(path)
        names = [address.hostname or "", *(unquote(name) for name in address.path.split("/"))]
    else:
        names = path.partition("://")[2].split("/")
    return [name for name in reversed(names) if name] or ["run"]
