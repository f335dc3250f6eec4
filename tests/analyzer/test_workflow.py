"""One path: the command line and the Python API give the same report, and say the same of a bad run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from builders import random_walk, save_weights, weightlapse_metadata
from commands import weightlapse
from threadpoolctl import threadpool_info, threadpool_limits

import analyzer
from analyzer.engine import update
from analyzer.model.tables import Tables
from analyzer.report import reading
from analyzer.report.reading import with_statistics

MakeRun = Callable[..., Path]
States = list[dict[str, np.ndarray]]


def with_nan(states: States) -> States:
    for state in states[3:]:
        state["out.weight"] = state["out.weight"].copy()
        state["out.weight"][1, 2] = np.nan
    return states


def with_a_frozen_layer(states: States) -> States:
    return [{**state, "fc1.weight": states[0]["fc1.weight"]} for state in states]


def write_adapters(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    for step in (10, 20, 30):
        factors = {"A": (2, 6), "B": (5, 2)}
        named = {
            f"base_model.model.q.lora_{letter}.weight": generator.standard_normal(shape).astype(np.float32)
            for letter, shape in factors.items()
        }
        save_weights(folder / f"checkpoint-{step}" / "adapter_model.safetensors", named)
        config = {"peft_type": "LORA", "lora_alpha": 4, "r": 2}
        (folder / f"checkpoint-{step}" / "adapter_config.json").write_text(json.dumps(config))
    return folder


def report_by_command(folders: Sequence[Path], store: Path, out: Path) -> int:
    return weightlapse("report", *folders, "--store", store, "--out", out).code


def report_by_api(folders: Sequence[Path], store: Path, out: Path) -> list[str]:
    """Report runs from Python, and return the severities of what was found."""
    measured = [analyzer.measure(run, store) for folder in folders for run in analyzer.open_runs(folder)]
    return [finding.severity for finding in analyzer.write_report(measured, out)]


def contents(folder: Path) -> dict[str, bytes | dict[str, object]]:
    """Every file's bytes; of the manifest what depends on neither time nor arguments, and nothing of the store."""
    files: dict[str, bytes | dict[str, object]] = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".sqlite"
    }
    manifest = json.loads((folder / "manifest.json").read_bytes())
    files["manifest.json"] = {key: value for key, value in manifest.items() if key not in ("arguments", "seconds")}
    return files


@pytest.mark.parametrize("kind", ["sound", "NaN", "frozen", "two runs", "LoRA", "interrupted"])
def test_the_command_line_and_the_api_give_the_same_report(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    states = random_walk(6)
    folders = {
        "sound": lambda: [make_run(states)],
        "NaN": lambda: [make_run(with_nan(states))],
        "frozen": lambda: [make_run(with_a_frozen_layer(states))],
        "two runs": lambda: [make_run(states, "all/a"), make_run(random_walk(5, seed=1), "all/b")],
        "LoRA": lambda: [write_adapters(tmp_path / "lora")],
        "interrupted": lambda: [make_run(states)],
    }[kind]()
    store = tmp_path / "s.sqlite"
    if kind == "interrupted":
        walk = update.walk

        def pressed(task, metrics):
            for number, observation in enumerate(walk(task, metrics)):
                if number == 9:
                    raise KeyboardInterrupt
                yield observation

        with monkeypatch.context() as patched:
            patched.setattr(update, "walk", pressed)
            assert weightlapse("measure", folders[0], "--store", store, "--jobs", 1).code == 130
        assert weightlapse("report", store, "--out", tmp_path / "command").code == 3
        severities = [
            one.severity for one in analyzer.write_report(analyzer.open_measurements(store), tmp_path / "api")
        ]
    else:
        code = report_by_command(folders, store, tmp_path / "command")
        store.unlink()
        severities = report_by_api(folders, store, tmp_path / "api")
        assert code == (3 if "serious" in severities else 0)
    assert ("serious" in severities) == (kind in ("NaN", "interrupted"))
    by_command, by_api = contents(tmp_path / "command"), contents(tmp_path / "api")
    assert by_command.keys() == by_api.keys()
    assert [name for name in by_command if by_command[name] != by_api[name]] == []


def test_the_last_digits_do_not_depend_on_the_number_of_threads(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[set[int]] = []

    def recorded(tables: Tables) -> Tables:
        threads.append({library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"})
        return with_statistics(tables)

    measurements = analyzer.measure(analyzer.open_run(make_run(random_walk(12))), tmp_path / "s.sqlite")
    monkeypatch.setattr(reading, "with_statistics", recorded)
    with threadpool_limits(limits=2):
        analyzer.write_report(measurements, tmp_path / "out")
    assert threads == [{1}]


def test_a_report_from_python_says_that_a_run_is_full_of_nan(make_run: MakeRun, tmp_path: Path) -> None:
    measurements = analyzer.measure(analyzer.open_run(make_run(with_nan(random_walk(6)))), tmp_path / "s.sqlite")
    assert [finding.rule for finding in measurements.findings() if finding.severity == "serious"] == [
        "nonfinite_weights"
    ]
    analyzer.write_report(measurements, tmp_path / "report")
    page = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert "NaN or infinite weights from epoch 3 to the end" in page and "Nothing out of the ordinary" not in page


def test_nothing_is_left_of_a_bad_run_that_was_replaced(make_run: MakeRun, tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    bad = make_run(with_nan(random_walk(6)))
    assert weightlapse("measure", bad, "--store", store).code == 3
    shutil.rmtree(bad)
    good = make_run(random_walk(6, seed=7))
    findings = analyzer.write_report(analyzer.measure(analyzer.open_run(good), store), tmp_path / "report")
    assert [finding.severity for finding in findings if finding.severity in ("warning", "serious")] == []
    assert json.loads((tmp_path / "report/summary.json").read_bytes())["findings"] == []


def test_vanished_checkpoints_are_reported_until_they_come_back(make_run: MakeRun, tmp_path: Path) -> None:
    states, store = random_walk(5), tmp_path / "s.sqlite"
    folder = make_run(states)
    analyzer.measure(analyzer.open_run(folder), store)
    for epoch in (0, 1):
        (folder / f"epoch_{epoch:04d}.safetensors").unlink()
    measurements = analyzer.measure(analyzer.open_run(folder), store)
    (finding,) = [one for one in measurements.findings() if one.rule == "vanished_checkpoints"]
    assert finding.checkpoints == ("epoch_0000.safetensors", "epoch_0001.safetensors")
    assert finding.severity == "warning" and "no longer in the folder" in finding.sentence
    assert "no longer in the folder" in weightlapse("measure", folder, "--store", store).err
    save_weights(folder / "epoch_0001.safetensors", states[1], weightlapse_metadata(1))
    measurements = analyzer.measure(analyzer.open_run(folder), store)
    (finding,) = [one for one in measurements.findings() if one.rule == "vanished_checkpoints"]
    assert finding.checkpoints == ("epoch_0000.safetensors",)


def test_a_selected_frozen_tensor_is_no_copy_of_a_checkpoint(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(with_a_frozen_layer(random_walk(5)))
    run = analyzer.open_run(folder, tensors=["fc1.weight"])
    for findings in (analyzer.audit(run), analyzer.measure(run, tmp_path / "s.sqlite").findings()):
        rules = {finding.rule for finding in findings}
        assert "frozen_tensors" in rules and "same_weights" not in rules


def test_runs_in_different_stores_are_no_report(make_run: MakeRun, tmp_path: Path) -> None:
    measured = [
        analyzer.measure(analyzer.open_run(make_run(random_walk(2), name)), tmp_path / f"{name}.sqlite")
        for name in ("a", "b")
    ]
    with pytest.raises(analyzer.WeightlapseError, match=r"a\.sqlite, .*b\.sqlite: the runs of a report must be in one"):
        analyzer.write_report(measured, tmp_path / "report")
