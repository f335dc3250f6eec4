"""What the audit finds by reading every element: planted defects by name, and nothing on a sound run."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from builders import full_count, random_walk, save_weights
from commands import weightlapse

import analyzer
from analyzer.auditing import audit_contents, audit_headers
from analyzer.auditing.contents import read_contents

MakeRun = Callable[..., Path]
LAYERS = {f"layers.{n}.weight": (6, 8) for n in range(12)}


def said(folder: Path, rule: str) -> list[analyzer.model.run.Finding]:
    return [finding for finding in analyzer.audit(analyzer.open_run(folder)) if finding.rule == rule]


def names(*epochs: int) -> tuple[str, ...]:
    return tuple(f"epoch_{epoch:04d}.safetensors" for epoch in epochs)


def test_a_sound_run_of_200_files_is_said_to_be_sound_on_one_screen(make_run: MakeRun) -> None:
    outcome = weightlapse("audit", make_run(random_walk(200, LAYERS)))
    lines = outcome.out.splitlines()
    assert (outcome.code, len(lines)) == (0, pytest.approx(20, abs=4))
    assert max(map(len, lines)) <= 120
    assert 200 * 12 * 6 * 8 * 4 == 460_800
    read = "All weights (461 kB) were read"
    assert lines[-1] == f"Verdict: the files are sound. {read}: every number is finite and the series is complete."


def test_the_verdict_is_about_the_files_and_says_that_weights_were_not_compared(make_run: MakeRun) -> None:
    states = random_walk(9, LAYERS)
    states[2], states[6] = states[6], states[2]  # which a report finds
    *_, scope, verdict = weightlapse("audit", make_run(states)).out.splitlines()
    assert scope.startswith("Not checked here: whether the weights follow each other in this order.")
    assert verdict.startswith("Verdict: the files are sound.")
    alone = weightlapse("audit", make_run(states[:1], name="alone")).out
    assert "Not checked here" not in alone


def test_the_verdict_tells_the_stored_size_of_the_weights_and_that_nothing_else_was_looked_at(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "run").mkdir()
    for step in (1, 2):
        states = {"model": {"w": torch.rand(100, 1000)}, "optimizer": {"exp_avg": torch.rand(200, 1000)}}
        torch.save({**states, "loss": 0.5}, tmp_path / f"run/step_{step}.pt")
    verdict = weightlapse("audit", tmp_path / "run").out.splitlines()[-1]
    assert "Verdict: the files are sound. All weights (800 kB of 2.4 MB) were read" in verdict
    assert "Whatever else the files contain, such as the state of an optimizer, was not checked." in verdict


def test_the_verdict_tells_the_size_of_an_adapter_not_of_its_product(tmp_path: Path) -> None:
    folder = tmp_path / "run/checkpoint-1"
    factors = {"A": np.ones((2, 12_500), np.float32), "B": np.ones((50, 2), np.float32)}
    named = {f"base_model.model.q.lora_{letter}.weight": factor for letter, factor in factors.items()}
    save_weights(folder / "adapter_model.safetensors", named)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_alpha": 4, "r": 2}')
    assert "All weights (100 kB) were read" in weightlapse("audit", tmp_path / "run").out


def test_fault_37_two_first_checkpoints_that_are_the_same(make_run: MakeRun) -> None:
    states = random_walk(6)
    states[1] = states[0]
    folder = make_run(states)
    (finding,) = said(folder, "same_weights")
    assert (finding.severity, finding.checkpoints) == ("serious", names(0, 1))
    assert "the checkpoint before it" in finding.sentence
    assert said(folder, "frozen_tensors") == []  # said once
    outcome = weightlapse("audit", folder)
    assert outcome.code == 3 and outcome.out.splitlines()[-1].startswith("Verdict: not sound, 1 serious defect.")


def test_fault_37_a_checkpoint_copied_over_a_later_one(make_run: MakeRun) -> None:
    states = random_walk(8)
    states[6] = states[2]
    (finding,) = said(make_run(states), "same_weights")
    assert (finding.checkpoints, finding.evidence["neighbors"]) == (names(2, 6), False)


def test_fault_37_several_checkpoints_that_are_the_same_are_said_once(make_run: MakeRun) -> None:
    states = random_walk(8)
    states[1] = states[2] = states[0]
    states[5] = states[7] = states[3]
    neighbors, apart = said(make_run(states), "same_weights")
    assert (neighbors.checkpoints, neighbors.evidence["neighbors"]) == (names(0, 1, 2), True)
    assert "contain exactly the weights of epoch_0000.safetensors, the checkpoint before them: " in neighbors.sentence
    assert (apart.checkpoints, apart.evidence["neighbors"]) == (names(3, 5, 7), False)


def test_the_report_says_so_too(make_run: MakeRun, tmp_path: Path) -> None:
    states = random_walk(4)
    states[3] = states[2]
    weightlapse("report", make_run(states), "--out", tmp_path / "report", "--metrics", "motion")
    rules = {finding["rule"] for finding in json.loads((tmp_path / "report/summary.json").read_text())["findings"]}
    assert "same_weights" in rules


def test_a_file_without_a_place_that_is_a_copy_is_a_notice_and_no_warning(make_plain_run: MakeRun) -> None:
    states = random_walk(4)
    folder = make_plain_run(states)
    save_weights(folder / "best.safetensors", random_walk(1, seed=9)[0])
    save_weights(folder / "final.safetensors", states[3])
    (left_out,) = said(folder, "unplaced_file")
    assert (left_out.severity, left_out.checkpoints) == ("warning", ("best.safetensors",))
    assert "Put its epoch or step into its name" in left_out.sentence
    (copy,) = said(folder, "unplaced_copy")
    assert (copy.severity, copy.checkpoints) == ("notice", ("final.safetensors", "epoch_3.safetensors"))
    assert (
        len([one for one in audit_headers(analyzer.open_run(folder)).findings if one.rule == "unplaced_file"]) == 2
    )  # only names


def test_fault_37_hundreds_of_tensors_that_never_change(make_run: MakeRun) -> None:
    shapes = {f"layers.{n}.weight": (3, 4) for n in range(400)} | {"head.weight": (3, 4)}
    states = random_walk(5, shapes)
    for state in states[1:]:
        state.update({f"layers.{n}.weight": states[0][f"layers.{n}.weight"] for n in range(300)})
    (finding,) = said(make_run(states), "frozen_tensors")
    assert (finding.severity, finding.checkpoints) == ("warning", names(0, 1, 2, 3, 4))
    assert "and 297 more did not change" in finding.sentence and "the whole run" in finding.sentence
    assert finding.evidence["tensors"] == [f"layers.{n}.weight" for n in range(300)]
    assert finding.evidence["parameters"] == 401


@pytest.mark.parametrize(("until", "severity"), [(5, "warning"), (4, "notice")])
def test_fault_37_a_tensor_frozen_over_an_interval(make_run: MakeRun, until: int, severity: str) -> None:
    states = random_walk(9)
    for state in states[4 : until + 1]:
        state["fc1.weight"] = states[3]["fc1.weight"]
    (finding,) = said(make_run(states), "frozen_tensors")
    assert (finding.tensor, finding.severity) == ("fc1.weight", severity)
    assert finding.checkpoints == names(*range(3, until + 1))


def test_buffers_and_integers_may_stand_still(make_plain_run: MakeRun) -> None:
    still = {"norm.running_mean": np.ones(4, np.float32), "positions": np.arange(9)}
    folder = make_plain_run([{**state, **still} for state in random_walk(5)])
    assert said(folder, "frozen_tensors") == []


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_fault_39_nan_and_inf_are_counted_and_placed(make_plain_run: MakeRun, dtype: type, value: float) -> None:
    states = random_walk(6, dtype=dtype)
    for state in states[2:5]:
        state["out.weight"] = state["out.weight"].copy()
        state["out.weight"][1, :3] = value
    (finding,) = said(make_plain_run(states), "nonfinite_weights")
    assert (finding.tensor, finding.evidence["count"]) == ("out.weight", {"out.weight": 3})
    assert finding.checkpoints == tuple(f"epoch_{n}.safetensors" for n in (2, 3, 4))


def masked(value: float, change: bool = False) -> list[dict[str, np.ndarray]]:
    mask = np.triu(np.full((4, 4), value, np.float32), 1)
    mask[np.tril_indices(4)] = 0
    states = [{**state, "attention.mask": mask.copy()} for state in random_walk(4)]
    if change:
        states[2]["attention.mask"][0, 0] = 1
    return states


def test_fault_39_infinite_elements_that_never_change_are_a_mask(make_plain_run: MakeRun) -> None:
    folder = make_plain_run(masked(-np.inf))
    assert said(folder, "nonfinite_weights") == []
    (finding,) = said(folder, "constant_infinities")
    assert (finding.severity, finding.tensor) == ("notice", "attention.mask")
    measured = weightlapse("measure", folder, "--store", folder.parent / "store.sqlite", "--metrics", "motion,size")
    assert measured.code == 0 and "Serious" not in measured.err
    outcome = weightlapse("audit", folder)
    assert outcome.code == 0 and "every number is finite" not in outcome.out


@pytest.mark.parametrize(("value", "change"), [(np.nan, False), (-np.inf, True)])
def test_fault_39_nan_is_serious_though_it_never_changes_and_so_is_inf_that_does(
    make_plain_run: MakeRun, value: float, change: bool
) -> None:
    folder = make_plain_run(masked(value, change))
    assert said(folder, "constant_infinities") == []
    assert [finding.severity for finding in said(folder, "nonfinite_weights")] == ["serious"]
    measured = weightlapse("measure", folder, "--store", folder.parent / "store.sqlite", "--metrics", "motion,size")
    assert measured.code == 3 and "NaN or infinite" in measured.err


def test_factors_of_an_adapter_are_named_and_shown_as_they_are_stored(tmp_path: Path) -> None:
    folder = tmp_path / "run/checkpoint-1"
    factors = {"A": np.ones((2, 6), np.float32), "B": np.ones((5, 2), np.float32)}
    factors["A"][0, 0] = np.nan
    named = {f"base_model.model.q.lora_{letter}.weight": factor for letter, factor in factors.items()}
    save_weights(folder / "adapter_model.safetensors", named)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_alpha": 4, "r": 2}')
    outcome = weightlapse("audit", tmp_path / "run")
    assert "NaN or infinite weights at step 1 in q.delta_weight (5 elements at first, because " in outcome.out
    assert "base_model.model.q.lora_A.weight is not finite either)" in outcome.out
    assert "float32" in outcome.out and "float64" not in outcome.out


def test_fault_23_a_file_that_shrinks_after_it_was_indexed(make_run: MakeRun) -> None:
    folder = make_run(random_walk(4))
    run = analyzer.open_run(folder)
    os.truncate(folder / names(2)[0], 900)
    (finding,) = [one for one in analyzer.audit(run) if one.rule == "unreadable_tensor"]
    assert finding.checkpoints == names(2) and finding.severity == "serious"
    assert sorted(finding.evidence["tensors"]) == sorted(run.checkpoints[2].tensors)


def test_fault_24_a_file_that_is_replaced_meanwhile(make_run: MakeRun) -> None:
    folder = make_run(random_walk(3))
    run = analyzer.open_run(folder)
    path = folder / names(1)[0]
    os.utime(path, ns=(1, 1))
    assert [one.checkpoints for one in analyzer.audit(run) if one.rule == "unreadable_tensor"] == [names(1)]


def test_the_hash_is_of_names_and_elements_not_of_files(make_run: MakeRun, make_plain_run: MakeRun) -> None:
    ours, plain = (analyzer.open_run(make()) for make in (make_run, make_plain_run))
    digests = [[audit_contents(run).digest(one) for one in run.checkpoints] for run in (ours, plain)]
    assert digests[0] == digests[1] and len(set(digests[0])) == 5
    assert None not in digests[0]


def test_an_empty_tensor_does_not_hide_the_hash(make_plain_run: MakeRun) -> None:
    run = analyzer.open_run(make_plain_run([{**state, "none": np.zeros((0, 3))} for state in random_walk(2)]))
    assert audit_contents(run).digest(run.checkpoints[0]) is not None
    assert audit_headers(run).digest(run.checkpoints[0]) is None


@pytest.mark.parametrize("jobs", [1, 3])
def test_bytes_are_told_as_they_are_read(make_run: MakeRun, jobs: int) -> None:
    run = analyzer.open_run(make_run())
    told: list[tuple[int, int]] = []
    read_contents(run, jobs, lambda done, total: told.append((done, total)))
    size = 5 * 4 * sum(np.prod(shape) for shape in ((12, 20), (12,), (5, 12), (5,)))
    assert told[-1] == (size, size) and [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_long_list_of_findings_is_cut_and_the_verdict_says_what_to_do(make_run: MakeRun) -> None:
    folder = make_run(random_walk(40))
    for epoch in range(2, 34, 2):
        (folder / names(epoch)[0]).write_bytes(b"xxx")
    outcome = weightlapse("audit", folder)
    lines = outcome.out.splitlines()
    assert outcome.code == 3 and len(lines) < 45
    assert "more, no more serious than these" in lines[-2]
    assert lines[-1].startswith(
        "Verdict: not sound, 16 serious defects. What to do: copy or convert the rejected files"
    )


def test_tensors_of_more_than_one_batch(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    count = full_count(5, 3)
    for epoch in range(2):
        weights = {f"w{n}": generator.standard_normal((3000, 1500)).astype(np.float32) for n in range(count)}
        weights["w1"][5, 5] = np.nan
        save_weights(tmp_path / "run" / f"epoch_{epoch}.safetensors", weights)
    run = analyzer.open_run(tmp_path / "run")
    contents = read_contents(run)
    assert contents.problems == ()
    for held in contents.elements.values():
        assert {name: one.nonfinite for name, one in held.items()} == {f"w{n}": int(n == 1) for n in range(count)}
        assert len({one.digest for one in held.values()}) == count


def test_findings_are_plain_data(make_run: MakeRun) -> None:
    states = random_walk(4)
    states[1] = states[0]
    for finding in analyzer.audit(analyzer.open_run(make_run(states))):
        json.dumps(dataclasses.asdict(finding), allow_nan=False)


def test_vectors_alone_that_stand_still_are_no_warning(make_run: MakeRun) -> None:
    states = random_walk(5)
    for state in states:
        state["fc1.bias"] = states[0]["fc1.bias"]
    (finding,) = said(make_run(states), "frozen_tensors")
    assert (finding.tensor, finding.severity) == ("fc1.bias", "notice")
