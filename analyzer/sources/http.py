"""Read from plain web servers, by range only; a server that sends the whole file is rejected before its body arrives.

fsspec's own filesystem reads the body before it checks the status, and accepts a whole file instead of the part. It
also reads a page of links without any limit.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import urljoin

import aiohttp
from fsspec.implementations.http import HTTPFileSystem

from analyzer.errors import CheckpointError
from analyzer.sources.faults import ShortAnswerError, WholeFileError, redacted

CONNECTING_SECONDS = 15.0
STALLED_SECONDS = 30.0  # without a single byte
LONGEST_PAGE = 64 << 20  # bytes of links, enough for some hundred thousand

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.IGNORECASE)
_LINK = re.compile(r"""<a\s[^<>]{0,500}?href\s{0,9}=\s{0,9}(?:"([^"<>]{1,4000})"|'([^'<>]{1,4000})')""", re.IGNORECASE)


class RangeHTTPFileSystem(HTTPFileSystem):  # type: ignore[misc]
    """HTTP and HTTPS with ranges, with the logins of ``~/.netrc`` and the proxies of the environment."""

    def __init__(self, *arguments: Any, client_kwargs: dict[str, Any] | None = None, **options: Any) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECTING_SECONDS, sock_read=STALLED_SECONDS)
        client = {"trust_env": True, "timeout": timeout, **(client_kwargs or {})}
        super().__init__(*arguments, client_kwargs=client, **options)

    async def _cat_file(self, url: str, start: int = 0, end: int = 0, **_: Any) -> bytes:
        """Return the bytes from ``start`` up to ``end``; at least one byte must be requested."""
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        request = {**self.kwargs, "headers": {**self.kwargs.get("headers", {}), **headers}}
        session = await self.set_session()
        async with session.get(self.encode_url(url), **request) as response:
            self._raise_not_found_for_status(response, url)
            _require_part(response, start, end)
            return bytes(await response.content.readexactly(end - start))

    async def _ls_real(self, url: str, detail: bool = True, **_: Any) -> list[Any]:
        """List the links on a page that lead below it, which is what a web server offers for a folder."""
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
    """Return the text of a page; empty if the server sends something other than HTML."""
    if response.headers.get("Content-Type", "text/html").partition(";")[0].strip() != "text/html":
        return ""
    page = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        page += chunk
        if len(page) > LONGEST_PAGE:
            raise CheckpointError(
                f"{url}: the page that should list the folder has more than {LONGEST_PAGE >> 20} MiB; "
                "check that the address is that of a folder"
            )
    return page.decode("utf-8", "ignore")


def _require_range(url: str, content_range: str, start: int, end: int) -> None:
    """Check which bytes a server states to send, before it sends them.

    Raises:
        CheckpointError: others than requested, or of a file that does not have them.
        ShortAnswerError: fewer than requested.
    """
    stated = _CONTENT_RANGE.fullmatch(content_range.strip())
    first, last, total = stated.groups() if stated else ("-1", "-1", "*")
    if int(first) != start or int(last) >= end or (total != "*" and int(total) < end):
        raise CheckpointError(
            f"{redacted(url)}: the server sends another part than bytes {start} to {end - 1} "
            f"(Content-Range: {content_range[:80]!r}); copy the run to this machine, or use another server"
        )
    if int(last) < end - 1:
        raise ShortAnswerError(content_range[:80])


def _require_part(response: aiohttp.ClientResponse, start: int, end: int) -> None:
    """Raise WholeFileError unless the body is the requested part (which may happen to be the whole file)."""
    is_part = response.status == 206
    if is_part:
        _require_range(str(response.url), response.headers.get("Content-Range", ""), start, end)
    is_all = response.status == 200 and start == 0 and response.content_length == end
    if not is_part and not is_all:
        raise WholeFileError(f"status {response.status}")
