"""Reports that are killed, that run out of disk, and that two processes make at a time."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from builders import SUPPORT, full_count, random_walk, save_weights, weightlapse_metadata
from commands import measured, weightlapse

from analyzer.errors import ReportError
from analyzer.store.files import write_whole
from analyzer.workflow import report as draw_report


def script(mode: str, folder: Path, count: int) -> dict[str, int]:
    command = [sys.executable, str(SUPPORT / "kill_report.py"), mode, str(folder), str(count)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_fault_27_row33_killed_at_any_moment_no_file_is_half_written_and_the_next_run_finishes(make_run, tmp_path):
    make_run(random_walk(8))
    kills = full_count(100, 6)
    outcome = script("kill", tmp_path, kills)
    assert outcome["killed"] == kills
    assert outcome["unfinished"] > 0  # or the moments were none


def test_fault_33_the_journal_of_a_killed_process_is_ours_and_is_rolled_back(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr("analyzer.report.writer.draw_figures", lambda *_: [])
    folder, out = make_run(random_walk(4)), tmp_path / "report"
    assert weightlapse("report", folder, "--out", out).code == 0
    expected = contents(out)["data/measurements.csv"]
    child = os.fork()
    if not child:  # is killed in the middle of a transaction that has reached the disk
        connection = sqlite3.connect(out / "measurements.sqlite", isolation_level=None)
        connection.executescript("PRAGMA cache_size = 1; BEGIN IMMEDIATE; UPDATE measurements SET value = 5;")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (out / "measurements.sqlite-journal").stat().st_size > 0
    assert weightlapse("report", folder, "--out", out).code == 0
    assert contents(out)["data/measurements.csv"] == expected
    assert not (out / "measurements.sqlite-journal").exists()


def test_fault_32_two_analyzers_with_one_report_folder_both_end_well(make_run, tmp_path):
    make_run(random_walk(6))
    script("race", tmp_path, full_count(30, 2))


# ---------------------------------------------------------------------------------------- row 29: every n-th write


@pytest.fixture
def failing(monkeypatch):
    """``failing(n)`` makes the n-th of the calls that reach the disk fail; ``failing.calls`` counts them."""

    class Disk:
        calls = 0
        at = None

        def __call__(self, at):
            self.calls, self.at = 0, at

    disk = Disk()

    def wrap(owner, name):
        real = getattr(owner, name)

        def call(*arguments, **options):
            if name == "mkdir" and Path(arguments[0]).is_dir():
                return real(*arguments, **options)  # pathlib asks first and looks afterwards
            disk.calls += 1
            if disk.calls == disk.at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    real_open = os.fdopen

    def opened(*arguments, **options):
        file = real_open(*arguments, **options)
        if options.get("mode", arguments[1] if len(arguments) > 1 else "r") != "wb":
            return file
        disk.calls += 1
        if disk.calls == disk.at:
            file.close()
            raise OSError(errno.EIO, "Input/output error")
        return file

    wrap(os, "fsync")
    wrap(os, "replace")
    wrap(os, "chmod")
    wrap(tempfile, "mkstemp")
    wrap(os, "mkdir")
    monkeypatch.setattr(os, "fdopen", opened)
    monkeypatch.setattr("analyzer.report.writer.draw_figures", draw_one)
    monkeypatch.setattr("analyzer.report.writer._blas", list)  # slow, and of no concern here
    return disk


def draw_one(figures, tables, prefix, write):
    write("figures/accuracy.png", b"\x89PNG" + tables.run.encode() + str(len(tables.checkpoints)).encode())
    return []


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".sqlite"
    }


@pytest.mark.parametrize("fresh", [True, False])
def test_fault_29_an_error_at_any_write_is_named_and_leaves_each_file_old_or_new(make_run, tmp_path, failing, fresh):
    states = random_walk(4)
    folder = make_run(states[:3])
    first, store = tmp_path / "first.sqlite", tmp_path / "s.sqlite"
    measured(folder, first)
    save_weights(folder / "epoch_0003.safetensors", states[3], weightlapse_metadata(3))
    measured(folder, store)
    failing(None)
    draw_report(str(store), str(tmp_path / "good"))
    new, total = contents(tmp_path / "good"), failing.calls
    assert total > 40
    if not fresh:
        draw_report(str(first), str(tmp_path / "before"))
    volatile = {"manifest.json"}
    for n in range(1, total + 1):
        out = tmp_path / f"report{n}"
        failing(None)
        if not fresh:
            shutil.copytree(tmp_path / "before", out)
        old = contents(out)
        failing(n)
        try:
            draw_report(str(store), str(out))
        except ReportError as error:
            assert str(out) in str(error) and ("No space left" in str(error) or "Input/output" in str(error)), n
        else:
            assert failing.calls < n, f"the error of call {n} was swallowed"
        left = contents(out)
        assert not [name for name in left if name.endswith(".tmp")], n
        for name, data in left.items():
            assert name in volatile or data in (old.get(name), new[name]), (n, name)
        assert old.keys() - left.keys() <= volatile
        if "manifest.json" in left:  # then the rest is all of one report
            assert all(left[name] == new[name] for name in new.keys() - volatile) or left == old, n
        if n % 6:
            continue
        failing(None)
        draw_report(str(store), str(out))
        assert {name: data for name, data in contents(out).items() if name not in volatile} == {
            name: data for name, data in new.items() if name not in volatile
        }


def test_fault_29_the_command_says_so_and_exits_1(make_run, tmp_path, failing):
    folder = make_run(random_walk(2))
    failing(12)
    outcome = weightlapse("report", folder, "--out", tmp_path / "r")
    assert outcome.code == 1
    assert outcome.err.startswith("Error: ") and "Traceback" not in outcome.err


def test_fault_30_too_many_open_files_is_a_named_error_and_no_half_report(make_run, tmp_path, monkeypatch):
    store = tmp_path / "s.sqlite"
    measured(make_run(random_walk(2)), store)
    real, calls = tempfile.mkstemp, []

    def exhausted(*arguments, **options):
        calls.append(1)
        if len(calls) > 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(*arguments, **options)

    monkeypatch.setattr(tempfile, "mkstemp", exhausted)
    with pytest.raises(ReportError, match="Too many open files"):
        draw_report(str(store), str(tmp_path / "r"))
    assert not (tmp_path / "r/manifest.json").exists()


# ------------------------------------------------------------------------------------------------- write_whole itself


def test_a_file_is_replaced_as_a_whole_with_the_usual_permissions(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_fault_28_the_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, _real=real, _name=name, **o: (order.append(_name), _real(*a, **o))[1])
    write_whole(tmp_path / "a.txt", b"one")
    assert order == ["fsync", "replace"]


def test_fault_47_an_interruption_leaves_no_temporary_file(tmp_path, monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt

    (tmp_path / "a.txt").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", pressed)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.txt", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.txt": b"old"}
