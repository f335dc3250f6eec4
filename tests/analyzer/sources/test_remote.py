"""Runs in a bucket: read from a real S3 server, counted on the server's side."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec.asyn
import numpy as np
import pytest
import s3fs
from builders import STRESS, random_walk, save_weights, weightlapse_metadata
from servers import Server, proxy, s3_server

import analyzer
from analyzer.errors import CheckpointError, NoCheckpointsError
from analyzer.formats.safetensors import read_index
from analyzer.sources import faults, is_file, is_folder, list_folder, open_source, read_text

BUCKET = "runs"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def s3(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The S3 server behind a counting proxy, where s3fs finds it; an empty bucket is there."""
    with proxy(moto) as server:
        for name, value in {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "a-secret-key",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(faults, "WAITS", (0.01, 0.01))
        s3fs.S3FileSystem.clear_instance_cache()
        bucket = s3fs.S3FileSystem(endpoint_url=moto)
        if bucket.exists(BUCKET):
            bucket.rm(BUCKET, recursive=True)
        bucket.mkdir(BUCKET)
        server.served.clear()
        yield server
        s3fs.S3FileSystem.clear_instance_cache()


def upload(moto: str, folder: Path, name: str = "run") -> str:
    """The folder in the bucket; not through the proxy."""
    bucket = s3fs.S3FileSystem(endpoint_url=moto)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            bucket.put_file(str(path), f"{BUCKET}/{name}/{path.relative_to(folder).as_posix()}")
    return f"s3://{BUCKET}/{name}"


# ------------------------------------------------------------------------------------------------ the whole of it


def test_a_run_in_a_bucket_gives_the_same_bits_as_on_this_machine(
    s3: Server, moto: str, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_run(random_walk(4, {"fc1.weight": (60, 40), "fc1.bias": (60,), "out.weight": (10, 60)}))
    url = upload(moto, folder)
    local, remote = analyzer.open_run(folder), analyzer.open_run(url + "/")
    assert (remote.path, remote.name, remote.layout) == (url, "run", "weightlapse")
    assert [one.scores for one in remote.checkpoints] == [one.scores for one in local.checkpoints]
    measured = [
        analyzer.measure(run, tmp_path / f"{number}.sqlite").to_pandas() for number, run in enumerate((local, remote))
    ]
    assert len(measured[0]) > 100
    assert measured[0].to_csv() == measured[1].to_csv()
    s3.served.clear()
    analyzer.measure(analyzer.open_run(url), tmp_path / "1.sqlite")
    weights = sum(path.stat().st_size for path in folder.iterdir())
    assert s3.sent() < 2 * weights  # only headers: the same bytes are not measured again


def test_the_command_line_names_the_report_after_the_last_part(
    s3: Server, moto: str, make_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from analyzer.cli import command

    monkeypatch.chdir(tmp_path)
    url = upload(moto, make_run(), "deep/er/my run")
    result = CliRunner().invoke(command, ["measure", url, "--metrics", "size", "--jobs", "2"], standalone_mode=False)
    assert result.return_value == 0, result.output
    assert (tmp_path / "reports" / "my-run" / "measurements.sqlite").is_file()
    result = CliRunner().invoke(command, ["audit", url], standalone_mode=False)
    assert "epoch_0000.safetensors" in result.output


def test_a_folder_of_runs_in_a_bucket(s3: Server, moto: str, make_run: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a/seed", "b/seed"):
        make_run(name=f"runs/{name}")
    url = upload(moto, tmp_path / "runs", "all")
    assert [run.name for run in analyzer.open_runs(url)] == ["a/seed", "b/seed"]
    listings = [one.path for one in s3.served if "list-type" in one.path]
    assert len(listings) == len(set(listings))  # each folder once, however many layouts look at it


def test_a_trainers_output_in_a_bucket(s3: Server, moto: str, tmp_path: Path) -> None:
    for step, weights in enumerate(random_walk(3), start=1):
        folder = tmp_path / "out" / f"checkpoint-{step}"
        save_weights(folder / "model.safetensors", weights)
        log = [{"step": n, "epoch": n / 10, "loss": 1 / n} for n in range(1, step + 1)]
        (folder / "trainer_state.json").write_text(f'{{"log_history": {str(log).replace(chr(39), chr(34))}}}')
    run = analyzer.open_run(upload(moto, tmp_path / "out"))
    assert run.layout == "huggingface"
    assert [one.scores["loss"] for one in run.checkpoints] == [1, 1 / 2, 1 / 3]


# ------------------------------------------------------------------------------------------------ only what is needed


def test_one_tensor_of_a_sharded_checkpoint_costs_its_bytes(s3: Server, moto: str, tmp_path: Path) -> None:
    rows = 3200 if STRESS else 800  # 4 shards of 4 tensors of 12.8 MB each, or of 3.2 MB
    for shard in range(4):
        weights = {
            f"layers.{shard}.{name}": np.full((rows, 1000), shard + number, dtype=np.float32)
            for number, name in enumerate(("q", "k", "v", "o"))
        }
        save_weights(tmp_path / f"model-{shard + 1:05d}-of-00004.safetensors", weights)
    url = upload(moto, tmp_path, "sharded")
    s3.served.clear()
    tensors = {}
    for entry in list_folder(url):
        tensors |= read_index(entry.path).tensors
    headers = s3.sent()
    (part,) = tensors["layers.2.v"].parts
    with open_source(part.path) as source:
        data = source.read(part.offset, part.length)
        source.verify_unchanged()
    assert np.all(np.frombuffer(data, dtype=np.float32) == 4)
    assert part.length == rows * 4000
    print(f"{s3.sent() - headers} bytes sent for a tensor of {part.length}, and {headers} for the headers of 4 shards")
    assert headers < 4 * 20_000
    assert s3.sent() <= 1.05 * part.length + headers
    requests = [one for one in s3.served if one.range and one.sent > 20_000]
    assert max(one.sent for one in requests) <= 8 << 20  # a cut does not cost more than a piece


def test_neighbouring_tensors_come_in_one_request(s3: Server, moto: str, tmp_path: Path) -> None:
    names = [f"block.{number}.weight" for number in range(40)]
    for epoch, weights in enumerate(random_walk(3, dict.fromkeys(names, (8, 30)))):
        save_weights(tmp_path / "run" / f"epoch_{epoch}.safetensors", weights, weightlapse_metadata(epoch))
    run = analyzer.open_run(upload(moto, tmp_path / "run"))
    s3.served.clear()
    analyzer.measure(run, tmp_path / "store.sqlite", metrics=["size"], jobs=1)
    assert sum(one.range is not None for one in s3.served) == 3
    assert sum(one.method == "HEAD" for one in s3.served) == 3
    assert len(s3.served) == 6


# ------------------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize("fault", ["cut", "short", "drop", 500, 503, 429])
def test_fault_46_what_passes_is_tried_again(s3: Server, moto: str, tmp_path: Path, fault: int | str) -> None:
    content = np.random.default_rng(0).bytes(300_000)
    (tmp_path / "data").write_bytes(content)
    url = upload(moto, tmp_path)
    s3.faults.append(fault)
    with open_source(f"{url}/data") as source:
        assert source.read(50_000, 200_000) == content[50_000:250_000]
    assert not s3.faults
    assert sum(one.range is not None for one in s3.served) == 2


@pytest.mark.parametrize(
    ("fault", "told", "tries"),
    [
        (404, r"does not exist \(404\)", 1),
        (403, r"access is denied \(403\)", 1),
        (401, r"access is denied \(401\)", 1),
        (500, r"the server failed \(500\), 3 times in a row", 3),
        (503, r"the server failed \(503\), 3 times in a row", 3),
        (429, r"the server limits the rate of requests \(429\)", 3),
        ("cut", "the connection was interrupted, 3 times in a row", 3),
        ("short", "the connection was interrupted, 3 times in a row", 3),
        ("whole", "answers a request for a part with the whole file", 1),
    ],
)
def test_fault_46_what_lasts_is_a_named_error(
    s3: Server, moto: str, tmp_path: Path, fault: int | str, told: str, tries: int
) -> None:
    (tmp_path / "data").write_bytes(bytes(300_000))
    url = upload(moto, tmp_path)
    with open_source(f"{url}/data") as source:
        s3.served.clear()
        s3.faults.extend([fault] * 10)
        with pytest.raises(CheckpointError, match=rf"s3://{BUCKET}/run/data: .*{told}") as caught:
            source.read(50_000, 200_000)
    assert sum(one.range is not None for one in s3.served) == tries
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_what_is_not_there_is_said(s3: Server, moto: str, tmp_path: Path) -> None:
    with pytest.raises(NoCheckpointsError, match=f"s3://{BUCKET}/nowhere: does not exist"):
        analyzer.open_run(f"s3://{BUCKET}/nowhere")
    with pytest.raises(CheckpointError, match=f"s3://{BUCKET}/nowhere: does not exist"):
        list_folder(f"s3://{BUCKET}/nowhere")
    with pytest.raises(CheckpointError, match=f"s3://{BUCKET}/nowhere: does not exist"):
        open_source(f"s3://{BUCKET}/nowhere")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "data").write_bytes(b"data")
    url = upload(moto, tmp_path)
    assert is_file(f"{url}/one/data")
    assert is_folder(f"{url}/one")
    assert not is_folder(f"{url}/one/data")
    assert not is_file(f"{url}/one")
    with pytest.raises(CheckpointError, match="is a folder"):
        open_source(f"{url}/one")
    with pytest.raises(NoCheckpointsError, match="is a file; name the folder"):
        analyzer.open_run(f"{url}/one/data")


def test_a_key_is_a_name_whatever_is_in_it(s3: Server, moto: str, tmp_path: Path) -> None:
    names = sorted(["a::file:b", "what?", "100%25", "#1 x", "ä"])
    for name in names:
        (tmp_path / name).write_text(name)
    url = upload(moto, tmp_path)
    entries = list_folder(url)
    assert [entry.name for entry in entries] == names
    for entry in entries:
        assert read_text(entry.path) == entry.name


def test_fault_46_a_server_that_fails_spoils_only_what_it_served(
    s3: Server, moto: str, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = analyzer.open_run(upload(moto, make_run()))
    s3.faults.extend([500] * 3)  # as often as is tried
    curve = analyzer.measure(run, tmp_path / "store.sqlite", jobs=1).series("fc1.weight", "frobenius_norm")
    assert curve.statuses.count("error") == 1
    assert curve.statuses.count("ok") == 4
    curve = analyzer.measure(run, tmp_path / "store.sqlite", jobs=1).series("fc1.weight", "frobenius_norm")
    assert curve.statuses == ("ok",) * 5  # what could not be read is tried again the next time


def test_fault_23_24_a_file_that_is_replaced_in_the_bucket(
    s3: Server, moto: str, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_run()
    url = upload(moto, folder)
    run = analyzer.open_run(url)
    other = random_walk(1, seed=7)[0]
    save_weights(folder / "epoch_0002.safetensors", other, weightlapse_metadata(2))  # the same size
    upload(moto, folder)
    expected = run.checkpoints[2].files[0]
    with open_source(expected.path, expected) as source:
        source.read(100, 10)
        with pytest.raises(CheckpointError, match="changed while it was being read"):
            source.verify_unchanged()
    curve = analyzer.measure(run, tmp_path / "store.sqlite").series("fc1.weight", "frobenius_norm")
    assert curve.statuses[2] == "error"
    again = analyzer.measure(analyzer.open_run(url), tmp_path / "store.sqlite").series("fc1.weight", "frobenius_norm")
    assert again.statuses == ("ok",) * 5
    assert again.values[2] == pytest.approx(np.linalg.norm(other["fc1.weight"].astype(float)), rel=1e-12)


# ------------------------------------------------------------------------------------------------ processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_reads_what_its_parent_has_read_before(s3: Server, moto: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(range(200)) * 500)
    url = f"{upload(moto, tmp_path)}/data"
    with open_source(url) as of_the_parent:
        assert of_the_parent.read(20_000, 3) == bytes([0, 1, 2])
        lock = fsspec.asyn.get_lock()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a fork where threads run is what this is about
            lock.acquire()  # as if another thread were just starting fsspec's loop
            child = os.fork()
            if child:
                lock.release()
        if child == 0:
            code = 1
            try:
                with open_source(url) as source:
                    code = 0 if source.read(20_003, 2) == of_the_parent.read(20_003, 2) == bytes([3, 4]) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(waited(child)) == 0
        assert of_the_parent.read(20_000, 1) == bytes([0])  # and the parent goes on


def waited(child: int) -> int:
    """The child's status; one that hangs is ended."""
    import signal
    import time

    for _ in range(300):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]
