"""Runs on a plain web server: only ranges are read, a server without them is refused, and what fails is named."""

from __future__ import annotations

import contextlib
import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from builders import CHECKOUT, random_walk, save_weights, weightlapse_metadata
from servers import Server, folder_server

import analyzer
from analyzer.errors import CheckpointError
from analyzer.sources import faults, is_file, is_folder, list_folder, open_source, read_text
from analyzer.sources import http as web
from analyzer.sources.filesystems import filesystem
from analyzer.sources.http import RangeHTTPFileSystem

CONTENT = np.random.default_rng(0).bytes(3_000_000)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(faults, "WAITS", (0.01, 0.01))
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "data").write_bytes(CONTENT)
    with folder_server(tmp_path / "web") as served:
        yield served
        RangeHTTPFileSystem.clear_instance_cache()


def test_a_range_and_nothing_else(server: Server) -> None:
    with open_source(f"{server.url}/data") as source:
        assert source.read(1_000_000, 1000) == CONTENT[1_000_000:1_001_000]
        assert source.read(10, 0) == b""
        source.verify_unchanged()
    assert [(one.method, one.range, one.sent) for one in server.served] == [
        ("HEAD", None, 0),
        ("GET", "bytes=1000000-1000999", 1000),
        ("HEAD", None, 0),
    ]


def test_the_head_comes_at_once_and_serves_what_is_in_it(server: Server) -> None:
    with open_source(f"{server.url}/data") as source:
        assert source.read(0, 8) == CONTENT[:8]
        assert source.read(8, 16_000) == CONTENT[8:16_008]
        assert source.read(8, 50_000) == CONTENT[8:50_008]
    assert [one.range for one in server.served if one.range] == ["bytes=0-16383", "bytes=16384-50007"]


def test_a_large_range_comes_in_pieces_that_are_under_way_together(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, most, lock = [0], [0], threading.Lock()
    original = RangeHTTPFileSystem._cat_file

    async def counted(self: RangeHTTPFileSystem, *arguments: object, **options: object) -> bytes:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        try:
            return await original(self, *arguments, **options)
        finally:
            with lock:
                under_way[0] -= 1

    monkeypatch.setattr(RangeHTTPFileSystem, "_cat_file", counted)
    monkeypatch.setattr("analyzer.sources.ranges.requests.__defaults__", (16 << 10, 100_000))
    with open_source(f"{server.url}/data") as source:
        assert source.read(100_000, 2_500_000) == CONTENT[100_000:2_600_000]
    assert sum(one.range is not None for one in server.served) == 25
    assert 1 < most[0] <= 4


def test_one_range_that_cannot_be_had_leaves_the_others(server: Server) -> None:
    buffers = [memoryview(bytearray(1000)) for _ in range(4)]
    offsets = [2_000_000, 10, 2_999_900, 1_000_000]  # the third one leaves the file
    with open_source(f"{server.url}/data") as source:
        server.faults.append(403)  # the first request, which is that of the lowest offset
        errors = list(source.read_ranges(list(zip(offsets, buffers, strict=True))))
    assert ["" if error is None else str(error).partition(": ")[2][:16] for error in errors].count("") == 2
    assert sum("access is denied" in str(error) for error in errors) == 1
    assert "ends at byte 3000000" in str(errors[2])
    for offset, buffer, error in zip(offsets, buffers, errors, strict=True):
        assert (buffer == CONTENT[offset : offset + 1000]) == (error is None)


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_fault_46_a_server_without_ranges_is_refused_before_it_sends_the_file(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(50_000_000))
    (tmp_path / "scores.csv").write_text("epoch,loss\n1,0.5\n")
    written = [0]

    class Handler(http.server.SimpleHTTPRequestHandler):  # which knows no ranges
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def copyfile(self, source: object, outputfile: object) -> None:
            with contextlib.suppress(ConnectionError):
                while piece := source.read(1 << 16):  # type: ignore[attr-defined]
                    outputfile.write(piece)  # type: ignore[attr-defined]
                    written[0] += len(piece)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with (
            open_source(f"{url}/large") as source,
            pytest.raises(CheckpointError, match=r"/large: the server answers a request for a part with the whole"),
        ):
            source.read(1_000_000, 1000)
        assert read_text(f"{url}/scores.csv") == "epoch,loss\n1,0.5\n"  # all of it was asked for
        server.shutdown()
    assert written[0] < 10_000_000  # what the system's buffers hold
    RangeHTTPFileSystem.clear_instance_cache()


@pytest.mark.parametrize("fault", ["cut", "short", "drop", 500, 502, 503, 429, 408])
def test_fault_46_what_passes_is_tried_again(server: Server, fault: int | str) -> None:
    server.faults.append(fault)
    with open_source(f"{server.url}/data") as source:
        assert source.read(1_000_000, 500_000) == CONTENT[1_000_000:1_500_000]
    assert sum(one.range is not None for one in server.served) == 2


LASTING = [
    (404, "does not exist", 1),
    (410, r"does not exist \(410\)", 1),
    (401, r"access is denied \(401\)", 1),
    (403, r"access is denied \(403\)", 1),
    (400, r"cannot be read \(400\)", 1),
    (416, "is shorter than it was", 1),
    (500, r"the server failed \(500\), 3 times in a row", 3),
    (503, r"the server failed \(503\), 3 times in a row", 3),
    (429, r"the server limits the rate of requests \(429\)", 3),
    ("cut", "the connection was interrupted, 3 times in a row", 3),
    ("short", "the connection was interrupted, 3 times in a row", 3),
    ("drop", "the connection was interrupted, 3 times in a row", 3),
    ("whole", "answers a request for a part with the whole file", 1),
]


@pytest.mark.parametrize(("fault", "told", "tries"), LASTING)
def test_fault_46_what_lasts_is_a_named_error(server: Server, fault: int | str, told: str, tries: int) -> None:
    with open_source(f"{server.url}/data") as source:
        server.faults.extend([fault] * 10)
        with pytest.raises(CheckpointError, match=f"^{server.url}/data: .*{told}"):
            source.read(1_000_000, 500_000)
    # A connection that was used before and is dropped: aiohttp itself asks once more.
    assert tries <= sum(one.range is not None for one in server.served) <= (2 * tries if fault == "drop" else tries)


@pytest.mark.parametrize(("fault", "told"), [(one[0], one[1]) for one in LASTING if isinstance(one[0], int)])
def test_fault_46_also_where_a_file_is_asked_about(server: Server, fault: int, told: str) -> None:
    server.always = fault
    with pytest.raises(CheckpointError, match=f"^{server.url}/data: .*{told}"):
        open_source(f"{server.url}/data")
    if fault in (404, 410):
        assert not is_file(f"{server.url}/data")
        assert not is_folder(f"{server.url}/")
    else:  # whether there is a file is not known, and not guessed
        with pytest.raises(CheckpointError, match=told):
            is_file(f"{server.url}/data")
        with pytest.raises(CheckpointError, match=told):
            is_folder(f"{server.url}/folder")


def test_fault_46_a_server_that_does_not_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "STALLED_SECONDS", 0.2)
    RangeHTTPFileSystem.clear_instance_cache()
    with open_source(f"{server.url}/data") as source:
        server.faults.extend(["hang"] * 10)
        started = time.monotonic()
        with pytest.raises(CheckpointError, match=r"/data: the server did not answer in time, 3 times in a row"):
            source.read(1_000_000, 500_000)
    assert time.monotonic() - started < 10
    assert sum(one.range is not None for one in server.served) == 3


def test_fault_46_no_server_at_all(server: Server) -> None:
    url = server.url
    server.close()
    with pytest.raises(CheckpointError, match=f"^{url}/data: the server cannot be reached, 3 times in a row"):
        open_source(f"{url}/data")


def test_fault_47_an_interrupted_read_ends_at_once(server: Server, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, threading\n"
        "from analyzer.sources import open_source\n"
        "source = open_source(sys.argv[1])\n"
        "threading.Timer(1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "try: source.read(100_000, 2_000_000)\n"
        "except KeyboardInterrupt: print('interrupted', flush=True)\n"
    )
    server.faults.extend(["hang"] * 10)
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", script, f"{server.url}/data"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stdout == "interrupted\n", ended.stderr
    assert time.monotonic() - started < 25  # the interpreter's own start included; a stalled request waits for 30 s


# ------------------------------------------------------------------------------------------------ folders


def test_a_folder_is_a_page_of_links(server: Server, tmp_path: Path) -> None:
    (tmp_path / "web" / "a folder").mkdir()
    (tmp_path / "web" / "a folder" / "what?#.txt").write_text("text")
    (tmp_path / "web" / "a folder" / "sub").mkdir()
    (entry, file) = list_folder(server.url)
    assert (entry.name, entry.path, entry.is_folder) == ("a folder", f"{server.url}/a%20folder", True)
    assert (file.name, file.is_file, file.is_folder) == ("data", True, False)
    (sub, text) = list_folder(entry.path)
    assert (sub.name, text.name) == ("sub", "what?#.txt")
    assert read_text(text.path) == "text"
    assert is_folder(entry.path)
    assert not is_file(entry.path)
    assert is_file(text.path)
    assert not is_folder(text.path)
    assert not is_folder(f"{server.url}/nowhere")


def page_server(*pages: str, **headers: str) -> Server:
    """A server that answers every request with a page."""
    return Server(lambda _: (200, {"Content-Type": "text/html", **headers}, "".join(pages).encode()))


def test_names_in_a_page_are_taken_once_and_as_they_are_meant() -> None:
    links = (
        """<a href="a b">1</a><a class=x href='a%20b'>1</a><a href="x&amp;y">2</a><a href="/run/%ff">3</a>
        <a href='z/'>4</a><a href="/run">up</a>
        <a href="//else.example/run/q">5</a><a href="%2e%2e">6</a><a href="a/../../q">7</a>""",
        f'<a href="{"9" * 3000}">8</a>',
    )
    with page_server(*links) as server:
        assert [one.name for one in list_folder(f"{server.url}/run")] == ["a b", "x&y", "z", "\ufffd"]


def test_a_page_without_an_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LONGEST_PAGE", 1 << 20)
    with page_server('<a href="x">x</a>', " " * (40 << 20)) as server:
        with pytest.raises(CheckpointError, match="should list the folder has more than 1 MiB"):
            list_folder(f"{server.url}/run")
        assert server.sent() < 20 << 20


@pytest.mark.parametrize("when", ["Mon, 01 Jan 2024 00:00:00 +999999999999999999", "Mon, 99 Foo 0 00:00", "5", "\xb2"])
def test_a_time_that_is_none_is_not_known(when: str) -> None:
    with page_server("page", **{"Last-Modified": when}) as server, open_source(f"{server.url}/file") as source:
        assert source.stamp.modified_ns == 0


def test_a_run_on_a_web_server(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "web" / "run 1"
    for epoch, weights in enumerate(random_walk(3)):
        save_weights(folder / f"epoch_{epoch}.safetensors", weights, weightlapse_metadata(epoch))
    run = analyzer.open_run(f"{server.url}/run%201/")
    assert (run.name, len(run.checkpoints)) == ("run 1", 3)
    remote = analyzer.measure(run, tmp_path / "remote.sqlite").to_pandas()
    local = analyzer.measure(analyzer.open_run(folder), tmp_path / "local.sqlite").to_pandas()
    assert remote.to_csv() == local.to_csv()


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_request_is_made_twice_for_one_bundle(
    server: Server, tmp_path: Path, jobs: int, make_run: Callable[..., Path]
) -> None:
    make_run(name="web/run")
    run = analyzer.open_run(f"{server.url}/run")
    server.served.clear()
    analyzer.measure(run, tmp_path / "store.sqlite", metrics=["size"], jobs=jobs)
    ranges = [(one.path, one.range) for one in server.served if one.range]
    assert len(ranges) == len(set(ranges)) == 5


def test_filesystems_are_shared_by_threads(server: Server) -> None:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(filesystem(server.url)[0])) for _ in range(3)]
    for thread in threads:
        thread.start()
        thread.join()
    assert len({id(one) for one in found}) == 1


@pytest.mark.parametrize(
    "stated",
    ["bytes 0-999/3000000", "bytes 100000-102500/3000000", "bytes 100000-100999/1500", "bytes 100000-100999", "none"],
)
def test_fault_58_a_server_that_lies_about_the_part_is_a_named_error(stated: str) -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        if handler.command == "HEAD":
            return 200, {"Content-Length": "3000000", "Accept-Ranges": "bytes"}, b""
        return 206, {"Content-Range": stated}, bytes(1000)

    with (
        Server(answer) as served,
        open_source(f"{served.url}/data") as source,
        pytest.raises(CheckpointError, match="/data: the server sends another part"),
    ):
        source.read(100_000, 1000)
    RangeHTTPFileSystem.clear_instance_cache()


def test_fault_58_redirects_without_end_are_a_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "WAITS", (0.01, 0.01))

    def answer(handler: http.server.BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        return 302, {"Location": f"{handler.path}x"}, b""

    started = time.monotonic()
    with (
        Server(answer) as served,
        pytest.raises(CheckpointError, match=r"/data: .*[Rr]edirect"),
        open_source(f"{served.url}/data") as source,
    ):
        source.read(100_000, 1000)
    assert time.monotonic() - started < 10
    assert len(served.served) < 100
    RangeHTTPFileSystem.clear_instance_cache()
