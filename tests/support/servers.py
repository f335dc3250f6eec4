"""Servers on loopback for the tests of remote sources: they count what they send, and fail as they are told."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

# What a server does to one request: a status instead of an answer, or one of
#   "cut"     half of the body, then the connection is closed
#   "short"   half of the range, as a sound answer
#   "whole"   all of the file whatever range was asked for
#   "hang"    nothing at all, until the server is closed
#   "drop"    the connection is closed without an answer
Fault = int | str
Answer = tuple[int, dict[str, str], bytes]  # status, headers, body


@dataclass
class Served:
    """One request and how many bytes of body were sent."""

    method: str
    path: str
    range: str | None
    sent: int = 0


class Server:
    """A counting HTTP server; ``answer(handler) -> (status, headers, body)`` says what it serves."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], Answer]) -> None:
        self.served: list[Served] = []
        self.faults: deque[Fault] = deque()  # for the next requests that ask for a range
        self.always: Fault | None = None  # for every request
        self._answer = answer
        self._closed = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __getattr__(self, name: str) -> Callable[[], None]:
                if name.startswith("do_"):  # whatever the method
                    return lambda: outer._serve(self)
                raise AttributeError(name)

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass  # a client that goes away early is what some tests are about

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def sent(self) -> int:
        return sum(one.sent for one in self.served)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        fault = self.always or (self.faults.popleft() if asked and self.faults else None)
        served = Served(handler.command, handler.path, asked)
        self.served.append(served)
        if fault == "hang":
            self._closed.wait(60)
        if fault in ("hang", "drop"):
            handler.close_connection = True
            handler.connection.close()
            return
        if fault == "whole" and asked:
            del handler.headers["Range"]
        status, headers, body = (fault, {}, b"<Error/>") if isinstance(fault, int) else self._answer(handler)
        if fault == "short":
            first = int((asked or "").removeprefix("bytes=").partition("-")[0])
            body = body[: len(body) // 2]
            total = headers["Content-Range"].rpartition("/")[2]
            headers["Content-Range"] = f"bytes {first}-{first + len(body) - 1}/{total}"
        length = headers.pop("Content-Length", str(len(body)))
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": length}.items():
            handler.send_header(name, value)
        handler.end_headers()
        body = b"" if handler.command == "HEAD" else body
        if fault == "cut":
            body = body[: len(body) // 2]
        for start in range(0, len(body), 1 << 16):  # in pieces, so that it is seen where the client goes away
            piece = body[start : start + (1 << 16)]
            served.sent += len(piece)
            handler.wfile.write(piece)
        if fault == "cut":
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def folder_server(folder: Path) -> Iterator[Server]:
    """A plain web server of a folder that knows ranges, with pages of links for its folders."""

    def answer(handler: BaseHTTPRequestHandler) -> Answer:
        path = folder / unquote(urlsplit(handler.path).path).strip("/")
        if path.is_dir():
            if not handler.path.endswith("/"):
                return 301, {"Location": handler.path + "/"}, b""
            names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in path.iterdir())
            links = "".join(f'<a href="{quote(name)}">{name}</a>\n' for name in ["../", *names])
            page = f'<a href="?C=N;O=D">Name</a><a href="http://elsewhere.example/x">x</a>{links}'
            return 200, {"Content-Type": "text/html"}, page.encode()
        if not path.is_file():
            return 404, {}, b"none"
        headers = {"Content-Type": "application/octet-stream", "ETag": f'"{path.stat().st_mtime_ns:x}"'}
        return part_of(path.read_bytes(), handler, headers)

    with Server(answer) as server:
        yield server


def part_of(data: bytes, handler: BaseHTTPRequestHandler, headers: dict[str, str]) -> Answer:
    """The range that is asked for, or all of it."""
    asked = handler.headers.get("Range")
    if not asked:
        return 200, headers, data
    first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
    if first >= len(data):
        return 416, headers, b""
    body = data[first : last + 1]
    return 206, {**headers, "Content-Range": f"bytes {first}-{first + len(body) - 1}/{len(data)}"}, body


@contextmanager
def proxy(target: str) -> Iterator[Server]:
    """A server that hands each request on to another one."""
    host, port = target.removeprefix("http://").split(":")

    def answer(handler: BaseHTTPRequestHandler) -> Answer:
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        length = int(handler.headers.get("Content-Length", 0))
        body = handler.rfile.read(length)
        connection.request(handler.command, handler.path, body, dict(handler.headers))
        response = connection.getresponse()
        data = response.read()
        dropped = ("transfer-encoding", "connection", "date", "server")
        headers = {name.title(): value for name, value in response.getheaders() if name.lower() not in dropped}
        connection.close()
        if handler.command != "HEAD":
            headers.pop("Content-Length", None)
        return response.status, headers, data

    with Server(answer) as server:
        yield server


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of an S3 server in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            assert process.poll() is None, "moto_server ended"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
