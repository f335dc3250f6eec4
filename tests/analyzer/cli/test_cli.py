"""Commands from outside: exit codes, what goes to which stream, drawing again, scores from a file."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest
from builders import random_walk, save_weights, weightlapse_metadata
from commands import read_csv, weightlapse

from analyzer import __main__ as started
from analyzer import auditing, open_measurements, workflow
from analyzer import cli as codes
from analyzer.cli import terminal
from analyzer.engine import update as measuring
from analyzer.layouts import LAYOUTS
from analyzer.store.store import open_store


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    """Figures are drawn in test_report.py; here a report is its tables."""
    monkeypatch.setattr("analyzer.report.writer.draw_figures", lambda *_: [])


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_exit_0_and_the_path_of_the_result_alone_on_stdout(make_run):
    folder = make_run()
    outcome = weightlapse("measure", folder)
    assert (outcome.code, outcome.out) == (0, "reports/run/measurements.sqlite\n")
    assert re.fullmatch(r"Done in \d+\.\d s \(\d+ checkpoints? measured\)\.\n", outcome.err)
    again = weightlapse("measure", folder)
    assert re.fullmatch(r"Done in \d+\.\d s \(all was measured before\)\.\n", again.err)
    outcome = weightlapse("report", folder)
    assert (outcome.code, outcome.out) == (0, "reports/run/index.html\n")
    assert "Done in" in outcome.err


WRONG = "measure", "draw", "report --nonsense x", "export x", "measure x --jobs 0", "export x --format parquette"


@pytest.mark.parametrize("arguments", [line.split() for line in WRONG], ids=WRONG)
def test_exit_2_for_wrong_usage(arguments):
    outcome = weightlapse(*arguments)
    assert outcome.code == 2
    assert "Usage" in outcome.err and not outcome.out


@pytest.mark.parametrize("command", ["measure", "report", "audit"])
def test_exit_4_where_no_checkpoints_are(tmp_path, command):
    (tmp_path / "empty").mkdir()
    for path in ("empty", "absent"):
        outcome = weightlapse(command, path)
        assert outcome.code == 4
        assert path in outcome.err and not outcome.out
    assert not (tmp_path / "reports").exists()


def test_without_a_terminal_progress_is_a_line_now_and_then(make_run, monkeypatch):
    folder = make_run(random_walk(3))
    assert "Measuring" not in weightlapse("measure", folder).err
    monkeypatch.setattr(terminal, "LINE_SECONDS", 0)
    lines = weightlapse("measure", folder, "--store", "again.sqlite", "--jobs", "1").err.splitlines()
    assert len(lines) > 2
    assert all(re.fullmatch(r"Measuring: .* (bytes|kB|MB) of .* kB, 0 s so far\.", line) for line in lines[:-1])


def test_what_can_be_read_is_told_in_lines_for_people(tmp_path):
    (tmp_path / "empty").mkdir()
    lines = weightlapse("report", "empty").err.splitlines()
    assert lines[0].startswith("Error: empty: no checkpoints found")
    assert [line.split()[0] for line in lines[2:]] == list(LAYOUTS)
    assert max(map(len, lines)) <= 120


def test_the_commands_are_summed_up_whole():
    help_text = weightlapse("--help").out
    assert "..." not in help_text.partition("Commands:")[2]


def test_blas_starts_no_threads_that_no_job_uses():
    """Told before numpy is loaded, or it is too late."""
    script = "import os, sys, analyzer.__main__; print(os.environ['OPENBLAS_NUM_THREADS'], 'numpy' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    for given, expected in (({}, "1 False"), ({"OPENBLAS_NUM_THREADS": "3"}, "3 False")):
        ended = subprocess.run([sys.executable, "-c", script], env=environment | given, capture_output=True, text=True)
        assert ended.stdout.strip() == expected, ended.stderr


@pytest.mark.parametrize(
    ("options", "named", "known"),
    [
        ("measure --metrics motion,nonsense", "--metrics nonsense: no such family", "motion, pruning, random_matrix"),
        ("measure --metrics condtion_number", "did you mean condition_number?", "Families are"),
        ("report --metrics=", "--metrics : no such family", "motion, pruning, random_matrix"),
        ("measure --layout nonsense", "'--layout': 'nonsense' is not one of", "'weightlapse', 'lightning'"),
        ("audit --layout nonsense", "'--layout': 'nonsense' is not one of", "'weightlapse', 'lightning'"),
    ],
)
def test_exit_2_for_an_unknown_name_with_the_known_ones(make_run, options, named, known):
    outcome = weightlapse(*options.split(), make_run())
    assert outcome.code == 2
    assert "Usage" in outcome.err and named in outcome.err and known in outcome.err
    assert not outcome.out and "Traceback" not in outcome.err


def test_exit_1_with_a_named_error(make_run, tmp_path):
    (tmp_path / "metrics.txt").write_text("nothing of use")
    outcome = weightlapse("measure", make_run(), "--scalars", "metrics.txt")
    assert outcome.code == 1
    assert outcome.err.startswith("Error: ") and "metrics.txt" in outcome.err
    assert "Traceback" not in outcome.err


def test_exit_3_where_a_file_was_refused_and_the_rest_is_measured(make_run, tmp_path):
    folder = make_run(random_walk(4))
    (folder / "epoch_0002.safetensors").write_bytes(b"abc")
    outcome = weightlapse("measure", folder, "--store", "s.sqlite")
    assert outcome.code == 3
    assert "epoch_0002.safetensors" in outcome.err
    with open_store("s.sqlite") as store:
        assert len(store.checkpoints("run")) == 3


def test_a_refused_run_is_charged_to_no_other(make_run, tmp_path):
    """It has a block of its own in the audit, and is said on the terminal rather than on the page of another run."""
    make_run(name="runs/good")
    (tmp_path / "runs/bad").mkdir()
    for epoch in range(9):
        (tmp_path / f"runs/bad/epoch_{epoch}.safetensors").write_bytes(b"abc")
    outcome = weightlapse("audit", tmp_path / "runs")
    sound, refused = outcome.out.split("\n\nRejected: ")
    assert outcome.code == 3
    assert sound.splitlines()[-1].startswith("Verdict: the files are sound.")
    assert refused.startswith("1 run that cannot be used") and "9 of them, such as epoch_0.safetensors: " in refused
    assert "Verdict: not sound, 1 serious defect." in refused and "\\n" not in refused
    content = json.loads(weightlapse("audit", tmp_path / "runs", "--json").out)
    assert [finding["rule"] for finding in content["refused"]] == ["refused_run"]
    assert [run["findings"] for run in content["runs"]] == [[]]
    assert "Rejected: 1 run" in weightlapse("report", tmp_path / "runs", "--dry-run").out
    reported = weightlapse("report", tmp_path / "runs", "--metrics", "motion", "--out", "report")
    assert reported.code == 3
    assert f"Serious: {tmp_path / 'runs/bad'}: none of its checkpoints can be used: 9 of them" in reported.err
    assert '"refused_run"' not in (tmp_path / "report/summary.json").read_text()


def test_exit_1_where_memory_is_short(make_run, monkeypatch):
    def too_large(*_, **__):
        raise MemoryError

    monkeypatch.setattr(workflow, "bring_up_to_date", too_large)
    outcome = weightlapse("measure", make_run())
    assert outcome.code == 1 and "not enough memory" in outcome.err and "--jobs 1" in outcome.err


def test_audit_as_text_and_as_json(make_run):
    folder = make_run()
    outcome = weightlapse("audit", folder)
    assert outcome.code == 0 and "Verdict" in outcome.out
    outcome = weightlapse("audit", folder, "--json")
    assert json.loads(outcome.out)["runs"][0]["run"] == "run"
    (folder / "epoch_0001.safetensors").write_bytes(b"")
    assert weightlapse("audit", folder).code == 3


# ------------------------------------------------------------------------------------------------------- export


def test_export_as_csv_and_json_hold_the_same_numbers(make_run, tmp_path):
    weightlapse("measure", make_run(), "--store", "s.sqlite")
    table = weightlapse("export", "s.sqlite", "--format", "csv")
    text = weightlapse("export", "s.sqlite", "--format", "json", "--out", "rows.json")
    assert (table.code, text.code, text.out) == (0, 0, "rows.json\n")
    header, *lines = table.out.splitlines()
    assert header == "run,checkpoint,epoch,step,scope,tensor,metric,value,bound,status,reference"
    records = json.loads((tmp_path / "rows.json").read_text())
    assert len(records) == len(lines)
    assert list(records[0]) == header.split(",")
    with open_store("s.sqlite") as store:
        values = [row.value for row in store.measurements("run")]
    assert [one["value"] for one in records] == values
    (tmp_path / "rows.csv").write_text(table.out)
    rows = read_csv(tmp_path / "rows.csv")
    assert [float(one["value"]) if one["value"] else None for one in rows] == values


def test_export_of_a_report_folder_and_of_what_is_neither(make_run, tmp_path):
    weightlapse("report", make_run(), "--out", "r")
    outcome = weightlapse("export", "r", "--format", "csv")
    assert outcome.stdout == (tmp_path / "r/data/measurements.csv").read_bytes()
    (tmp_path / "letter.txt").write_text("dear aunt " * 500)
    (tmp_path / "empty").touch()
    for path in ("absent", "letter.txt", "run", "empty"):
        outcome = weightlapse("export", path, "--format", "csv")
        assert outcome.code == 1 and path in outcome.err and not outcome.stdout
    assert (tmp_path / "empty").stat().st_size == 0
    outcome = weightlapse("export", "r", "--format", "csv", "--out", "no/such/folder.csv")
    assert outcome.code == 1 and "no/such/folder.csv" in outcome.err


# ------------------------------------------------------------------------------------------------ scores from a file


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_scalars_by_epoch_from_a_file(make_plain_run, tmp_path, kind):
    scores = [{"epoch": t, "test_accuracy": 0.1 * t, "f1": t**2} for t in range(5) if t != 3]
    path = tmp_path / f"scores.{kind}"
    if kind == "csv":
        path.write_text(
            "epoch,test_accuracy,f1\n" + "".join(f"{s['epoch']},{s['test_accuracy']!r},{s['f1']}\n" for s in scores)
        )
    else:
        path.write_text("".join(json.dumps(s) + "\n" for s in scores))
    assert weightlapse("report", make_plain_run(), "--scalars", path, "--out", "r").code == 0
    rows = read_csv(tmp_path / "r/data/checkpoints.csv")
    assert [float(one["test_accuracy"]) if one["test_accuracy"] else None for one in rows] == [0.0, 0.1, 0.2, None, 0.4]
    scalars = {(one["epoch"], one["scalar"]): one["value"] for one in read_csv(tmp_path / "r/data/scalars.csv")}
    assert {key for key in scalars if key[1] == "f1"} == {(str(t), "f1") for t in (0, 1, 2, 4)}
    assert float(scalars["4", "f1"]) == 16


def test_fault_14_scores_that_are_no_numbers_are_gaps(make_plain_run, tmp_path):
    (tmp_path / "s.csv").write_text("epoch,test_accuracy\n0,0.5\n1,NaN\n2,1e999\n3,good\n4,\n")
    weightlapse("report", make_plain_run(), "--scalars", "s.csv", "--out", "r")
    rows = read_csv(tmp_path / "r/data/checkpoints.csv")
    assert [one["test_accuracy"] for one in rows] == ["0.5", "", "", "", ""]


def test_fault_14_a_huge_step_in_the_metadata_is_no_crash(tmp_path):
    from builders import weightlapse_metadata

    for t, weights in enumerate(random_walk(3)):
        save_weights(tmp_path / f"huge/epoch_{t}.safetensors", weights, weightlapse_metadata(t, step=str(10**30 + t)))
    outcome = weightlapse("measure", "huge")
    assert outcome.code in (0, 1, 3)
    assert outcome.code == 0 or outcome.err.startswith("Error")


# --------------------------------------------------------------------------------------------- several runs, redrawing


def test_a_folder_of_runs_is_one_report_and_export(make_run, tmp_path):
    make_run(random_walk(3, seed=1), "all/a")
    make_run(random_walk(4, seed=2), "all/b")
    assert weightlapse("report", "all").out == "reports/all/index.html\n"
    assert [one["run"] for one in read_csv(tmp_path / "reports/all/data/checkpoints.csv")] == ["a"] * 3 + ["b"] * 4
    summary = json.loads((tmp_path / "reports/all/summary.json").read_text())
    assert [one["run"] for one in summary["runs"]] == ["a", "b"]


def test_runs_that_are_called_in_another_script_have_a_report_each(make_run, tmp_path):
    for name in ("实验一", "实验二"):
        make_run(random_walk(2), name)
        outcome = weightlapse("measure", name)
        assert (outcome.code, outcome.out) == (0, f"reports/{name}/measurements.sqlite\n"), outcome.err


def test_a_report_holds_only_the_runs_it_was_asked_for_though_the_store_has_more(make_run, tmp_path):
    for name in ("a", "b"):
        make_run(random_walk(3, seed=ord(name)), name)
        assert weightlapse("report", name, "--store", "shared.sqlite").code == 0
    for name in ("a", "b"):
        assert {one["run"] for one in read_csv(tmp_path / f"reports/{name}/data/checkpoints.csv")} == {name}
        with open_store(f"reports/{name}/measurements.sqlite") as store:
            assert store.runs() == [name]
    assert weightlapse("report", "a", "--store", "shared.sqlite").code == 0
    assert weightlapse("report", "a", "--store", "shared.sqlite", "--force").code == 0
    with open_store("shared.sqlite") as store:
        assert store.runs() == ["a", "b"]  # --force is about the report folder, not about what others measured


def test_two_runs_of_the_same_name_are_refused(make_run):
    a, b = make_run(name="x/run"), make_run(name="y/run")
    outcome = weightlapse("measure", a, b)
    assert outcome.code == 1 and "same name" in outcome.err


def test_a_report_is_drawn_again_without_checkpoints(make_run, tmp_path):
    import shutil

    folder = make_run(random_walk(4))
    weightlapse("report", folder, "--out", "r")
    before = {path: path.read_bytes() for path in (tmp_path / "r/data").iterdir()}
    shutil.rmtree(folder)
    for path in (tmp_path / "r/data").iterdir():
        path.unlink()
    (tmp_path / "r/index.html").unlink()
    assert weightlapse("report", "r").code == 0
    assert {path: path.read_bytes() for path in (tmp_path / "r/data").iterdir()} == before
    outcome = weightlapse("report", "r/measurements.sqlite", "--out", "again")
    assert (outcome.code, outcome.out) == (0, "again/index.html\n")
    assert (tmp_path / "again/data/measurements.csv").read_bytes() == before[tmp_path / "r/data/measurements.csv"]
    assert (tmp_path / "again/index.html").exists()


@pytest.mark.parametrize("damage", ["version", "text", "truncated", "page"])
@pytest.mark.parametrize("command", ["report", "measure"])
def test_fault_43_an_unreadable_store_is_measured_again_with_a_warning(make_run, tmp_path, damage, command):
    folder = make_run(random_walk(4))
    weightlapse("report", folder)
    store = tmp_path / "reports/run/measurements.sqlite"
    expected = (tmp_path / "reports/run/data/measurements.csv").read_bytes()
    if damage == "version":
        with closing(sqlite3.connect(store)) as connection:
            connection.execute("PRAGMA user_version = 7")
    elif damage == "text":
        store.write_text("no database " * 500)
    elif damage == "truncated":
        store.write_bytes(store.read_bytes()[: store.stat().st_size * 2 // 3])
    else:
        data = bytearray(store.read_bytes())
        for place in range(len(data) // 2 // 4096 * 4096, len(data), 4096):
            data[place : place + 8] = b"\xff" * 8
        store.write_bytes(data)
    damaged = store.read_bytes()
    outcome = weightlapse(command, folder)
    assert outcome.code == 0
    assert "Warning: " in outcome.err and "measurements.sqlite" in outcome.err
    if damage == "version":
        assert "format 7" in outcome.err and "formats 1 to 4" in outcome.err
    assert store.with_name("measurements.sqlite.unreadable").read_bytes() == damaged
    assert weightlapse("report", folder).code == 0  # what was set aside is no foreign file
    assert (tmp_path / "reports/run/data/measurements.csv").read_bytes() == expected


def test_fault_43_a_file_given_as_store_that_is_none_is_left_alone(make_run, tmp_path):
    (tmp_path / "thesis.txt").write_text("chapter one " * 500)
    for command in ("measure", "report"):
        outcome = weightlapse(command, make_run(), "--store", "thesis.txt")
        assert outcome.code == 1 and "thesis.txt" in outcome.err
    assert (tmp_path / "thesis.txt").read_text() == "chapter one " * 500


@pytest.mark.parametrize("command", ["audit", "measure", "report", "compare run"])
def test_a_file_given_instead_of_its_folder_is_said_to_be_one_with_its_folder(make_run, tmp_path, command):
    make_run(random_walk(2))
    outcome = weightlapse(*command.split(), "run/epoch_0001.safetensors")
    assert outcome.code == 4
    assert outcome.err == (
        "Error: run/epoch_0001.safetensors: is a file; name the folder that contains the checkpoints: run\n"
    )


def test_a_store_to_export_that_is_absent_is_said_to_be(tmp_path):
    assert "nope: does not exist" in weightlapse("export", "nope", "--format", "csv").err
    (tmp_path / "other").mkdir()
    assert "other: is neither a store nor a report folder" in weightlapse("export", "other", "--format", "csv").err


@pytest.mark.parametrize("option", [["--dry-run"], ["--metrics", "size"], ["--tensors", "*"], ["--jobs", "1"]])
def test_options_of_measuring_are_rejected_where_a_store_is_drawn_again(make_run, tmp_path, option):
    weightlapse("measure", make_run(), "--store", "s.sqlite", "--metrics", "motion")
    outcome = weightlapse("report", "s.sqlite", "--out", "r", *option)
    assert outcome.code == 2 and option[0] in outcome.err and "s.sqlite" in outcome.err
    assert not (tmp_path / "r").exists()


def test_a_store_is_known_by_its_content_or_by_its_name(make_run, tmp_path):
    weightlapse("measure", make_run(), "--store", "numbers")
    assert weightlapse("report", "numbers", "--out", "r").code == 0
    (tmp_path / "bad.sqlite").write_text("no database " * 500)
    outcome = weightlapse("report", "bad.sqlite")
    assert outcome.code == 1 and "bad.sqlite: is damaged or not a store" in outcome.err


def test_a_folder_given_as_store_is_said_to_be_one(make_run, tmp_path):
    (tmp_path / "stores").mkdir()
    outcome = weightlapse("measure", make_run(), "--store", "stores")
    assert outcome.code == 1
    assert "stores: is a folder; name a file in it, such as stores" in outcome.err


def test_fault_43_a_damaged_page_anywhere_never_is_a_traceback(make_run, tmp_path):
    weightlapse("measure", make_run(random_walk(4)), "--store", "s.sqlite")
    whole = (tmp_path / "s.sqlite").read_bytes()
    refused = 0
    for place in range(0, len(whole), 4096):
        data = bytearray(whole)
        data[place : place + 16] = b"\xfe" * 16
        (tmp_path / "d.sqlite").write_bytes(data)
        outcome = weightlapse("export", "d.sqlite", "--format", "csv")
        assert outcome.code in (0, 1)
        refused += outcome.code
    assert refused > 5


# ------------------------------------------------------------------------------------------------- interruption


def test_fault_47_ctrl_c_exits_130_and_keeps_what_was_measured(make_run, monkeypatch):
    folder = make_run(random_walk(5))
    walk = measuring.walk

    def pressed(task, metrics):
        for number, observation in enumerate(walk(task, metrics)):
            if number == 7:
                raise KeyboardInterrupt
            yield observation

    monkeypatch.setattr(measuring, "walk", pressed)
    outcome = weightlapse("measure", folder, "--store", "s.sqlite", "--jobs", 1)
    assert outcome.code == 130
    assert "kept" in outcome.err and "Traceback" not in outcome.err
    with open_store("s.sqlite") as store:
        assert len({(row.checkpoint, row.tensor) for row in store.measurements("run")}) == 7


def test_fault_47_an_audit_that_is_interrupted_does_not_say_that_anything_is_kept(make_run, monkeypatch):
    folder = make_run()

    def pressed(run, jobs, progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(auditing, "read_contents", pressed)
    outcome = weightlapse("audit", folder)
    assert (outcome.code, outcome.err.strip(), outcome.out) == (130, "Interrupted.", "")


def test_fault_47_ctrl_c_while_the_command_is_being_loaded(monkeypatch, capsys):
    class Pressed:
        def find_spec(self, name, path=None, target=None):
            if name == "analyzer.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "analyzer.cli")
    monkeypatch.setattr(sys, "meta_path", [Pressed(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        started.main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "Interrupted.\n")


SLOW = """
import analyzer, time
@analyzer.metric(family="mine", unit="1", definition="waits", source="me")
def slow(current):
    time.sleep(0.2)
    return 1.0
"""


def test_fault_47_a_real_sigint_ends_within_two_seconds(make_run, tmp_path):
    folder = make_run(random_walk(60))
    (tmp_path / "slow.py").write_text(SLOW)
    command = [sys.executable, "-m", "analyzer", "measure", folder, "--store", "s.sqlite", "--metrics-from", "slow.py"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:  # until the first rows are in the store
        time.sleep(0.1)
        with_rows = False
        if (tmp_path / "s.sqlite").exists():
            with closing(sqlite3.connect(tmp_path / "s.sqlite")) as connection:
                try:
                    with_rows = connection.execute("SELECT count(*) FROM measurements").fetchone()[0] > 0
                except sqlite3.OperationalError:
                    continue
        if with_rows:
            break
    assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, err = process.communicate(timeout=20)
    assert time.monotonic() - started < 2
    assert process.returncode == 130
    assert "kept" in err and "Traceback" not in err
    with open_store(str(tmp_path / "s.sqlite")) as store:
        assert 0 < len({(row.checkpoint, row.tensor) for row in store.measurements("run")}) < 240


def test_export_into_a_pipe_that_is_closed_is_no_traceback(make_run, tmp_path):
    weightlapse("measure", make_run(random_walk(12)), "--store", "s.sqlite")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "analyzer", "export", "s.sqlite", "--format", "csv"]
    result = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    os.close(writing)
    assert "Traceback" not in result.stderr


# --------------------------------------------------------------------------------------------------------- locale


def test_fault_44_another_locale_writes_the_same_bytes(make_run, tmp_path):
    import locale

    folder = make_run(random_walk(3))
    weightlapse("report", folder, "--out", "r")
    expected = (tmp_path / "r/data/measurements.csv").read_bytes()
    names = [name for name in ("de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "C") if _has_locale(locale, name)]
    before = locale.setlocale(locale.LC_ALL)
    try:
        for name in names:
            locale.setlocale(locale.LC_ALL, name)
            assert weightlapse("report", "r").code == 0
            assert (tmp_path / "r/data/measurements.csv").read_bytes() == expected
    finally:
        locale.setlocale(locale.LC_ALL, before)


def _has_locale(locale, name):
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_ALL, before)
    return True


def test_fault_44_an_ascii_only_environment_works(tmp_path):
    name = "größe.weight"
    for t in range(2):
        save_weights(tmp_path / f"runs/epoch_{t}.safetensors", {name: np.full((3, 3), np.nan, np.float32)})
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "analyzer", "measure", "runs", "--store", "s.sqlite"]
    result = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, check=False)
    assert result.returncode == 3, result.stderr
    assert b"Traceback" not in result.stderr


def test_the_codes_are_those_of_the_contract():
    assert (codes.EXIT_FAILED, codes.EXIT_NOTHING_FOUND, codes.EXIT_INTERRUPTED) == (1, 4, 130)
    assert terminal.EXIT_SERIOUS == 3


def test_only_the_named_tensors_are_measured_and_this_is_said(make_run):
    folder = make_run(random_walk(4))
    result = weightlapse("measure", folder, "--store", "s.sqlite", "--tensors", "fc1.*", "--tensors", "*.bias")
    assert result.code == 0
    measurements = open_measurements("s.sqlite")
    assert {row["tensor"] for row in measurements.rows()} - {""} == {"fc1.weight", "fc1.bias", "out.bias"}
    weights = [dict(state) for state in random_walk(4)]
    chosen = np.concatenate([weights[-1][name].ravel() for name in ("fc1.weight", "fc1.bias", "out.bias")])
    total = measurements.series("total", "frobenius_norm").values[-1]
    assert total == pytest.approx(np.linalg.norm(chosen.astype(np.float64)), rel=1e-12)


def test_too_little_memory_is_told_in_the_units_that_fit(make_run):
    outcome = weightlapse("measure", make_run(random_walk(3)), "--max-memory", "4")
    assert outcome.code == 1
    assert "--max-memory 4 bytes: the largest task needs " in outcome.err and " MB (what" in outcome.err
    assert "a bare number means" in " ".join(weightlapse("measure", "--help").out.split())


def test_a_pattern_that_matches_nothing_is_an_error(make_run):
    result = weightlapse("measure", make_run(random_walk(3)), "--store", "s.sqlite", "--tensors", "fc9.*")
    assert result.code == 2 and "fc9.*" in result.err and "fc1.weight" in result.err


@pytest.mark.parametrize("verb", ["measure", "report"])
def test_a_dry_run_tells_the_plan_and_writes_nothing(make_run, tmp_path, verb):
    folder = make_run(random_walk(6))
    before = sorted(tmp_path.rglob("*"))
    outcome = weightlapse(verb, folder, "--store", "s.sqlite", "--dry-run", "--metrics", "motion,size")
    assert outcome.code == 0 and sorted(tmp_path.rglob("*")) == before
    size = 6 * 4 * (12 * 20 + 12 + 5 * 12 + 5) / 1e3
    assert f"Plan: motion, size of 4 tensors at 6 checkpoints, {size:.3g} kB to read" in outcome.out.splitlines()[-1]


def test_a_dry_run_knows_what_is_measured_already(make_run):
    folder = make_run(random_walk(6))
    weightlapse("measure", folder, "--store", "s.sqlite", "--metrics", "size")
    outcome = weightlapse("measure", folder, "--store", "s.sqlite", "--metrics", "size", "--dry-run")
    assert outcome.out.splitlines()[-1] == "Plan: nothing, all of size is in s.sqlite."
    save_weights(folder / "epoch_0006.safetensors", random_walk(7)[6], weightlapse_metadata(6))
    outcome = weightlapse("measure", folder, "--store", "s.sqlite", "--metrics", "size", "--dry-run")
    assert "size of 4 tensors at 1 checkpoint," in outcome.out


def test_a_report_of_a_run_with_a_serious_defect_ends_as_the_audit_does(tmp_path):
    states = random_walk(5)
    states[3] = states[2]
    for epoch, weights in enumerate(states):
        save_weights(tmp_path / f"run/epoch_{epoch}.safetensors", weights, weightlapse_metadata(epoch))
    ended = weightlapse("report", tmp_path / "run", "--out", tmp_path / "report", "--metrics", "motion")
    assert "Serious: epoch_3.safetensors contains exactly the weights of epoch_2.safetensors" in ended.err
    assert ended.code == weightlapse("audit", tmp_path / "run").code == 3
