"""From a URL to the fsspec filesystem that serves it; fsspec is imported only here and below, when a URL is opened.

Credentials come by each library's own means (environment, configuration files, ``~/.netrc``), never in the URL: that
is shown in messages and kept in reports.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from analyzer.errors import CheckpointError
from analyzer.sources.faults import redacted

EXTRAS = {  # of weightlapse, by protocol
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "hf": "hf",
    "http": "http",
    "https": "http",
    "sftp": "sftp",
    "ssh": "sftp",
}
_HUB_KINDS = ("datasets", "spaces")  # of repositories, before the owner
LONGEST_REQUEST_SECONDS = 300.0  # a guard; the libraries notice sooner that nothing comes


def is_web(url: str) -> bool:
    """Whether a URL is that of a web server, in which names are quoted."""
    return url.startswith(("http://", "https://"))


def require_plain(url: str) -> None:
    """Raise CheckpointError where a URL carries a password or a query, or is not well formed."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    # A web server may be given a token in the place of a user's name.
    if ":" in host.rpartition("@")[0] or (is_web(url) and "@" in host) or (":" in host and _port_is_wrong(url)):
        raise CheckpointError(
            f"{scheme}://…: carries a password or a key, which would be seen in reports. Leave it out, and log in by "
            "the service's own means: environment variables, configuration files, ~/.netrc, an ssh key."
        )
    if scheme == "hf" and len([name for name in rest.split("/") if name]) < (3 if host in _HUB_KINDS else 2):
        raise CheckpointError(
            f"{url}: names no repository of the Hub; write hf://OWNER/NAME, such as hf://openai-community/gpt2"
        )
    if is_web(url) and ("?" in rest or "#" in rest):
        raise CheckpointError(
            f"{redacted(url)}: carries a query or a fragment, but a folder is named by a plain address. Leave it out; "
            "credentials belong into ~/.netrc."
        )


def _port_is_wrong(url: str) -> bool:
    try:
        address = urlsplit(url)
        return address.port is None and not address.netloc.endswith("]")  # [::1] has colons of its own
    except ValueError:
        return True


def filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of this process (and thread, where it is not asynchronous) for a URL, and the path in it.

    Instances are kept by fsspec for each process, so nothing of it is shared across a fork.

    Raises:
        CheckpointError: a package is missing, the protocol unknown, or the URL carries a password.
    """
    require_plain(url)
    protocol = url.partition("://")[0]
    _reset_locks_in_children()
    kind = _class_for(protocol, url)
    # Not fsspec's url_to_fs: it would take a "::" in a file's name for a chain of filesystems.
    made = kind(**kind._get_kwargs_from_urls(url), **_options(protocol))
    if protocol in ("s3", "s3a"):
        made.retries = 1  # what is tried again, and when, is decided in one place: analyzer.sources.faults
    return made, str(kind._strip_protocol(url))


@contextmanager
def connected(url: str) -> Iterator[tuple[Any, str]]:
    """The filesystem of a URL, and the path in it; a connection on which something fails is not used again."""
    server, path = filesystem(url)
    try:
        yield server, path
    except FileNotFoundError:
        raise
    except Exception:
        if not server.async_impl:  # the others make a connection for each request
            type(server)._cache.pop(server._fs_token, None)
        raise


def read_range(server: Any, path: str, start: int, end: int) -> bytes:
    """The bytes of a file from ``start`` to before ``end``, with as little beside them as the filesystem allows."""
    if "sftp" in server.protocol:
        with server.open(path, "rb") as file:
            # Told beforehand what is wanted, paramiko does not wait for each 32 kB before it asks for the next.
            return b"".join(file.readv([(start, end - start)]))
    options = {"cache_type": "none"} if "hf" in server.protocol else asking(server)  # the Hub's file would read ahead
    return bytes(server.cat_file(path, start=start, end=end, **options))


def asking(server: Any) -> dict[str, Any]:
    """The arguments that each request to a filesystem takes."""
    return {"timeout": LONGEST_REQUEST_SECONDS} if server.async_impl else {}


def _class_for(protocol: str, url: str) -> Any:
    import fsspec

    if protocol not in EXTRAS and protocol != "memory":  # of this process, which needs nothing
        known = ", ".join(f"{name}://" for name in EXTRAS)
        raise CheckpointError(f"{redacted(url)}: {protocol}:// is not known; weightlapse reads {known}")
    try:
        if protocol in ("http", "https"):
            from analyzer.sources.http import RangeHTTPFileSystem

            return RangeHTTPFileSystem
        return fsspec.get_filesystem_class(protocol)
    except ImportError:
        raise CheckpointError(
            f"{redacted(url)}: what reads {protocol}:// is not installed; install it with: "
            f"pip install 'weightlapse[{EXTRAS[protocol]}]'"
        ) from None


def _options(protocol: str) -> dict[str, Any]:
    """What a filesystem is made with: no memory of listings, for a file's stamp has to be that of now."""
    if protocol not in ("s3", "s3a"):
        return {"use_listings_cache": False} if protocol in ("gs", "gcs") else {}
    from fsspec.config import conf

    own = dict(conf.get("s3", {}).get("config_kwargs", {}))
    return {"use_listings_cache": False, "config_kwargs": {"retries": {"total_max_attempts": 1}, **own}}


@cache
def _reset_locks_in_children() -> None:
    """A lock of fsspec's that another thread holds during a fork would be held in the child for ever."""
    if hasattr(os, "register_at_fork"):
        from fsspec.asyn import reset_lock

        os.register_at_fork(after_in_child=reset_lock)
