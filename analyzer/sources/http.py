"""Plain web servers, read by range only: a server that sends the whole file instead is refused before its body comes.

fsspec's own filesystem reads the body before it looks at the status, and takes a whole file for the part. Of a page of
links it reads whatever comes, without an end.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import urljoin

import aiohttp
from fsspec.implementations.http import HTTPFileSystem

from analyzer.errors import CheckpointError
from analyzer.sources.faults import WholeFileError

CONNECTING_SECONDS = 15.0
STALLED_SECONDS = 30.0  # without a single byte
LONGEST_PAGE = 64 << 20  # bytes of links, some hundred thousand of them

_LINK = re.compile(r"""<a\s[^<>]{0,500}?href\s{0,9}=\s{0,9}(?:"([^"<>]{1,4000})"|'([^'<>]{1,4000})')""", re.IGNORECASE)


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

    async def _ls_real(self, url: str, detail: bool = True, **_: Any) -> list[Any]:
        """What a page links to that lies below it; what a folder is to a web server."""
        session = await self.set_session()
        async with session.get(self.encode_url(url), **self.kwargs) as response:
            self._raise_not_found_for_status(response, url)
            page = await _page(response, url)
        folder = f"{url.rstrip('/')}/"
        links = {urljoin(folder, unescape(quoted or other)) for quoted, other in _LINK.findall(page)}
        below = sorted(link for link in links if link.startswith(folder) and link != folder)
        kinds = ("file", "directory")
        return [{"name": link, "size": None, "type": kinds[link.endswith("/")]} for link in below] if detail else below


async def _page(response: aiohttp.ClientResponse, url: str) -> str:
    """The text of a page; empty where the server sends something else."""
    if response.headers.get("Content-Type", "text/html").partition(";")[0].strip() != "text/html":
        return ""
    page = bytearray()
    async for piece in response.content.iter_chunked(1 << 16):
        page += piece
        if len(page) > LONGEST_PAGE:
            raise CheckpointError(
                f"{url}: the page that should list the folder has more than {LONGEST_PAGE >> 20} MiB; name a folder"
            )
    return page.decode("utf-8", "ignore")


def _require_part(response: aiohttp.ClientResponse, start: int, end: int) -> None:
    """Raise unless what follows is the part that was asked for (which may happen to be the whole file)."""
    is_part = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    is_all = response.status == 200 and start == 0 and response.content_length == end
    if not is_part and not is_all:
        raise WholeFileError(f"status {response.status}")
