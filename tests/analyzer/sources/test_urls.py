"""URLs as paths: which ones are, what they are called, what they may not carry; and ranges as requests."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import fsspec
import pytest
from builders import CHECKOUT, random_walk, save_weights, weightlapse_metadata
from hypothesis import given
from hypothesis import strategies as st

import analyzer
from analyzer.errors import CheckpointError
from analyzer.model.run import FileStamp
from analyzer.report.claiming import claim_folder
from analyzer.sources import (
    LocalSource,
    canonical,
    faults,
    folder_name,
    is_file,
    is_folder,
    is_remote,
    join,
    list_folder,
    open_source,
    path_below,
    read_text,
)
from analyzer.sources.ranges import requests, share


@pytest.fixture
def memory() -> fsspec.AbstractFileSystem:
    """fsspec's own filesystem in memory, empty."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]
    return filesystem


# ------------------------------------------------------------------------------------------------ paths


@pytest.mark.parametrize(
    "path", ["s3://b/k", "https://h/x", "hf://o/r", "gs://b", "memory://x", "a+b-c.d://x", "S3://b"]
)
def test_what_begins_like_a_url_is_remote(path: str) -> None:
    assert is_remote(path)


@pytest.mark.parametrize(
    "path",
    ["run", "/a/b", "C:\\runs", "C://runs", "file:///a", "local:///a", "run/s3://b", "://b", "s3:/b", "zip::s3://b"],
)
def test_everything_else_is_of_this_machine(path: str) -> None:
    assert not is_remote(path)


def test_file_urls_are_local_paths(tmp_path: Path) -> None:
    folder = tmp_path / "my run"
    save_weights(folder / "epoch_1.safetensors", random_walk(1)[0])
    assert canonical(folder.as_uri()) == str(folder)
    assert canonical(f"file://localhost{folder.as_posix().replace(' ', '%20')}") == str(folder)
    assert analyzer.open_run(folder.as_uri()).path == str(folder)


def test_names_and_places() -> None:
    assert join("s3://b/run/", "a", "b c") == "s3://b/run/a/b c"
    assert join("https://h/run", "what?#") == "https://h/run/what%3F%23"
    assert join("run", "a") == str(Path("run", "a"))
    assert folder_name("s3://b/deep/run/") == "run"
    assert folder_name("s3://b") == "b"
    assert folder_name("https://host:80/a/my%20run/") == "my run"
    assert folder_name("https://host:80/") == "host"
    assert path_below("s3://b/all/", "s3://b/all/a/seed") == "a/seed"
    assert path_below("all", str(Path("all", "a", "seed"))) == "a/seed"
    assert canonical("s3://b/run//") == "s3://b/run"
    assert canonical("S3://Bucket/Run") == "s3://Bucket/Run"
    assert canonical("run/") == "run/"


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:hunter2@bucket/run",
        "s3://key:hun/ter2@bucket/run",
        "https://user:hunter2@host/run",
        "https://hunter2@host/run",
        "https://host/run?X-Amz-Signature=hunter2",
        "https://host/run#hunter2",
        "sftp://user:hunter2@host/run",
        "memory://a:hunter2/run",
        "HTTPS://user:hunter2@host/run",
        "S3://key:hunter2@bucket/run",
    ],
)
def test_a_url_that_carries_a_secret_is_refused_and_not_shown(url: str, tmp_path: Path) -> None:
    for function in (analyzer.open_runs, canonical, list_folder, is_file, is_folder, open_source, read_text):
        with pytest.raises(CheckpointError) as caught:
            function(url)
        assert "hunter2" not in str(caught.value)
        assert "ter2" not in str(caught.value)
    ended = subprocess.run(
        [sys.executable, "-m", "analyzer", "report", url, "--out", str(tmp_path / "report")],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "ter2" not in ended.stderr + ended.stdout
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    "command",
    [["audit", "zip::https://user:hun@ter2@host/run"], ["export", "https://user:hunter2@host/run", "--format", "csv"]],
)
def test_what_is_no_address_of_a_run_is_named_without_its_login(command: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "analyzer", *command],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
    )
    assert "https://host/run" in ended.stderr
    assert "ter2" not in ended.stderr + ended.stdout


@pytest.mark.parametrize(
    "url",
    [
        "sftp://user@host:22/run",
        "http://[::1]/run",
        "http://[::1]:80/run",
        "hf://org/name@refs%2Fpr%2F1",
        "s3://bucket/a:b@c?d#e",
    ],
)
def test_names_and_ports_are_no_secrets(url: str) -> None:
    assert canonical(url) == url


def test_texts_of_other_libraries_are_redacted() -> None:
    text = "GET https://user:pw@cdn.example:80/a/b?sig=abc&x=1 failed, token=hf_abc; see s3://b/k"
    assert faults.redacted(text) == "GET https://cdn.example:80/a/b?… failed, token=…"
    assert faults.redacted("GET ftp://user:p@w@host/a#b") == "GET ftp://host/a?…"
    assert faults.redacted("{'Authorization': 'Bearer abc'}") == "{'Authorization': …"
    assert faults.redacted("no credentials found for s3://b/k") == "no credentials found for s3://b/k"


# ------------------------------------------------------------------------------------------------ packages


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("s3://b/run", "s3fs", "s3"),
        ("gs://b/run", "gcsfs", "gs"),
        ("hf://o/r", "huggingface_hub", "hf"),
        ("https://h/run", "aiohttp", "http"),
        ("sftp://h/run", "paramiko", "sftp"),
    ],
)
def test_a_missing_package_is_named_by_its_extra(url: str, package: str, extra: str) -> None:
    script = (
        "import sys\n"
        "sys.modules[sys.argv[2]] = None\n"
        "sys.argv = ['weightlapse', 'audit', sys.argv[1]]\n"
        "from analyzer.cli import main\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-c", script, url, package]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"Error: {url}: ")
    assert f"pip install 'weightlapse[{extra}]'" in ended.stderr


def test_an_unknown_protocol_is_said() -> None:
    with pytest.raises(
        CheckpointError, match=r"^ftp://b/run: ftp:// is not supported; weightlapse reads s3://, .*hf://"
    ):
        is_folder("ftp://b/run")
    for url in ("hf://gpt2", "hf://gpt2/", "hf://datasets/squad"):
        with pytest.raises(CheckpointError, match="does not name a repository of the Hub; write hf://OWNER/NAME"):
            is_folder(url)
    with pytest.raises(
        CheckpointError, match=r"^foo://b/run: foo:// is not supported; weightlapse reads s3://, .*hf://"
    ):
        analyzer.open_run("foo://b/run")


def test_local_runs_need_no_fsspec(tmp_path: Path) -> None:
    save_weights(tmp_path / "run" / "epoch_1.safetensors", random_walk(1)[0])
    script = (
        "import sys\n"
        "sys.modules['fsspec'] = None\n"
        "import analyzer\n"
        "analyzer.measure(analyzer.open_run(sys.argv[1]), sys.argv[2])\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "run"), str(tmp_path / "store.sqlite")]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, check=True, timeout=60)


# ------------------------------------------------------------------------------------------------ ranges


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)), max_size=12), st.integers(0, 40), st.integers(1, 50)
)
def test_requests_bring_every_range_and_little_else(ranges: list[tuple[int, int]], gap: int, piece: int) -> None:
    content = bytes(range(256)) + bytes(range(200))
    made = requests(ranges, gap, piece)
    buffers = [memoryview(bytearray(length)) for _, length in ranges]
    for request in made:
        assert 0 < request.end - request.start <= piece
        for number in request.ranges:
            share(request, content[request.start : request.end], ranges[number][0], buffers[number])
    for (offset, length), buffer in zip(ranges, buffers, strict=True):
        assert buffer == content[offset : offset + length]
    asked = [position for request in made for position in range(request.start, request.end)]
    assert len(asked) == len(set(asked))  # nothing twice
    wanted = sorted({position for offset, length in ranges for position in range(offset, offset + length)})
    between = [b - a - 1 for a, b in pairwise(wanted)]
    assert len(asked) == len(wanted) + sum(hole for hole in between if hole <= gap)


@given(st.binary(max_size=40_000), st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 40_000)), max_size=4))
def test_any_range_of_a_remote_file(data: bytes, ranges: list[tuple[int, int]]) -> None:
    fsspec.filesystem("memory").pipe_file("/any/range", data)
    with open_source("memory://any/range") as source:
        assert source.stamp.size == len(data)
        for offset, length in ranges:
            if offset + length <= len(data):
                assert source.read(offset, length) == data[offset : offset + length]
            elif length:
                with pytest.raises(CheckpointError, match=f"ends at byte {len(data)}"):
                    source.read(offset, length)


def test_local_ranges_are_read_one_by_one_and_one_error_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(range(100)))
    buffers = [memoryview(bytearray(10)) for _ in range(3)]
    with LocalSource(str(tmp_path / "data")) as source:
        outcomes = source.read_ranges(list(zip((50, 95, 0), buffers, strict=True)))
        assert next(outcomes) is None
        assert (buffers[0][0], bytes(buffers[2])) == (50, bytes(10))  # the last one is not read yet
        assert [error and "ends at byte 100" in str(error) for error in outcomes] == [True, None]


# ------------------------------------------------------------------------------------------------ folders and runs


def test_remote_folders(memory: fsspec.AbstractFileSystem) -> None:
    for name in ("b", "a", "c/d"):
        memory.pipe_file(f"/run/{name}", name.encode())
    assert [(one.name, one.is_file, one.is_folder) for one in list_folder("memory://run")] == [
        ("a", True, False),
        ("b", True, False),
        ("c", False, True),
    ]
    assert read_text("memory://run/c/d") == "c/d"
    with pytest.raises(CheckpointError, match="memory://nowhere: does not exist"):
        list_folder("memory://nowhere")


def test_a_run_in_memory(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    for epoch, weights in enumerate(random_walk(3)):
        path = save_weights(tmp_path / f"epoch_{epoch}.safetensors", weights)
        memory.pipe_file(f"/run/{path.name}", path.read_bytes())
    memory.pipe_file("/run/metrics.csv", b"epoch,loss\n0,3\n1,2\n2,1\n")
    run = analyzer.open_run("memory://run")
    assert (run.layout, run.path) == ("safetensors", "memory://run")
    assert [one.scores for one in run.checkpoints] == [{"loss": 3.0}, {"loss": 2.0}, {"loss": 1.0}]
    measurements = analyzer.measure(run, tmp_path / "store.sqlite")
    assert measurements.series("fc1.weight", "step_distance").statuses[1:] == ("ok", "ok")
    analyzer.write_report(measurements, tmp_path / "report")
    assert "memory://run" in (tmp_path / "report" / "summary.json").read_text()
    other = {"run": "memory://elsewhere/run"}
    with pytest.raises(analyzer.WeightlapseError, match="contains the report of run"):
        claim_folder(tmp_path / "report", other, "report")
    claim_folder(tmp_path / "report", {"run": "memory://run"}, "report")


def test_a_distributed_checkpoint_in_memory(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    dcp = pytest.importorskip("torch.distributed.checkpoint")
    for step in (1, 2):
        folder = tmp_path / "run" / f"step-{step}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no process group is there
            dcp.save({"weight": torch.full((2, 3), float(step))}, checkpoint_id=folder)
        for file in folder.iterdir():
            memory.pipe_file(f"/run/{folder.name}/{file.name}", file.read_bytes())
    run = analyzer.open_run("memory://run")
    assert [one.files[1].path for one in run.checkpoints] == [f"memory://run/step-{n}/__0_0.distcp" for n in (1, 2)]
    measurements = analyzer.measure(run, tmp_path / "store.sqlite", metrics=["step_distance"])
    assert measurements.series("weight", "step_distance").values[1] == pytest.approx(6**0.5)


def test_an_etag_tells_that_a_file_was_replaced(tmp_path: Path) -> None:
    from dataclasses import replace

    for epoch, weights in enumerate(random_walk(2)):
        save_weights(tmp_path / "run" / f"epoch_{epoch}.safetensors", weights, weightlapse_metadata(epoch))
    run = analyzer.open_run(tmp_path / "run")
    analyzer.measure(run, tmp_path / "store.sqlite", metrics=["size"])
    from analyzer.store.store import open_store

    def marked(etag: str) -> analyzer.model.run.Run:
        first, second = run.checkpoints
        stamps = tuple(FileStamp(one.path, one.size, one.modified_ns, etag) for one in second.files)
        return replace(run, checkpoints=(first, replace(second, files=stamps)))

    with open_store(str(tmp_path / "store.sqlite")) as store:
        assert store.has_only_grown(run)
        assert not store.has_only_grown(marked("another"))


def test_the_waits_double_and_are_not_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(faults.time, "sleep", waits.append)

    def fail() -> None:
        raise TimeoutError("https://h/x?sig=hunter2")

    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"^s3://b/k: the server did not answer in time, 5 times in a row"):
            faults.with_retries("s3://b/k", fail)
    assert len(waits) == 8
    assert all(limit / 2 <= wait <= limit for wait, limit in zip(waits, (0.5, 1, 2, 4) * 2, strict=True))
    assert waits[:4] != waits[4:]


def test_the_text_of_an_unknown_error_is_shown_without_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "WAITS", ())

    def fail() -> None:
        raise RuntimeError("GET https://u:hunter2@h/x?sig=hunter2: password=hunter2\nheaders: hunter2")

    with pytest.raises(CheckpointError) as caught:
        faults.with_retries("s3://b/k", fail)
    assert str(caught.value) == "s3://b/k: cannot be read: RuntimeError: GET https://h/x?… password=…"
