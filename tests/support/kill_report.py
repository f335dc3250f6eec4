"""Kill real ``weightlapse report`` processes at random moments; check after each kill what is left on disk.

    python kill_report.py kill FOLDER KILLS     FOLDER/run is the run
    python kill_report.py race FOLDER ROUNDS    two at a time into one folder

Prints as JSON what happened. The processes are forks of this one, which has imported matplotlib but started no thread.
"""

import csv
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
import xml.etree.ElementTree as ElementTree
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import analyzer.figures
from analyzer import cli, workflow
from analyzer.engine import update as measuring

assert workflow  # loaded once, for all forks
analyzer.figures.FIGURES = analyzer.figures.FIGURES[:2]  # drawing takes longest, and is only computing
measuring.COMMIT_SECONDS = 0.0


def start(folder: Path, counted: Path, *options: str) -> int:
    """Start the command in a process of its own; return its id. ``counted`` gets the number of observations."""
    child = os.fork()
    if child:
        return child
    walk = measuring.walk
    count = 0

    def counting(task, metrics):
        nonlocal count
        for observation in walk(task, metrics):
            count += 1
            yield observation

    measuring.walk = counting
    derive = measuring.derive

    def noting(*arguments):
        counted.write_text(str(count))
        derive(*arguments)

    measuring.derive = noting
    sys.argv = ["weightlapse", "report", str(folder / "run"), "--out", str(folder / "report"), "--jobs", "1", *options]
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    errors = os.open(counted.with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(errors, 2)
    code = 99  # whatever was raised: a child must never go on as its parent
    try:
        cli.main()
    except SystemExit as ended:
        code = ended.code
    finally:
        os._exit(code)


def check(report: Path) -> bool:
    """Each file that is there is whole; return whether the report is finished."""
    present = set()
    for path in sorted(report.rglob("*")) if report.exists() else []:
        name = path.relative_to(report).as_posix()
        if path.is_dir() or path.name.startswith(".weightlapse-") or path.name.endswith("-journal"):
            continue
        present.add(name)
        data = path.read_bytes()
        if path.suffix == ".csv":
            with path.open(newline="") as file:
                rows = list(csv.reader(file, strict=True))
            assert len({len(row) for row in rows}) == 1 and data.endswith(b"\n"), name
        elif path.suffix == ".json":
            json.loads(data)
        elif path.suffix == ".png":
            assert data.startswith(b"\x89PNG") and data.endswith(b"IEND\xaeB`\x82"), name
        elif path.suffix == ".svg":
            ElementTree.fromstring(data)
        elif path.suffix == ".html":
            assert data.rstrip().endswith(b"</html>"), name
        elif path.suffix in (".css", ".js"):
            assert_whole(path.name, data)
        else:
            assert path.suffix == ".sqlite", name
            with closing(sqlite3.connect(path)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    if "manifest.json" not in present:
        return False
    assert set(json.loads((report / "manifest.json").read_bytes())["files"]) <= present
    return True


def assert_whole(name: str, data: bytes) -> None:
    """Check a style sheet or script against its source, or the data of the interactive page as JSON."""
    if name == "data.js":
        json.loads(data.removeprefix(b"const RUNS = ").removesuffix(b";\n"))
    elif name == "plotly.min.js":
        assert data == files("plotly").joinpath("package_data", name).read_bytes()
    else:
        assert data == (Path(cli.__file__).parents[1] / "report/assets" / name).read_bytes()


def kept(report: Path) -> int:
    """How many observations are in the store."""
    if not (report / "measurements.sqlite").exists():
        return 0
    with closing(sqlite3.connect(report / "measurements.sqlite")) as connection:
        if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'contents'").fetchone()[0]:
            return 0
        return connection.execute("SELECT count(*) FROM contents").fetchone()[0]


def run_to_the_end(folder: Path, *options: str) -> float:
    started = time.perf_counter()
    _, status = os.waitpid(start(folder, folder / "count", *options), 0)
    assert status == 0, (status, (folder / "count.err").read_text())
    return time.perf_counter() - started


def tables(report: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (report / "data").iterdir()}


def kill(folder: Path, kills: int) -> None:
    moments = random.Random(27)
    report, counted = folder / "report", folder / "count"
    duration = run_to_the_end(folder)
    assert check(report)
    expected, total = tables(report), kept(report)
    files = {path.relative_to(report) for path in report.rglob("*")}
    shutil.rmtree(report)
    killed = unfinished = 0
    while killed < kills:
        before = kept(report)
        counted.unlink(missing_ok=True)
        child = start(folder, counted)
        # Every third time early, while it measures: drawing takes longer.
        time.sleep(moments.uniform(0, duration if killed % 3 else duration / 4))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if counted.exists() and counted.read_text():
            assert int(counted.read_text()) == total - before, "what was measured before was not used again"
        finished = check(report)
        if os.WIFSIGNALED(status):
            killed += 1
            unfinished += not finished
        else:
            assert status == 0 and finished, counted.with_suffix(".err").read_text()
            shutil.rmtree(report)
    run_to_the_end(folder)
    assert check(report) and tables(report) == expected
    left = {path.relative_to(report) for path in report.rglob("*")} - files
    assert not left, left  # nothing of the killed ones stays behind
    print(json.dumps({"killed": killed, "unfinished": unfinished}))


def race(folder: Path, rounds: int) -> None:
    report = folder / "report"
    run_to_the_end(folder, "--store", str(folder / "other.sqlite"))
    expected = tables(report)
    for number in range(rounds):
        shutil.rmtree(report)
        options = ["--store", str(folder / "other.sqlite")] if number % 2 else []
        children = [start(folder, folder / f"count{which}", *options) for which in (1, 2)]
        for which, child in enumerate(children, 1):
            _, status = os.waitpid(child, 0)
            assert status == 0, (number, (folder / f"count{which}.err").read_text())
        assert check(report) and tables(report) == expected
    print(json.dumps({"rounds": rounds}))


if __name__ == "__main__":
    {"kill": kill, "race": race}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
