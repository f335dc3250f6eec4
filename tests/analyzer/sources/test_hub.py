"""A run in a repository of the Hugging Face Hub, of which a small imitation answers here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from fsspec.config import conf
from huggingface_hub import HfFileSystem
from servers import Answer, Server, part_of

import analyzer
from analyzer.errors import CheckpointError
from analyzer.sources import faults, is_file, is_folder, list_folder, open_source

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The repository ``org/name``: what lies in the folder ``repository``."""
    folder = tmp_path / "repository"

    def answer(handler: BaseHTTPRequestHandler) -> Answer:
        path = handler.path.partition("?")[0]
        if re.fullmatch(r"/api/models/org/name(/revision/main)?", path):
            return 200, JSON, json.dumps({"id": "org/name", "sha": "0" * 40}).encode()
        if tree := re.fullmatch(r"/api/models/org/name/tree/main/?(.*)", path):
            inside = folder / tree[1]
            if not inside.is_dir():
                return 404, {**JSON, "X-Error-Code": "EntryNotFound"}, b"{}"
            return 200, JSON, json.dumps([node(folder, one) for one in sorted(inside.iterdir())]).encode()
        if file := re.fullmatch(r"/org/name/resolve/main/(.*)", path):
            return part_of((folder / file[1]).read_bytes(), handler, {})
        return 404, {**JSON, "X-Error-Code": "RepoNotFound"}, b"{}"

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(faults, "WAITS", (0.01,))
    with Server(answer) as server:
        monkeypatch.setitem(conf, "hf", {"endpoint": server.url, "token": False})
        HfFileSystem.clear_instance_cache()
        yield server
    HfFileSystem.clear_instance_cache()


def node(folder: Path, path: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
    content = path.read_bytes()
    return {"type": "file", "path": name, "oid": hashlib.sha1(content).hexdigest(), "size": len(content)}


def test_a_run_on_the_hub_gives_the_same_bits(hub: Server, make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_run(name="repository/run")
    run = analyzer.open_run("hf://org/name/run")
    assert (run.name, run.layout) == ("run", "weightlapse")
    hub.served.clear()
    remote = analyzer.measure(run, tmp_path / "remote.sqlite").to_pandas()
    local = analyzer.measure(analyzer.open_run(folder), tmp_path / "local.sqlite").to_pandas()
    assert remote.to_csv() == local.to_csv()
    files = [one for one in hub.served if "/resolve/" in one.path]
    assert len(files) == 5  # one range of each file, and nothing that is not asked for
    assert sum(one.sent for one in files) < sum(path.stat().st_size for path in folder.iterdir())


def test_what_is_there_and_what_is_not(hub: Server, make_run: Callable[..., Path], tmp_path: Path) -> None:
    path = make_run(name="repository/run") / "epoch_0001.safetensors"
    url = f"hf://org/name/run/{path.name}"
    assert [entry.name for entry in list_folder("hf://org/name")] == ["run"]
    assert is_folder("hf://org/name/run")
    assert is_file(url)
    assert not is_file("hf://org/name/run/other")
    for missing in ("hf://org/name/run/other", "hf://org/other/run/other"):
        with pytest.raises(CheckpointError, match=f"^{missing}: does not exist"):
            open_source(missing)
    with open_source(url) as source:
        source.verify_unchanged()
        content = path.read_bytes()
        path.write_bytes(content[:-1] + b"x")  # another commit
        with pytest.raises(CheckpointError, match="changed while it was being read"):
            source.verify_unchanged()


def test_fault_46_a_range_that_is_ignored(hub: Server, tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "data").write_bytes(bytes(100_000))
    with open_source("hf://org/name/data") as source:
        hub.faults.append("whole")
        with pytest.raises(CheckpointError, match=r"data: the server answers a request for a part with the whole file"):
            source.read(50_000, 100)
