"""Drawing the same store gives the same bytes, whatever the locale, the time zone and the order of sets are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from builders import random_walk
from commands import measured

# Tables of more than a few bytes are compressed, so that compressed files are compared, too.
DRAW = """
import sys
from analyzer.cli import main
from analyzer.report import csv_tables

csv_tables.MOST_BYTES = 20_000
sys.argv[:] = ["weightlapse", "report", *sys.argv[1:]]
main()
"""
ENVIRONMENTS = (
    {"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "1"},
    {"LC_ALL": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "2", "COLUMNS": "40"},
)
TELLS_SECONDS = {"manifest.json"}


def drawn(store: Path, out: Path, environment: dict[str, str], *options: str) -> None:
    command = [sys.executable, "-c", DRAW, str(store), "--out", str(out), *options]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 3), done.stderr


def test_folders_drawn_in_different_environments_are_the_same_bytes(make_run, tmp_path):
    store = tmp_path / "s.sqlite"
    measured(make_run(random_walk(12)), store)
    folders = [tmp_path / name for name in ("first", "second")]
    for folder, environment in zip(folders, ENVIRONMENTS, strict=True):
        drawn(store, folder, environment, "--animate", "*")
    first, second = (
        {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in folders
    )
    assert {Path(name).suffix for name in first} >= {".gif", ".gz", ".html", ".js", ".png", ".svg", ".sqlite"}
    assert first.keys() == second.keys()
    assert {name for name in first if first[name] != second[name]} <= TELLS_SECONDS


def test_single_files_drawn_in_different_environments_are_the_same_bytes(make_run, tmp_path):
    store = tmp_path / "s.sqlite"
    measured(make_run(random_walk(6)), store)
    files = [tmp_path / name for name in ("first.html", "second.html")]
    for file, environment in zip(files, ENVIRONMENTS, strict=True):
        drawn(store, file, environment, "--single-file")
    assert files[0].read_bytes() == files[1].read_bytes()
