"""Plain web servers, read by range only: a server that sends the whole file instead is refused before its body comes.

fsspec's own filesystem reads the body before it looks at the status, and takes a whole file for the part.
"""

from __future__ import annotations

from typing import Any

import aiohttp
from fsspec.implementations.http import HTTPFileSystem

from analyzer.sources.faults import WholeFileError

CONNECTING_SECONDS = 15.0
STALLED_SECONDS = 30.0  # without a single byte


class RangeHTTPFileSystem(HTTPFileSystem):  # type: ignore[misc]
    """HTTP and HTTPS with ranges, with the logins of ``~/.netrc`` and the proxies of the environment."""

    def __init__(self, *arguments: Any, client_kwargs: dict[str, Any] | None = None, **options: Any) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECTING_SECONDS, sock_read=STALLED_SECONDS)
        client = {"trust_env": True, "timeout": timeout, **(client_kwargs or {})}
        super().__init__(*arguments, client_kwargs=client, **options)

    async def _cat_file(self, url: str, start: int = 0, end: int = 0, **_: Any) -> bytes:
        """The bytes from ``start`` to before ``end``, which are more than none."""
        asked = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        request = {**self.kwargs, "headers": {**self.kwargs.get("headers", {}), **asked}}
        session = await self.set_session()
        async with session.get(self.encode_url(url), **request) as response:
            self._raise_not_found_for_status(response, url)
            _require_part(response, start, end)
            return bytes(await response.content.readexactly(end - start))


def _require_part(response: aiohttp.ClientResponse, start: int, end: int) -> None:
    """Raise unless what follows is the part that was asked for (which may happen to be the whole file)."""
    is_part = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    is_all = response.status == 200 and start == 0 and response.content_length == end
    if not is_part and not is_all:
        raise WholeFileError(f"status {response.status}")
