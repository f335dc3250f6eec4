"""Bytes of files: exact ranges, nothing but regular files, and a named error where a file changed on the way."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders import full_count, random_walk, save_weights, weightlapse_metadata
from hypothesis import given
from hypothesis import strategies as st

import analyzer
from analyzer.errors import CheckpointError
from analyzer.formats.safetensors import read_index
from analyzer.model.run import FileStamp, Run
from analyzer.sources import LocalSource, folder_name, list_folder, local, read_text

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")


def stamp(path: Path) -> FileStamp:
    with LocalSource(str(path)) as source:
        return source.stamp


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(0, 300))
def test_any_range(tmp_path_factory: pytest.TempPathFactory, data: bytes, offset: int, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "any_range"
    path.write_bytes(data)
    with LocalSource(str(path)) as source:
        if offset + length <= len(data):
            assert source.read(offset, length) == data[offset : offset + length]
        elif length:
            with pytest.raises(CheckpointError, match="ends at byte"):
                source.read(offset, length)


def test_short_reads_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(range(100)))
    read_at = local._read_at
    monkeypatch.setattr(local, "_read_at", lambda descriptor, offset, buffer: read_at(descriptor, offset, buffer[:7]))
    with LocalSource(str(path)) as source:
        assert source.read(3, 90) == bytes(range(3, 93))


def test_reading_without_preadv_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(range(100)))
    monkeypatch.delattr(os, "preadv", raising=False)
    with LocalSource(str(path)) as source:
        assert source.read(50, 50) == bytes(range(50, 100))
        assert source.read(3, 4) == bytes(range(3, 7))
        with pytest.raises(CheckpointError, match="ends at byte 100"):
            source.read(99, 2)


def test_an_io_error_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    path = tmp_path / "data"
    path.write_bytes(b"data")
    monkeypatch.setattr(local, "_read_at", fail)
    with LocalSource(str(path)) as source, pytest.raises(CheckpointError, match="data: reading failed: Input/output"):
        source.read(0, 4)


def test_no_handle_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"data")
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0  # noqa: PTH208
    for _ in range(20):
        with LocalSource(str(path)):
            pass
        with pytest.raises(CheckpointError):
            LocalSource(str(path), FileStamp(str(path), 5, 0))
        with pytest.raises(CheckpointError):
            LocalSource(str(tmp_path))
        with pytest.raises(CheckpointError):
            read_index(str(path))
    if before:
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


# ------------------------------------------------------------------------------------------------ strange files


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_link_loop(path: Path) -> None:
    path.symlink_to(path)


def make_link_ring(path: Path) -> None:
    other = path.with_name(f"{path.name}.other")
    other.symlink_to(path)
    path.symlink_to(other)


def make_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have 108 bytes only
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def make_device_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


STRANGE = [make_fifo, make_link_loop, make_link_ring, make_dangling_link, make_socket, make_device_link, Path.mkdir]
strange = pytest.mark.parametrize("make", STRANGE, ids=lambda make: make.__name__)


def within(seconds: float, function: Callable[[], object]) -> object:
    """The function's result or exception; a failure where it hangs."""
    outcome: list[object] = []

    def work() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, f"hangs for more than {seconds} s"
    return outcome[0]


@posix
@strange
def test_fault_19_a_source_is_a_regular_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "epoch_0001.safetensors"
    make(path)
    for read in (LocalSource, read_text, read_index):
        error = within(10, lambda read=read: read(str(path)))
        assert isinstance(error, CheckpointError), error
        assert str(error).startswith(f"{path}: ")
    assert [entry.name for entry in list_folder(str(tmp_path)) if entry.is_file] == []


@posix
@strange
@pytest.mark.parametrize("layout", ["weightlapse", "safetensors"])
def test_fault_19_something_else_where_a_checkpoint_belongs(
    tmp_path: Path, make: Callable[[Path], None], layout: str
) -> None:
    folder = tmp_path / "run"
    for epoch, weights in enumerate(random_walk(3)):
        metadata = weightlapse_metadata(epoch) if layout == "weightlapse" else None
        save_weights(folder / f"epoch_{epoch}.safetensors", weights, metadata)
    make(folder / "epoch_3.safetensors")
    make(folder / "metrics.csv")
    run = within(20, lambda: analyzer.open_run(folder))
    assert isinstance(run, Run), run
    assert run.layout == layout
    assert [checkpoint.name for checkpoint in run.checkpoints] == [f"epoch_{epoch}.safetensors" for epoch in range(3)]
    refused = [finding for finding in run.findings if finding.rule == "refused_file"]
    assert [finding.severity for finding in refused] == ["serious"]
    assert str(folder / "epoch_3.safetensors") in refused[0].sentence


@posix
def test_fault_19_loops_of_folders_end(tmp_path: Path) -> None:
    save_weights(tmp_path / "runs" / "one" / "epoch_1.safetensors", random_walk(1)[0])
    (tmp_path / "runs" / "again").symlink_to(tmp_path / "runs", target_is_directory=True)
    (tmp_path / "runs" / "self").symlink_to("self")
    (tmp_path / "runs" / "sub").mkdir()
    (tmp_path / "runs" / "sub" / "up").symlink_to("..", target_is_directory=True)
    runs = within(20, lambda: analyzer.open_runs(tmp_path / "runs"))
    assert isinstance(runs, list), runs
    assert [run.name for run in runs] == ["one"]


@posix
def test_a_linked_checkpoint_is_read(tmp_path: Path) -> None:
    save_weights(tmp_path / "elsewhere" / "w.safetensors", random_walk(1)[0])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "epoch_1.safetensors").symlink_to(tmp_path / "elsewhere" / "w.safetensors")
    assert analyzer.open_run(tmp_path / "run").checkpoints[0].epoch == 1


# ------------------------------------------------------------------------------------------------ files that change


def later(path: Path) -> None:
    """As if the file had been written a second later, whatever the file system's clock resolves."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 10)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(path.read_bytes())  # as large as before
    later(new)
    new.replace(path)


def overwrite(path: Path) -> None:
    path.write_bytes(path.read_bytes())
    later(path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


CHANGES = [shrink, grow, replace, overwrite, empty, Path.unlink]
changes = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)


@changes
def test_fault_23_24_a_file_that_changed_since_it_was_indexed(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = save_weights(tmp_path / "w.safetensors", random_walk(1)[0])
    expected = read_index(str(path)).files[0]
    with LocalSource(str(path), expected) as source:
        source.verify_unchanged()
    change(path)
    with pytest.raises(CheckpointError, match=r"w\.safetensors: (changed while it was being read|cannot be opened)"):
        LocalSource(str(path), expected)


@pytest.mark.parametrize("change", [shrink, grow, overwrite, empty], ids=lambda change: change.__name__)
def test_fault_23_24_a_file_that_changes_while_it_is_open(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = save_weights(tmp_path / "w.safetensors", random_walk(1)[0])
    with LocalSource(str(path), stamp(path)) as source:
        change(path)
        with pytest.raises(CheckpointError, match="changed while it was being read"):
            source.verify_unchanged()


def test_fault_24_a_replaced_file_that_is_open_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"old" * 100)
    with LocalSource(str(path), stamp(path)) as source:
        first = source.read(0, 150)
        new = tmp_path / "new"
        new.write_bytes(b"new" * 100)
        new.replace(path)
        assert bytes(first + source.read(150, 150)) == b"old" * 100
        source.verify_unchanged()


@changes
def test_fault_23_24_measuring_names_the_file_and_goes_on(tmp_path: Path, change: Callable[[Path], None]) -> None:
    states = random_walk(4)
    folder = tmp_path / "run"
    for epoch, weights in enumerate(states):
        save_weights(folder / f"epoch_{epoch}.safetensors", weights, weightlapse_metadata(epoch))
    run = analyzer.open_run(folder)
    change(folder / "epoch_2.safetensors")
    measurements = analyzer.measure(run, tmp_path / "store.sqlite")
    curve = measurements.series("fc1.weight", "frobenius_norm")
    expected = [float(np.linalg.norm(weights["fc1.weight"].astype(np.float64))) for weights in states]
    assert curve.statuses == ("ok", "ok", "error", "ok")
    expected[2] = np.nan
    np.testing.assert_allclose(curve.values, expected, rtol=1e-12)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a file that shrinks under a reader, on Linux")
def test_fault_23_a_file_cut_and_restored_again_and_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for epoch, weights in enumerate(random_walk(2, {"w": (300, 300)})):
        save_weights(folder / f"epoch_{epoch}.safetensors", weights, weightlapse_metadata(epoch))
    path = folder / "epoch_1.safetensors"
    whole = path.read_bytes()
    script = (
        "import os, random, sys, time\n"
        "path, whole = sys.argv[1], open(sys.argv[1], 'rb').read()\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    os.truncate(path, len(whole) // 2); time.sleep(random.choice([0, 0.001, 0.002]))\n"
        "    with open(path, 'r+b') as file: file.write(whole)\n"
        "    time.sleep(random.choice([0, 0.001, 0.002, 0.03, 0.06]))\n"
    )
    values, errors = set(), 0
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            until = time.monotonic() + full_count(20, 1)
            while time.monotonic() < until:
                try:
                    index = read_index(str(path))
                    (part,) = index.tensors["w"].parts
                    with LocalSource(str(path), index.files[0]) as source:
                        data = bytes(source.read(part.offset, part.length))
                        source.verify_unchanged()
                    values.add(data)
                except CheckpointError as error:
                    assert str(path) in str(error)
                    errors += 1
        finally:
            process.kill()
    path.write_bytes(whole)
    (part,) = read_index(str(path)).tensors["w"].parts
    assert errors
    assert values
    assert values <= {whole[part.offset : part.offset + part.length]}


# ------------------------------------------------------------------------------------------------ small things


def test_text_files(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"\xef\xbb\xbfepoch,loss\r\n1,0.5\r\n")
    assert read_text(str(path)) == "epoch,loss\r\n1,0.5\r\n"
    path.write_bytes(b"epoch\xff")
    with pytest.raises(CheckpointError, match=r"metrics\.csv: is not UTF-8 text \(byte 5\)"):
        read_text(str(path))
    with pytest.raises(CheckpointError, match="that are read of such a file"):
        read_text(str(path), limit=5)


def test_listings_are_sorted_and_errors_named(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / name).write_bytes(b"")
    assert [entry.name for entry in list_folder(str(tmp_path))] == ["a", "b", "c"]
    with pytest.raises(CheckpointError, match="the folder cannot be read"):
        list_folder(str(tmp_path / "nowhere"))


def test_a_folder_has_a_name_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my run"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert folder_name(".") == folder_name(f"{folder}/") == folder_name("../my run/.") == "my run"
    assert folder_name("/") == "run"
