"""Find the fsspec filesystem that serves a URL; fsspec is imported here, when a URL is opened.

Credentials come from each library's own mechanism (environment, configuration files, ``~/.netrc``), never from the URL,
which is shown in messages and stored in reports.
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
_HUB_KINDS = ("datasets", "spaces")  # of repositories; the owner follows
LONGEST_REQUEST_SECONDS = 300.0  # a safeguard; the libraries notice a stalled connection sooner


def is_web(url: str) -> bool:
    """Check whether a URL belongs to a web server, where names are percent-encoded."""
    return url.startswith(("http://", "https://"))


def require_plain(url: str) -> None:
    """Raise CheckpointError if a URL carries a password or a query, or is malformed."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    # For a web server, the user name may be a token.
    if ":" in host.rpartition("@")[0] or (is_web(url) and "@" in host) or (":" in host and _port_is_wrong(url)):
        raise CheckpointError(
            f"{scheme}://…: carries a password or a key, which would be visible in reports. Leave it out, and log in "
            "with the service's own mechanism: environment variables, configuration files, ~/.netrc, an ssh key."
        )
    if scheme == "hf" and len([name for name in rest.split("/") if name]) < (3 if host in _HUB_KINDS else 2):
        raise CheckpointError(
            f"{url}: does not name a repository of the Hub; write hf://OWNER/NAME, such as hf://openai-community/gpt2"
        )
    if is_web(url) and ("?" in rest or "#" in rest):
        raise CheckpointError(
            f"{redacted(url)}: carries a query or a fragment, but the address of a folder has neither. Leave it out; "
            "credentials belong in ~/.netrc."
        )


def _port_is_wrong(url: str) -> bool:
    try:
        address = urlsplit(url)
        return address.port is None and not address.netloc.endswith("]")  # [::1] has colons of its own
    except ValueError:
        return True


def filesystem(url: str) -> tuple[Any, str]:
    """Return the filesystem for a URL in this process (and thread, unless it is asynchronous), and the path in it.

    fsspec caches instances per process, so nothing is shared across a fork.

    Raises:
        CheckpointError: a package is missing, the protocol unknown, or the URL carries a password.
    """
    require_plain(url)
    protocol = url.partition("://")[0]
    _reset_locks_in_children()
    kind = _class_for(protocol, url)
    # fsspec's url_to_fs would read a "::" in a file's name as a chain of filesystems.
    made = kind(**kind._get_kwargs_from_urls(url), **_options(protocol))
    if protocol in ("s3", "s3a"):
        made.retries = 1  # retries are decided in one place: analyzer.sources.faults
    return made, str(kind._strip_protocol(url))


@contextmanager
def connected(url: str) -> Iterator[tuple[Any, str]]:
    """Yield the filesystem of a URL and the path in it; do not reuse a connection on which a request failed."""
    server, path = filesystem(url)
    try:
        yield server, path
    except FileNotFoundError:
        raise
    except Exception:
        if not server.async_impl:  # asynchronous ones open a connection for each request
            type(server)._cache.pop(server._fs_token, None)
        raise


def read_range(server: Any, path: str, start: int, end: int) -> bytes:
    """Return the bytes of a file from ``start`` up to ``end``, reading as little else as the filesystem allows."""
    if "sftp" in server.protocol:
        with server.open(path, "rb") as file:
            # With readv, paramiko does not wait for each 32 kB before it requests the next.
            return b"".join(file.readv([(start, end - start)]))
    # The Hub's file object would read ahead.
    options = {"cache_type": "none"} if "hf" in server.protocol else request_options(server)
    return bytes(server.cat_file(path, start=start, end=end, **options))


def request_options(server: Any) -> dict[str, Any]:
    """Return the arguments for each request to a filesystem."""
    return {"timeout": LONGEST_REQUEST_SECONDS} if server.async_impl else {}


def _class_for(protocol: str, url: str) -> Any:
    import fsspec

    if protocol not in EXTRAS and protocol != "memory":  # fsspec's own, which needs no extra
        known = ", ".join(f"{name}://" for name in EXTRAS)
        raise CheckpointError(f"{redacted(url)}: {protocol}:// is not supported; weightlapse reads {known}")
    try:
        if protocol in ("http", "https"):
            from analyzer.sources.http import RangeHTTPFileSystem

            return RangeHTTPFileSystem
        return fsspec.get_filesystem_class(protocol)
    except ImportError:
        raise CheckpointError(
            f"{redacted(url)}: the package that reads {protocol}:// is not installed; install it with: "
            f"pip install 'weightlapse[{EXTRAS[protocol]}]'"
        ) from None


def _options(protocol: str) -> dict[str, Any]:
    """Return constructor arguments of a filesystem; listings are not cached, because file stamps must be current."""
    if protocol not in ("s3", "s3a"):
        return {"use_listings_cache": False} if protocol in ("gs", "gcs") else {}
    from fsspec.config import conf

    own = dict(conf.get("s3", {}).get("config_kwargs", {}))
    return {"use_listings_cache": False, "config_kwargs": {"retries": {"total_max_attempts": 1}, **own}}


@cache
def _reset_locks_in_children() -> None:
    """Reset fsspec's lock after each fork; if another thread held it then, the child could never acquire it."""
    if hasattr(os, "register_at_fork"):
        from fsspec.asyn import reset_lock

        os.register_at_fork(after_in_child=reset_lock)
