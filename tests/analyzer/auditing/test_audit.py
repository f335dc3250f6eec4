"""What the audit says before anything is measured, and how it is shown."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from builders import CHECKOUT, random_walk, save_weights

import analyzer
from analyzer.auditing import Audit, audit_headers
from analyzer.auditing.output import ROWS_SHOWN, as_json_object, as_text
from analyzer.layouts.scores.merging import with_scores
from analyzer.model.run import Checkpoint, Finding, Part, Run, TensorInfo

MakeRun = Callable[..., Path]
HOSTILE = "<script>\"'\n\x1b[2J\u202e"


def run_of(*checkpoints: Checkpoint, findings: tuple[Finding, ...] = ()) -> Run:
    return Run("run", "/runs/run", "weightlapse", "epoch", checkpoints, findings)


def checkpoint(
    name: str, epoch: float | None = None, step: int | None = None, **tensors: tuple[tuple[int, ...], str]
) -> Checkpoint:
    infos = {tensor: TensorInfo(tensor, dtype, shape, (Part("", 0, 0),)) for tensor, (shape, dtype) in tensors.items()}
    return Checkpoint(name, f"/runs/run/{name}", epoch, step, {"loss": 1.0}, infos, ())


def places(*epochs_and_steps: tuple[float | None, int | None]) -> Run:
    return run_of(*(checkpoint(f"c{number}", *place) for number, place in enumerate(epochs_and_steps)))


def audit(run: Run) -> list[Finding]:
    return list(audit_headers(run).findings)


def found(run: Run, rule: str) -> list[Finding]:
    return [finding for finding in audit(run) if finding.rule == rule]


def between(run: Run) -> list[tuple[str, ...]]:
    """The neighbours between which something is said to be missing."""
    return [finding.checkpoints for finding in found(run, "missing_checkpoint")]


def test_a_sound_run_has_no_findings(make_run: MakeRun, make_plain_run: MakeRun) -> None:
    assert audit(analyzer.open_run(make_run())) == []
    folder = make_plain_run()
    (folder / "metrics.csv").write_text("epoch,loss\n4,0.5\n")
    assert audit(analyzer.open_run(folder)) == []


def test_the_public_functions_stay_functions(make_run: MakeRun) -> None:
    run = analyzer.open_run(make_run())
    assert analyzer.audit(run) == []
    assert analyzer.audit(run) == []
    for name in analyzer.__all__:
        assert callable(getattr(analyzer, name)), name


# ------------------------------------------------------------------------------------------------ fault 35: gaps


def test_fault_35_a_missing_epoch_is_said(make_run: MakeRun) -> None:
    folder = make_run(random_walk(7))
    (folder / "epoch_0003.safetensors").unlink()
    (finding,) = audit(analyzer.open_run(folder))
    assert (finding.rule, finding.severity) == ("missing_checkpoint", "warning")
    assert finding.checkpoints == ("epoch_0002.safetensors", "epoch_0004.safetensors")
    assert "1 checkpoint is missing between epochs 2 and 4" in finding.sentence
    assert "2 → 4" in finding.sentence


def test_fault_35_several_missing_epochs() -> None:
    run = places(*((epoch, None) for epoch in (0, 1, 2, 5, 6, 8, 9, 10)))
    assert between(run) == [("c2", "c3"), ("c4", "c5")]
    assert "2 checkpoints are missing" in found(run, "missing_checkpoint")[0].sentence


def test_fault_35_steps_count_where_there_are_no_epochs() -> None:
    assert between(places(*((None, step) for step in (500, 1000, 2000, 2500, 3000)))) == [("c1", "c2")]


@pytest.mark.parametrize("steps_per_epoch", [10, 312, 3683, 3])
@pytest.mark.parametrize("with_steps", [True, False])
def test_fault_35_fractional_epochs(steps_per_epoch: int, with_steps: bool) -> None:
    """0.3 - 0.2 is not 0.2 - 0.1: fractions must neither hide a gap nor make one up."""
    steps = [10 * number for number in range(1, 60)]
    whole = places(*((step / steps_per_epoch, step if with_steps else None) for step in steps))
    assert between(whole) == []
    steps = [step for step in steps if step not in (50, 200, 210)]
    cut = places(*((step / steps_per_epoch, step if with_steps else None) for step in steps))
    assert between(cut) == [("c3", "c4"), ("c17", "c18")]


@pytest.mark.parametrize(
    "epochs", [(0,), (0, 1), (0, 5), (0, 1, 2, 3), (1, 2, 4, 8, 16, 32), (0, 1, 3, 6, 10), (3, 3, 3), (5, 10, 15)]
)
def test_fault_35_a_schedule_is_no_gap(epochs: tuple[int, ...]) -> None:
    assert between(places(*((epoch, None) for epoch in epochs))) == []


def test_fault_35_places_unknown() -> None:
    assert between(places((None, None), (None, None), (None, None))) == []
    assert between(places((0, None), (1, None), (2, None), (None, None), (9, None))) == []


# ------------------------------------------------------------------------------------------------ order


def test_fault_37_epochs_against_steps() -> None:
    run = places((0, 0), (1, 100), (0.5, 150), (2, 200))
    (finding,) = found(run, "wrong_order")
    assert finding.severity == "serious"
    assert finding.checkpoints == ("c1", "c2")
    assert audit(run)[0] == finding  # the most serious first


def test_a_single_checkpoint_is_said() -> None:
    (finding,) = audit(places((0, 0)))
    assert finding.rule == "single_checkpoint"


# ------------------------------------------------------------------------------------------------ fault 38: tensors

W, V = ((3, 4), "float32"), ((5,), "float32")


@pytest.mark.parametrize(
    "before, after, said, tensors",
    [
        ({"w": W}, {"w": W, "v": V}, "c1 adds v", ["v"]),
        ({"w": W, "v": V}, {"w": W}, "c1 lacks v", ["v"]),
        ({"w": W}, {"w": ((4, 3), "float32")}, "w: shape (3, 4) in c0 becomes (4, 3) in c1", ["w"]),
        ({"w": ((3, 1), "float32")}, {"w": ((3,), "float32")}, "w: shape (3, 1) in c0 becomes (3,) in c1", ["w"]),
        ({"w": W}, {"w": ((3, 4), "bfloat16")}, "w: dtype float32 in c0 becomes bfloat16 in c1", ["w"]),
    ],
    ids=["appears", "disappears", "shape", "shape of a column", "dtype"],
)
def test_fault_38_a_layer_that_changes_is_an_event(
    before: dict[str, tuple[tuple[int, ...], str]],
    after: dict[str, tuple[tuple[int, ...], str]],
    said: str,
    tensors: list[str],
) -> None:
    run = run_of(checkpoint("c0", 0, **before), checkpoint("c1", 1, **after), checkpoint("c2", 2, **after))
    (finding,) = audit(run)
    assert (finding.rule, finding.severity) == ("tensors_changed", "warning")
    assert said in finding.sentence
    assert finding.checkpoints == ("c0", "c1")
    assert finding.evidence["tensors"] == tensors
    assert finding.tensor == tensors[0]


def test_fault_38_each_tensor_is_said_with_its_own_shapes() -> None:
    sizes = {"weight": (20, 10), "bias": (20,), "norm": (20,), **{f"w{size}": (size, 3) for size in range(4, 9)}}
    before = {name: (shape, "float32") for name, shape in sizes.items()}
    after = {name: ((shape[0] + 4, *shape[1:]), "float32") for name, shape in sizes.items()}
    (finding,) = audit(run_of(checkpoint("c0", 0, **before), checkpoint("c1", 1, **after)))
    assert finding.sentence == (
        "weight: shape (20, 10) in c0 becomes (24, 10) in c1; bias and norm: (20,) becomes (24,); "
        "w4: (4, 3) becomes (8, 3); w5: (5, 3) becomes (9, 3); w6: (6, 3) becomes (10, 3); "
        "and the shape of 2 more tensors."
    )
    assert finding.evidence["tensors"] == list(sizes)


def test_fault_38_everything_at_once_and_back() -> None:
    other = {"w": ((4, 3), "float16"), "new": V}
    run = run_of(checkpoint("c0", 0, w=W, v=V), checkpoint("c1", 1, **other), checkpoint("c2", 2, w=W, v=V))
    assert len(found(run, "tensors_changed")) == 8  # gone, come, shape, dtype; and back


def test_fault_38_a_gap_is_measured_as_a_gap(tmp_path: Path) -> None:
    states = random_walk(5)
    states[2].pop("out.bias")
    states[3]["fc1.bias"] = states[3]["fc1.bias"].reshape(-1, 1)  # must not broadcast against its neighbours
    folder = tmp_path / "run"
    for epoch, weights in enumerate(states):
        save_weights(folder / f"epoch_{epoch}.safetensors", weights)
    run = analyzer.open_run(folder)
    assert len(found(run, "tensors_changed")) == 4
    measurements = analyzer.measure(run, tmp_path / "store.sqlite")
    curve = measurements.series("out.bias", "step_distance")
    assert np.isfinite(curve.values).tolist() == [False, True, False, True, True]
    expected = np.linalg.norm(states[3]["out.bias"].astype(float) - states[1]["out.bias"].astype(float))
    assert curve.values[3] == pytest.approx(expected, rel=1e-9)
    assert curve.references[3] == "epoch_1.safetensors"
    curve = measurements.series("fc1.bias", "step_distance")
    assert np.isfinite(curve.values).tolist() == [False, True, True, False, False]


# ------------------------------------------------------------------------------------------------ not measured


def test_what_is_not_measured_is_said_once(tmp_path: Path) -> None:
    for epoch in range(3):
        weights = {"w": np.ones((3, 4), np.float32), "q": np.ones((2, 2), ml_dtypes.float8_e4m3fn)}
        save_weights(tmp_path / f"epoch_{epoch}.safetensors", weights, {"loss": "0.5"})
    (finding,) = audit(analyzer.open_run(tmp_path))
    assert (finding.rule, finding.severity) == ("unscaled_float8", "warning")
    assert "float8_e4m3fn" in finding.sentence


def test_fault_12_unsupported_tensors_are_said_with_the_reason() -> None:
    reason = "200 dimensions are more than 64"
    state = checkpoint("c0", 0, w=W)
    odd = dataclasses.replace(TensorInfo("deep", "float32", (1,) * 200, ()), unsupported=reason)
    state = dataclasses.replace(state, tensors={**state.tensors, "deep": odd})
    run = run_of(state, dataclasses.replace(state, name="c1", epoch=1.0))
    (finding,) = found(run, "unsupported_tensors")
    assert finding.sentence == f"deep: not measured, {reason}."
    assert finding.evidence["tensors"] == ["deep"]


def test_fault_13_very_many_tensors_are_audited_quickly() -> None:
    names = [f"experts.{number}.weight" for number in range(50_000)]
    odd = {name: TensorInfo(name, "F4", (2,), (), "elements of F4 are smaller than a byte") for name in names}
    states = [Checkpoint(f"c{epoch}", "", float(epoch), None, {"loss": 1.0}, odd, ()) for epoch in range(3)]
    started = time.process_time()
    (finding,) = audit(run_of(*states))
    assert time.process_time() - started < 20
    assert finding.evidence["tensors"] == names
    assert "and 49995 more" in finding.sentence


# ------------------------------------------------------------------------------------------------ no scores


def test_fault_14_a_run_without_scores_is_told_where_they_were_looked_for(make_plain_run: MakeRun) -> None:
    folder = make_plain_run()
    (finding,) = audit(analyzer.open_run(folder))
    assert (finding.rule, finding.severity) == ("no_scores", "notice")
    assert "in metrics.csv, metrics.jsonl, log.txt and 13 more in their folder" in finding.sentence
    assert "Name a file of scores with --scalars" in finding.sentence
    (folder / "log.csv").write_text("epoch,loss\n0,0.5\n")
    (finding,) = audit(analyzer.open_run(folder))
    assert "log.csv in the folder was not read: if it contains scores, name it with --scalars" in finding.sentence
    assert audit(with_scores(analyzer.open_run(folder), str(folder / "log.csv"))) == []


def test_fault_14_why_there_are_no_scores_is_said_once(make_plain_run: MakeRun) -> None:
    folder = make_plain_run()
    (folder / "metrics.csv").write_text("time,loss\n0,0.5\n")
    assert [finding.rule for finding in audit(analyzer.open_run(folder))] == ["scores_unreadable"]


# ------------------------------------------------------------------------------------------------ shown


def test_findings_of_the_layout_come_along_in_order_of_severity() -> None:
    mine = [Finding(severity, severity, severity) for severity in ("info", "warning", "serious", "notice")]  # type: ignore[arg-type]
    run = dataclasses.replace(places((0, 0), (1, 1)), findings=tuple(mine))
    assert [finding.severity for finding in audit(run)] == ["serious", "warning", "notice", "info"]


def test_fault_15_the_text_shows_hostile_names_harmlessly(tmp_path: Path) -> None:
    hostile = checkpoint(f"c0{HOSTILE}", 0, **{f"w{HOSTILE}": W})
    other = checkpoint(f"c1{HOSTILE}", 1, **{f"v{HOSTILE}": W})
    run = dataclasses.replace(run_of(hostile, other), name=f"run{HOSTILE}")
    refused = Finding("refused_file", "serious", f"/runs/{HOSTILE}: broken")
    text = as_text([Audit(run, [*audit(run), refused])])
    assert not set(text) & set("\x1b\u202e\r")
    assert len(text.splitlines()) == text.count("\n") + 1
    lines = text.splitlines()
    assert lines[0].startswith("run<script>")
    assert sum(line.startswith("c") for line in lines) == 3  # the header and one line for each checkpoint


def test_the_text_leaves_out_the_middle_of_a_long_series() -> None:
    lines = as_text([Audit(places(*((epoch, None) for epoch in range(100))), [])]).splitlines()
    shown = [line.split()[0] for line in lines if line.startswith("c") and line != lines[2]]
    assert shown == [f"c{number}" for number in (0, 1, 2, 3, 4, 5, 94, 95, 96, 97, 98, 99)]
    assert f"{100 - ROWS_SHOWN} more" in lines[9]
    assert lines[-1].startswith("Verdict: the files' headers are sound")


def test_fault_14_a_gap_is_an_empty_cell() -> None:
    states = [dataclasses.replace(checkpoint(f"c{n}", n), scores={"test_accuracy": 0.5} if n else {}) for n in range(2)]
    lines = as_text([Audit(run_of(*states), [])]).splitlines()
    assert lines[2].split() == [
        "checkpoint",
        "epoch",
        "test_accuracy",
        "tensors",
        "dtype",
        "MB",
    ]  # no empty column of steps
    assert lines[3].split() == ["c0", "0", "0", "0"]  # epoch, tensors, MB
    assert lines[4].split() == ["c1", "1", "0.5000", "0", "0"]


def test_the_table_names_the_dtypes_and_leaves_out_a_place_that_no_checkpoint_has() -> None:
    types = {"w": W, "m": ((8,), "float16"), "n": ((1,), "int8"), "o": ((1,), "int8"), "b": ((1,), "bool")}
    lines = as_text([Audit(run_of(checkpoint("c0", step=1_000_000, **types)), [])]).splitlines()
    assert lines[2].split() == ["checkpoint", "step", "loss", "tensors", "dtype", "MB"]
    assert lines[3].split() == ["c0", "1000000", "1.0000", "5", "float32,", "float16,", "2", "more", "0"]


@pytest.mark.parametrize(
    "severity, verdict", [("serious", "1 serious defect"), ("warning", "usable, with 1 warning"), ("notice", "sound")]
)
def test_the_verdict(severity: str, verdict: str) -> None:
    text = as_text([Audit(places((0, 0)), [Finding("rule", severity, "Something.")])])  # type: ignore[arg-type]
    assert verdict in text.splitlines()[-1]


def test_the_json_is_strict_and_complete(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run()
    (folder / "epoch_0003.safetensors").unlink()
    (folder / "epoch_0001.safetensors").write_bytes(b"")
    run = analyzer.open_run(folder)
    findings = audit(run)
    content = json.loads(json.dumps(as_json_object([Audit(run, findings)]), allow_nan=False))
    assert content["schema_version"] == 2
    (one,) = content["runs"]
    assert (one["run"], one["path"], one["layout"]) == ("run", str(folder), "weightlapse")
    assert [row["epoch"] for row in one["checkpoints"]] == [0, 2, 4]
    assert one["checkpoints"][0]["scores"] == {"test_accuracy": pytest.approx(0.1), "test_loss": 2.3}
    assert [finding["rule"] for finding in one["findings"]] == ["refused_file"]
    assert one["findings"][0]["severity"] == "serious"


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "analyzer", *map(str, arguments)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_says_by_its_exit_code_whether_the_folder_can_be_trusted(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run()
    sound = command("audit", folder)
    assert (sound.returncode, sound.stderr) == (0, "")
    assert "Verdict: the files are sound. All" in sound.stdout
    (folder / "epoch_0001.safetensors").write_bytes(b"")
    (folder / "epoch_0003.safetensors.tmp").write_bytes(b"")
    damaged = command("audit", folder, "--json")
    assert damaged.returncode == 3
    assert [finding["rule"] for finding in json.loads(damaged.stdout)["runs"][0]["findings"]] == [
        "refused_file",
        "unfinished_run",
    ]
    (tmp_path / "empty").mkdir()
    nothing = command("audit", tmp_path / "empty")
    assert (nothing.returncode, nothing.stdout) == (4, "")
    assert nothing.stderr.startswith("Error: ")
    assert "Traceback" not in nothing.stderr
    assert command("audit", folder, "--layout", "keras").returncode == 2
