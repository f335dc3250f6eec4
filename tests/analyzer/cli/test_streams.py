"""What is printed, whatever the names are and wherever stdout and stderr go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from builders import CHECKOUT, random_walk, save_weights, weightlapse_metadata
from commands import weightlapse

HOSTILE = "x\x1b[31mX\nVerdict: sound\u202e\x07\x9b"
UNPRINTED = {"\x1b", "\x07", "\x9b", "\u202e"}


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr("analyzer.report.writer.draw_figures", lambda *_: [])


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def printed_safely(*arguments: object) -> int:
    """Run a command; nothing that it prints may steer a terminal or begin a line of a file's own."""
    outcome = weightlapse(*arguments)
    text = outcome.out + outcome.err
    assert not UNPRINTED & set(text), text
    assert "\nVerdict: sound\\u202e" not in text, text
    return outcome.code


def hostile_run(folder: Path) -> Path:
    """A run with a hostile path, file names, names of tensors and of scores, and a broken file."""
    for epoch, weights in enumerate(random_walk(3)):
        named = {f"{HOSTILE}{name}": array for name, array in weights.items()}
        metadata = {"epoch": str(epoch), f"{HOSTILE}loss": f"0.{epoch}"}
        save_weights(folder / f"{HOSTILE}-{epoch}.safetensors", named, metadata)
    (folder / f"{HOSTILE}-9.safetensors").write_bytes(b"abc")
    return folder


@pytest.mark.parametrize(
    "command", ["audit", "measure --dry-run", "measure", "report", "compare", "report --single-file"]
)
def test_fault_53_names_are_printed_escaped(tmp_path, command):
    folder = hostile_run(tmp_path / HOSTILE)
    save_weights(tmp_path / "other" / "epoch_0.safetensors", random_walk(1)[0], weightlapse_metadata(0))
    name, *options = command.split()
    if name == "measure":
        options += ["--store", f"{HOSTILE}.sqlite"]
    if name in ("report", "compare"):
        options += ["--out", f"{HOSTILE}-out"]
    paths = [folder, tmp_path / "other"] if name == "compare" else [folder]
    assert printed_safely(name, *paths, *options) in (0, 3)


WRONG = [
    ("audit PATH", 4), ("measure PATH", 4), ("report PATH", 4), ("export PATH --format csv", 1), ("PATH", 2),
    ("measure run --tensors PATH", 2), ("measure run --files PATH", 4), ("measure run --metrics PATH", 2),
    ("measure run --layout PATH", 2), ("measure run --scalars PATH", 2), ("measure run --PATH", 2),
    ("measure run --max-memory PATH", 2), ("report run --animate PATH", 2), ("audit run --accept PATH", 2),
    ("audit s3://PATH", 1), ("audit EMPTY", 4), ("report FOREIGN", 4), ("report run --out FOREIGN", 1),
    ("measure run --store FOREIGN", 1),
]  # fmt: skip


@pytest.mark.parametrize(("line", "code"), WRONG, ids=[line for line, _ in WRONG])
def test_fault_53_errors_are_printed_escaped(tmp_path, line, code):
    for epoch, weights in enumerate(random_walk(2)):
        save_weights(tmp_path / "run" / f"epoch_{epoch}.safetensors", weights, weightlapse_metadata(epoch))
    (tmp_path / f"{HOSTILE}empty").mkdir()
    (tmp_path / f"{HOSTILE}foreign").mkdir()
    (tmp_path / f"{HOSTILE}foreign" / HOSTILE).write_text("not ours")
    names = {"EMPTY": f"{HOSTILE}empty", "FOREIGN": f"{HOSTILE}foreign"}
    arguments = [names.get(word, word.replace("PATH", HOSTILE)) for word in line.split()]
    assert printed_safely(*arguments) == code


# ------------------------------------------------------------------------------------------ where the output goes


@pytest.fixture
def store(tmp_path) -> Path:
    """A store whose table is longer than a pipe or a buffer."""
    for epoch, weights in enumerate(random_walk(12)):
        save_weights(tmp_path / "run" / f"epoch_{epoch:02d}.safetensors", weights, weightlapse_metadata(epoch))
    assert weightlapse("measure", "run", "--store", "s.sqlite").code == 0
    return tmp_path / "s.sqlite"


def ended(command: str, *python_options: str) -> subprocess.CompletedProcess[str]:
    """Run ``weightlapse COMMAND`` with a shell's redirections."""
    whole = f"exec {sys.executable} {' '.join(python_options)} -m analyzer {command}"
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(["sh", "-c", whole], env=environment, capture_output=True, text=True, timeout=60, check=False)


COMMANDS = ["export s.sqlite --format csv", "audit run", "audit run --json", "measure run --store s.sqlite", "--help"]


@pytest.mark.parametrize("command", COMMANDS)
def test_fault_52_a_stdout_that_takes_nothing_is_a_named_error(store, command):
    for where in (">/dev/full", ">&-") if command != "--help" else (">/dev/full",):
        for options in ([], ["-u"]):
            result = ended(f"{command} {where}", *options)
            assert result.returncode == 1, (where, options, result.stderr)
            assert "Traceback" not in result.stderr and "Exception" not in result.stderr
            assert result.stderr.count("\n") == 1 or command.startswith("measure")
            assert "Error:" in result.stderr


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
def test_fault_52_without_stderr_the_result_is_the_same(store, where):
    expected = ended("export s.sqlite --format csv")
    result = ended(f"export s.sqlite --format csv {where}")
    assert (result.returncode, result.stdout) == (0, expected.stdout)
    assert ended(f"audit absent {where}").returncode == 4
    assert ended(f"audit --nonsense {where}").returncode == 2


def test_fault_52_a_file_that_becomes_full_is_a_named_error_and_no_short_table(store):
    for options in ([], ["-u"]):
        result = ended("export s.sqlite --format csv >part.csv", *options)
        assert result.returncode == 0
        whole = Path("part.csv").stat().st_size
        limited = subprocess.run(
            ["bash", "-c", f"ulimit -f 8; trap '' XFSZ; exec {sys.executable} {' '.join(options)} -m analyzer "
             "export s.sqlite --format csv >part.csv"],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert Path("part.csv").stat().st_size < whole
        assert (limited.returncode, "standard output" in limited.stderr) == (1, True), limited.stderr


def test_fault_52_a_reader_that_leaves_is_a_named_error(store):
    result = ended("export s.sqlite --format csv | head -c 10; exit")
    assert "Traceback" not in result.stderr and "Exception" not in result.stderr


def test_fault_52_an_unbuffered_stdout_gets_all_bytes(store):
    expected = ended("export s.sqlite --format csv").stdout
    assert len(expected) > 1 << 16
    assert ended("export s.sqlite --format csv", "-u").stdout == expected


def test_fault_52_a_stream_that_takes_a_few_bytes_at_a_time_gets_all(monkeypatch):
    from analyzer.cli.terminal import write_out

    taken = bytearray()

    class Slow:
        def write(self, data):
            taken.extend(data[:7])
            return len(data[:7])

        def flush(self):
            pass

    class Stdout:
        buffer = Slow()

    monkeypatch.setattr(sys, "stdout", Stdout())
    write_out(b"all of it, and no byte less")
    assert taken == b"all of it, and no byte less"
