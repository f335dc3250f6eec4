"""The command in environments that lack something: room for the store, docstrings, patience."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from builders import CHECKOUT, full_count, random_walk
from commands import weightlapse

from analyzer.engine import update as measuring
from analyzer.store import schema
from analyzer.store.store import open_store


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def python(*arguments: str, **kept: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *arguments], env=environment, text=True, **pipes, **kept)


@pytest.mark.parametrize("interval", [0.0, 1.0])
def test_fault_55_a_full_disk_is_named_whenever_it_fills(make_run, tmp_path, monkeypatch, interval):
    """SQLite rolls a transaction back by itself then, and ids that were known are gone."""
    monkeypatch.setattr(measuring, "COMMIT_SECONDS", interval)
    folder, connect, pages = make_run(random_walk(12)), sqlite3.connect, 0

    class Small(sqlite3.Connection):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.execute(f"PRAGMA max_page_count = {pages}")

    monkeypatch.setattr(schema.sqlite3, "connect", lambda *a, **o: connect(*a, **{**o, "factory": Small}))
    refused = 0
    for pages in range(8, 200, full_count(1, 6)):
        store = tmp_path / f"{pages}.sqlite"
        outcome = weightlapse("measure", folder, "--store", store, "--jobs", 1)
        if outcome.code == 0:
            break
        refused += 1
        assert outcome.code == 1
        assert "database or disk is full" in outcome.err and str(store) in outcome.err
        assert "FOREIGN KEY" not in outcome.err
    assert outcome.code == 0 and refused > 3
    # Where there is room again, the same command continues from what was kept.
    before, pages = tmp_path / f"{pages - full_count(1, 6)}.sqlite", 1_000_000
    assert weightlapse("measure", folder, "--store", before, "--jobs", 1).code == 0
    assert exported(before) == exported(store)


def exported(store) -> bytes:
    return weightlapse("export", store, "--format", "csv").stdout


def test_fault_57_python_without_docstrings_and_assertions_gives_the_same(make_run):
    folder = make_run()
    assert weightlapse("measure", folder, "--store", "s.sqlite").code == 0
    stripped = python("-OO", "-m", "analyzer", "measure", str(folder), "--store", "stripped.sqlite")
    _, err = stripped.communicate(timeout=120)
    assert stripped.returncode == 0, err
    assert exported("stripped.sqlite") == exported("s.sqlite")
    audit = python("-OO", "-m", "analyzer", "audit", str(folder))
    out, err = audit.communicate(timeout=120)
    assert (audit.returncode, err, out) == (0, "", weightlapse("audit", folder).out)


def test_fault_59_an_interruption_within_a_transaction_keeps_what_was_measured(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "COMMIT_SECONDS", 0.0)
    add, calls = measuring.Writer.add, []

    def pressed(writer, observations):
        add(writer, observations)
        calls.append(len(observations))
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(measuring.Writer, "add", pressed)
    outcome = weightlapse("measure", make_run(random_walk(5)), "--store", "s.sqlite", "--jobs", 1)
    assert outcome.code == 130, outcome.err
    with open_store("s.sqlite") as store:
        assert list(store.measurements("run"))


def test_fault_59_a_sigint_at_any_moment_ends_with_130_within_two_seconds(make_run, tmp_path):
    folder = make_run(random_walk(8))
    generator = random.Random(59)
    started = time.monotonic()
    process = python("-m", "analyzer", "measure", str(folder), "--store", "whole.sqlite", "--jobs", "2")
    process.communicate(timeout=120)
    whole, codes = time.monotonic() - started, []
    for number in range(full_count(100, 8)):
        store = f"{number}.sqlite"
        process = python("-m", "analyzer", "measure", str(folder), "--store", store, "--jobs", "2")
        # Before Python has installed its handler, the signal ends any process.
        time.sleep(0.1 * whole + generator.random() * 0.9 * whole)
        process.send_signal(signal.SIGINT)
        pressed = time.monotonic()
        _, err = process.communicate(timeout=60)
        codes.append(process.returncode)
        assert process.returncode in (0, 130, -signal.SIGINT), err
        assert time.monotonic() - pressed < 2  # also of one that was done already: an interruption is not ignored
        assert "Traceback" not in err or process.returncode == -signal.SIGINT, err
        if Path(store).exists():
            with closing(sqlite3.connect(store)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert codes.count(130) >= len(codes) // 3, codes
