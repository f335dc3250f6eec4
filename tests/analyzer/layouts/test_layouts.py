"""Folders become runs: which layout wins, in what order, with which scores, and what is said about the rest."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders import random_walk, save_weights, weightlapse_metadata
from commands import weightlapse
from hypothesis import given
from hypothesis import strategies as st

import analyzer
from analyzer.auditing import audit_headers
from analyzer.errors import CheckpointError, LayoutError, NoCheckpointsError
from analyzer.layouts import LAYOUTS, find_runs
from analyzer.layouts.naming import parse_count, parse_score, place_in_name, place_of, run_name
from analyzer.layouts.scores.merging import with_scores
from analyzer.layouts.scores.sidecars import read_scores
from analyzer.model.run import Finding, Run

MakeRun = Callable[..., Path]
NOT_NUMBERS = ["NaN", "nan", "1e999", "-1e999", "inf", "Infinity", "", " ", "high", "0x10", "1,5", "1_0", "None", "[]"]


def names(run: Run) -> list[str]:
    return [checkpoint.name for checkpoint in run.checkpoints]


def epochs(run: Run) -> list[float | None]:
    return [checkpoint.epoch for checkpoint in run.checkpoints]


def scores(run: Run, name: str) -> list[float | None]:
    return [checkpoint.scores.get(name) for checkpoint in run.checkpoints]


def found(run: Run, rule: str) -> list[Finding]:
    return [finding for finding in run.findings if finding.rule == rule]


def plain(folder: Path, *file_names: str, seed: int = 0) -> Path:
    for name, weights in zip(file_names, random_walk(len(file_names), seed=seed), strict=True):
        save_weights(folder / name, weights)
    return folder


# ------------------------------------------------------------------------------------------------ which layout


def test_our_own_run(make_run: MakeRun) -> None:
    run = analyzer.open_run(make_run(random_walk(12), name="demo"))
    assert (run.name, run.layout, run.findings) == ("demo", "weightlapse", ())
    assert epochs(run) == list(range(12))
    assert [checkpoint.step for checkpoint in run.checkpoints] == [100 * epoch for epoch in range(12)]
    assert names(run)[2] == "epoch_0002.safetensors"
    assert scores(run, "train_accuracy")[0] is None
    assert scores(run, "test_accuracy")[0] == pytest.approx(0.1)
    assert set(run.checkpoints[1].scores) == {"train_accuracy", "test_accuracy", "train_loss", "test_loss"}
    assert "step" in run.ordered_by


def test_a_plain_folder(make_plain_run: MakeRun) -> None:
    run = analyzer.open_run(make_plain_run(random_walk(12)))
    assert (run.layout, run.findings) == ("safetensors", ())
    assert names(run) == [f"epoch_{epoch}.safetensors" for epoch in range(12)]  # 10 after 2
    assert epochs(run) == list(range(12))
    assert all(not checkpoint.scores for checkpoint in run.checkpoints)


def test_layouts_are_ranked() -> None:
    ours, *others = LAYOUTS
    assert ours == "weightlapse"
    assert others[:5] == ["lightning", "hub-cache", "huggingface", "timm", "timm-ema"]
    assert others[5:-3] == ["nanogpt", "deepspeed", "accelerate", "folders", "torchtune"]
    ranks = [module.SPECIFICITY for module in LAYOUTS.values()]
    assert ranks[:-2] == sorted(set(ranks), reverse=True)
    assert set(ranks[-3:]) == {10}  # equals: safetensors, torch, numpy


def test_ours_wins_over_a_plain_folder_and_layout_settles_it(make_run: MakeRun) -> None:
    folder = make_run()
    assert analyzer.open_run(folder).layout == "weightlapse"
    as_plain = analyzer.open_run(folder, layout="safetensors")
    assert as_plain.layout == "safetensors"
    assert epochs(as_plain) == [0, 1, 2, 3, 4]
    assert scores(as_plain, "test_accuracy") == scores(analyzer.open_run(folder), "test_accuracy")
    assert set(as_plain.checkpoints[1].scores) == {"train_accuracy", "test_accuracy", "train_loss", "test_loss"}


def test_huggingface_wins_over_a_plain_folder_beside_it(tmp_path: Path) -> None:
    checkpoint = save_weights(tmp_path / "checkpoint-5" / "model.safetensors", random_walk(1)[0]).parent
    (checkpoint / "trainer_state.json").write_text('{"epoch": 1.0, "log_history": []}')
    save_weights(tmp_path / "model.safetensors", random_walk(1)[0])
    assert analyzer.open_run(tmp_path).layout == "huggingface"
    assert names(analyzer.open_run(tmp_path, layout="safetensors")) == ["model.safetensors"]


def test_a_tie_of_equals_is_an_error(make_plain_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LAYOUTS["weightlapse"], "SPECIFICITY", 90)
    monkeypatch.setattr(LAYOUTS["weightlapse"], "recognize", lambda folder: "it says so")
    monkeypatch.setattr(LAYOUTS["huggingface"], "recognize", lambda folder: "it says so too")
    folder = make_plain_run()
    with pytest.raises(LayoutError, match="matches weightlapse and huggingface equally well; choose one with --layout"):
        analyzer.open_run(folder)
    assert analyzer.open_run(folder, layout="safetensors").layout == "safetensors"


def test_a_layout_that_does_not_exist(make_run: MakeRun) -> None:
    with pytest.raises(
        LayoutError, match=r"--layout tensorflow: .* choose one of weightlapse, lightning, hub-cache, .*, safetensors"
    ):
        analyzer.open_run(make_run(), layout="tensorflow")


def test_nothing_found(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no checkpoint")
    for path in (tmp_path / "empty", tmp_path / "nowhere", tmp_path / "notes.txt", "nul\0"):
        with pytest.raises(NoCheckpointsError):
            analyzer.open_runs(path)
    with pytest.raises(
        NoCheckpointsError, match=r"(?s)weightlapse reads.*\n  weightlapse .*\n  huggingface .*\n  safetensors"
    ):
        analyzer.open_runs(tmp_path / "empty")
    with pytest.raises(NoCheckpointsError, match="no checkpoints found"):
        analyzer.open_runs(tmp_path / "empty", layout="huggingface")


def test_a_layout_that_does_not_fit_is_said_with_the_one_that_does(make_plain_run: MakeRun) -> None:
    folder = make_plain_run()
    for path in (folder, folder.parent):
        with pytest.raises(NoCheckpointsError, match=r"--layout huggingface does not fit.* read as safetensors"):
            analyzer.open_runs(path, layout="huggingface")


def test_nothing_usable_says_why_for_each_file(tmp_path: Path) -> None:
    (tmp_path / "epoch_1.safetensors").write_bytes(b"")
    (tmp_path / "epoch_2.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(NoCheckpointsError) as caught:
        analyzer.open_runs(tmp_path)
    assert "epoch_1.safetensors: 0 bytes are too few" in str(caught.value)
    assert "epoch_2.safetensors: is not a safetensors file" in str(caught.value)


def test_a_folder_of_runs(make_run: MakeRun, make_plain_run: MakeRun, tmp_path: Path) -> None:
    make_run(name="sweep/b")
    make_plain_run(name="sweep/a")
    make_run(name="sweep/deep/er/c")
    make_run(name="sweep/.hidden")
    (tmp_path / "sweep" / "notes").mkdir()
    runs = analyzer.open_runs(tmp_path / "sweep")
    assert [run.name for run in runs] == ["a", "b", "c"]
    assert [run.layout for run in runs] == ["safetensors", "weightlapse", "weightlapse"]
    with pytest.raises(LayoutError, match="contains several runs"):
        analyzer.open_run(tmp_path / "sweep")


def test_runs_of_equal_name_stay_apart(make_run: MakeRun, tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(random_walk(2, seed=seed), name=f"sweep/seed{seed}/net")
    make_run(name="sweep/other")
    runs = analyzer.open_runs(tmp_path / "sweep")
    assert [run.name for run in runs] == ["other", "seed0/net", "seed1/net"]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("project/version_0", "project/version_0"),
        ("project/lightning_logs/version_3", "project/version_3"),
        ("project/lightning_logs/version_3/checkpoints", "project/version_3"),
        ("project/checkpoints", "project"),
        ("project/checkpoints/seed1", "seed1"),
        ("project/exp/weights", "exp"),
    ],
)
def test_a_run_in_a_folder_that_many_runs_have_is_named_by_what_is_above(
    make_run: MakeRun, tmp_path: Path, folder: str, name: str
) -> None:
    make_run(name=folder)
    assert analyzer.open_run(tmp_path / folder).name == name
    assert analyzer.open_run(tmp_path).name == name
    assert run_name(f"s3://bucket/{folder}") == run_name(f"https://server/{folder}/") == name
    outcome = weightlapse("measure", tmp_path / "project", "--dry-run", "--metrics", "motion")
    assert f"Into {Path('reports', name.replace('/', '-'))}" in outcome.out


def test_runs_of_equal_name_stay_apart_below_the_working_folder(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (0, 1):
        make_run(name=f"sweep/seed{seed}/net")
    monkeypatch.chdir(tmp_path / "sweep")
    assert [run.name for run in analyzer.open_runs(".")] == ["seed0/net", "seed1/net"]
    monkeypatch.chdir(tmp_path / "sweep" / "seed0")
    assert [run.name for run in analyzer.open_runs("../")] == ["seed0/net", "seed1/net"]


IMPOSTORS = {
    "git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n",
    "is a web page": b"\n<!DOCTYPE html><html><head><title>Sign in</title></head></html>" + b" " * 900,
}


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "bin", "npz"])
@pytest.mark.parametrize("said", list(IMPOSTORS))
def test_what_only_has_the_name_of_weights_is_said(tmp_path: Path, suffix: str, said: str) -> None:
    (tmp_path / f"model_1.{suffix}").write_bytes(IMPOSTORS[said])
    with pytest.raises(NoCheckpointsError, match=said):
        analyzer.open_run(tmp_path)


@pytest.mark.parametrize("state", [True, False])
def test_shards_without_their_index_are_no_series(tmp_path: Path, state: bool) -> None:
    for number in (1, 2):
        path = tmp_path / f"checkpoint-10/model-0000{number}-of-00002.safetensors"
        save_weights(path, random_walk(1)[0])
    if state:
        (tmp_path / "checkpoint-10/trainer_state.json").write_text("{}")
    with pytest.raises(NoCheckpointsError, match=r"model\.safetensors\.index\.json is missing"):
        analyzer.open_run(tmp_path)


def test_one_file_alone_is_in_no_order(tmp_path: Path) -> None:
    save_weights(tmp_path / "run/model.safetensors", random_walk(1)[0])
    assert analyzer.open_run(tmp_path / "run").findings == ()


# ------------------------------------------------------------------------------------------------ order


@pytest.mark.parametrize(
    "name, expected",
    [
        ("epoch_10", (10, None)),
        ("Epoch-3.safetensors", (3, None)),
        ("epoch=3-step=500.ckpt", (3, 500)),
        ("model_ep12", (12, None)),
        ("ep_7.safetensors", (7, None)),
        ("step_100", (None, 100)),
        ("model_step1000.safetensors", (None, 1000)),
        ("globalstep200", (None, 200)),
        ("global_step_200", (None, 200)),
        ("iter_5", (None, 5)),
        ("iteration-5", (None, 5)),
        ("checkpoint-230500-loss-1.2531", (None, 230500)),
        ("loss-1.2531-checkpoint-230500", (None, 230500)),
        ("loss-0.5-step-20", (None, 20)),
        ("ckpt-3-step-500", (None, 500)),
        ("checkpoint_epoch_3_step_500", (3, 500)),
        ("0003_step_7", (None, 7)),
        ("sheep3", (None, None)),
        ("arbiter3", (None, None)),
        ("model-00042", (None, None)),
        ("weights", (None, None)),
        ("", (None, None)),
        ("epoch_" + "9" * 200, (None, None)),
        ("step_" + "9" * 200, (None, None)),
        ("step_9223372036854775808", (None, None)),
    ],
)
def test_a_keyword_wins_over_a_bare_number(name: str, expected: tuple[float | None, int | None]) -> None:
    assert place_in_name(name) == expected


@given(st.text(), st.integers(0, 10**9), st.sampled_from(["_", "-", "=", ""]), st.text())
def test_any_step_is_found_in_a_name(before: str, step: int, joint: str, after: str) -> None:
    name = f"{before}step{joint}{step}.{after}"
    if "step" not in before.lower():
        assert place_in_name(name)[1] == step


def test_keyword_before_number_puts_the_series_in_order(tmp_path: Path) -> None:
    files = [f"checkpoint-{step}-loss-{loss}.safetensors" for step, loss in ((900, 9.9), (1000, 1.25), (20500, 0.5))]
    run = analyzer.open_run(plain(tmp_path, *files))
    assert names(run) == files
    assert [checkpoint.step for checkpoint in run.checkpoints] == [900, 1000, 20500]
    assert epochs(run) == [None] * 3


def test_step_in_a_name_is_no_epoch(tmp_path: Path) -> None:
    run = analyzer.open_run(plain(tmp_path, "step_100.safetensors", "step_200.safetensors"))
    assert epochs(run) == [None, None]
    assert [checkpoint.step for checkpoint in run.checkpoints] == [100, 200]


def test_steps_that_are_counted_anew_in_each_epoch_are_no_count_of_the_run(tmp_path: Path) -> None:
    places = [(1, 100), (1, 200), (2, 100), (2, 200), (10, 100)]
    for (epoch, step), weights in zip(places, random_walk(5), strict=True):
        save_weights(tmp_path / f"epoch_{epoch}_iter_{step}.safetensors", weights, {"loss": "0.5"})
    run = analyzer.open_run(tmp_path)
    assert [one.name for one in run.checkpoints] == [f"epoch_{e}_iter_{s}.safetensors" for e, s in places]
    assert [(one.epoch, one.step) for one in run.checkpoints] == [(epoch, None) for epoch, _ in places]
    assert run.ordered_by == "epoch and the step within it, from the files' metadata and names"
    assert [finding.rule for finding in analyzer.audit(run)] == ["steps_within_epochs"]
    assert analyzer.measure(run, tmp_path / "store.sqlite", metrics=["motion"])


def test_without_keywords_the_numbers_decide(tmp_path: Path) -> None:
    files = [f"w{number}.safetensors" for number in (1, 2, 9, 10, 11, 100)]
    run = analyzer.open_run(plain(tmp_path, *files))
    assert names(run) == files
    assert run.ordered_by == "the numbers in the names"


def test_without_numbers_the_age_decides_and_it_is_said(tmp_path: Path) -> None:
    files = ["last.safetensors", "best.safetensors", "first.safetensors"]
    plain(tmp_path, *files)
    for age, name in enumerate(reversed(files)):
        os.utime(tmp_path / name, ns=(10**18 + age, 10**18 + age))
    run = analyzer.open_run(tmp_path)
    assert names(run) == files[::-1]
    assert run.ordered_by == "modification time"
    assert [finding.severity for finding in found(run, "order_by_age")] == ["warning"]


@pytest.mark.parametrize("count", [1, 2])
def test_an_order_by_age_is_a_warning_as_soon_as_there_is_an_order(tmp_path: Path, count: int) -> None:
    run = analyzer.open_run(plain(tmp_path, *["first.safetensors", "second.safetensors"][:count]))
    assert run.ordered_by == "modification time"
    assert [finding.severity for finding in found(run, "order_by_age")] == ["warning"] * (count - 1)


@pytest.mark.parametrize(
    "name, metadata, expected",
    [
        ("checkpoint-3", {"epoch": "3"}, (3.0, None)),  # the number counts epochs, so it is not a step
        ("checkpoint-3", {"epoch": "2.5"}, (2.5, None)),
        ("ckpt_3.pt", {"epoch": "3"}, (3.0, None)),
        ("checkpoint-3", {"epoch": "3", "step": "30"}, (3.0, 30)),
        ("checkpoint-3-step-40", {"epoch": "3"}, (3.0, 40)),
        ("checkpoint-3", {"epoch": "none"}, (None, 3)),
        ("checkpoint-3", {}, (None, 3)),
        ("epoch_3", {"step": "x", "iter_num": "7"}, (3.0, 7)),
    ],
)
def test_an_epoch_in_the_metadata_settles_what_a_bare_number_counts(
    name: str, metadata: dict[str, str], expected: tuple[float | None, int | None]
) -> None:
    assert place_of(name, metadata) == expected


def test_a_checkpoint_with_an_epoch_in_its_metadata_has_no_step(tmp_path: Path) -> None:
    for number, weights in enumerate(random_walk(3), start=1):
        save_weights(tmp_path / f"checkpoint-{number}.safetensors", weights, {"epoch": str(number)})
    run = analyzer.open_run(tmp_path)
    assert [(one.epoch, one.step) for one in run.checkpoints] == [(1, None), (2, None), (3, None)]


def test_tables_that_were_not_searched_for_scores_are_listed(make_run: MakeRun, make_plain_run: MakeRun) -> None:
    for folder, expected in (
        (make_run(name="ours"), ("log.csv", "log.jsonl", "metrics.csv")),  # its scores are in the checkpoints
        (make_plain_run(name="others"), ("log.csv", "log.jsonl")),
    ):
        for name in ("metrics.csv", "log.csv", "log.jsonl"):
            (folder / name).write_text("epoch,loss\n0,1\n" if name.endswith("csv") else '{"epoch": 0, "loss": 1}\n')
        (folder / "notes.txt").write_text("no table")
        (folder / "folder.csv").mkdir()
        assert analyzer.open_run(folder).unread_tables == expected


@pytest.mark.parametrize("step", ["step", "global_step"])
def test_metadata_wins_over_the_name_in_a_plain_folder(tmp_path: Path, step: str) -> None:
    for number, weights in enumerate(random_walk(3)):
        place = {"epoch": str(2 - number), step: str(10 * (2 - number))}
        save_weights(tmp_path / f"epoch_{number}_step_{number}.safetensors", weights, place)
    run = analyzer.open_run(tmp_path)
    assert [(one.epoch, one.step) for one in run.checkpoints] == [(0, 0), (1, 10), (2, 20)]
    assert names(run)[0] == "epoch_2_step_2.safetensors"


def test_metadata_wins_over_the_name(tmp_path: Path) -> None:
    for number, weights in enumerate(random_walk(3)):
        save_weights(tmp_path / f"epoch_{number}.safetensors", weights, weightlapse_metadata(2 - number))
    run = analyzer.open_run(tmp_path)
    assert names(run) == ["epoch_2.safetensors", "epoch_1.safetensors", "epoch_0.safetensors"]
    assert epochs(run) == [0, 1, 2]


# ------------------------------------------------------------------------------------------------ fault 14: gaps


@pytest.mark.parametrize("text", [*NOT_NUMBERS, None, [], {}, True, False, float("nan"), float("inf"), 10**400])
def test_fault_14_what_is_not_a_number_is_a_gap(text: object) -> None:
    assert parse_score(text) is None
    assert parse_count(text) is None


@pytest.mark.parametrize(
    "text, value", [("0.5", 0.5), (" 1e-3 ", 1e-3), ("0", 0.0), (3, 3.0), ("-2", -2.0), (0.25, 0.25)]
)
def test_numbers_are_numbers(text: object, value: float) -> None:
    assert parse_score(text) == value


@pytest.mark.parametrize("text", ["-1", "2.5", "1e300", "9223372036854775808", -3, 0.5])
def test_fault_14_what_is_no_count_is_a_gap(text: object) -> None:
    assert parse_count(text) is None
    assert parse_count("12") == parse_count(12.0) == parse_count("1.2e1") == 12


@pytest.mark.parametrize("text", [None, *NOT_NUMBERS])
@pytest.mark.parametrize("key", ["test_accuracy", "train_loss", "step", "epoch"])
def test_fault_14_metadata_that_is_not_a_number(tmp_path: Path, key: str, text: str | None) -> None:
    for epoch, weights in enumerate(random_walk(4)):
        metadata = weightlapse_metadata(epoch)
        if epoch == 2:
            metadata.pop(key)
            metadata.update({key: text} if text is not None else {})
        save_weights(tmp_path / f"epoch_{epoch:04d}.safetensors", weights, metadata)
    run = analyzer.open_run(tmp_path)
    assert run.layout == "weightlapse"
    assert epochs(run) == [0, 1, 2, 3]  # from the name, where the metadata does not tell
    assert [checkpoint.step for checkpoint in run.checkpoints] == [0, 100, None if key == "step" else 200, 300]
    if key in ("test_accuracy", "train_loss"):
        assert scores(run, key)[2] is None
        assert None not in scores(run, key)[1:2] + scores(run, key)[3:]


def test_fault_14_an_epoch_that_nothing_tells_is_refused(make_run: MakeRun) -> None:
    folder = make_run()
    save_weights(folder / "epoch_last.safetensors", random_walk(1)[0], {"format": "weightlapse", "epoch": "NaN"})
    run = analyzer.open_run(folder)
    assert epochs(run) == [0, 1, 2, 3, 4]
    assert "neither its metadata nor its name states its epoch" in found(run, "refused_file")[0].sentence


@pytest.mark.parametrize("text", ["1e300", "9" * 30, "1e17"])
@pytest.mark.parametrize("key", ["step", "epoch"])
def test_fault_14_counts_beyond_reason_can_still_be_measured(tmp_path: Path, key: str, text: str) -> None:
    folder = tmp_path / "run"
    for epoch, weights in enumerate(random_walk(3)):
        metadata = weightlapse_metadata(epoch)
        save_weights(
            folder / f"epoch_{epoch}.safetensors", weights, {**metadata, key: text} if epoch == 2 else metadata
        )
    run = analyzer.open_run(folder)
    assert epochs(run) == [0, 1, 2]
    assert len(analyzer.measure(run, tmp_path / "store.sqlite", ["size"]).rows()) > 0
    as_plain = analyzer.open_run(folder, layout="safetensors")
    assert len(analyzer.measure(as_plain, tmp_path / "plain.sqlite", ["size"]).rows()) > 0


# ------------------------------------------------------------------------------------------------ refused, said


def test_fault_01_a_damaged_file_is_named_and_the_others_go_on(make_run: MakeRun) -> None:
    folder = make_run()
    (folder / "epoch_0002.safetensors").write_bytes(b"\0\0\0")
    run = analyzer.open_run(folder)
    assert epochs(run) == [0, 1, 3, 4]
    (finding,) = found(run, "refused_file")
    assert finding.severity == "serious"
    assert finding.sentence.startswith(f"{folder}/epoch_0002.safetensors: 3 bytes are too few")


def test_a_foreign_file_among_ours_is_left_out(make_run: MakeRun) -> None:
    folder = make_run()
    save_weights(folder / "epoch_0007.safetensors", random_walk(1)[0])
    run = analyzer.open_run(folder)
    assert epochs(run) == [0, 1, 2, 3, 4]
    assert "does not have format=weightlapse" in found(run, "refused_file")[0].sentence


def test_fault_19_a_folder_where_a_file_belongs_makes_no_run(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(name="runs/odd.safetensors")
    runs = analyzer.open_runs(tmp_path / "runs")
    assert [run.name for run in runs] == ["odd.safetensors"]


@pytest.mark.parametrize("temporary", ["epoch_0005.safetensors.tmp", ".epoch_0005.safetensors.tmp", "x\n\x1b[31m.tmp"])
@pytest.mark.parametrize("make", ["make_run", "make_plain_run"])
def test_fault_25_a_run_that_is_being_written(request: pytest.FixtureRequest, make: str, temporary: str) -> None:
    folder = request.getfixturevalue(make)()
    whole = sorted(folder.iterdir())[-1].read_bytes()
    (folder / temporary).write_bytes(whole[: len(whole) // 2])
    run = analyzer.open_run(folder)
    assert epochs(run) == [0, 1, 2, 3, 4]
    (finding,) = run.findings
    assert (finding.rule, finding.severity) == ("unfinished_run", "notice")
    assert "It is read up to the last complete checkpoint" in finding.sentence
    assert "\n" not in finding.sentence
    assert "\x1b" not in finding.sentence


def test_fault_25_a_file_without_its_end(make_run: MakeRun) -> None:
    folder = make_run()
    whole = (folder / "epoch_0004.safetensors").read_bytes()
    (folder / "epoch_0004.safetensors").write_bytes(whole[:-1])
    run = analyzer.open_run(folder)
    assert epochs(run) == [0, 1, 2, 3]
    assert "epoch_0004.safetensors: truncated" in found(run, "refused_file")[0].sentence


@pytest.mark.parametrize("make", ["make_run", "make_plain_run"])
def test_fault_36_two_checkpoints_of_one_epoch_with_the_same_bytes(request: pytest.FixtureRequest, make: str) -> None:
    folder = request.getfixturevalue(make)(random_walk(5))
    second = sorted(folder.iterdir())[2]
    shutil.copy(second, folder / f"{second.stem}_copy.safetensors")
    run = analyzer.open_run(folder)
    assert epochs(run) == [0, 1, 2, 3, 4]
    assert names(run)[2] == second.name
    copy = f"{second.stem}_copy.safetensors"
    if make == "make_plain_run":  # a name alone that no other has gives no place; the audit finds that it is a copy
        assert [one.name for one in run.unplaced] == [copy]
        assert ("unplaced_copy", (copy, second.name)) in [(one.rule, one.checkpoints) for one in analyzer.audit(run)]
        return
    (finding,) = run.findings
    assert (finding.rule, finding.severity) == ("duplicate_files", "notice")
    assert finding.checkpoints == (second.name, copy)


@pytest.mark.parametrize("where", ["weights", "metadata", "size"])
def test_fault_36_two_checkpoints_of_one_epoch_that_differ(make_run: MakeRun, where: str) -> None:
    states = random_walk(5)
    folder = make_run(states)
    other = {name: array.copy() for name, array in states[2].items()}
    metadata = weightlapse_metadata(2)
    if where == "weights":
        other["out.bias"][-1] += 1
    elif where == "metadata":
        metadata["test_accuracy"] = "0.1234"
    else:
        other["new"] = np.ones(1, np.float32)
    save_weights(folder / "epoch_0002_again.safetensors", other, metadata)
    run = analyzer.open_run(folder)
    assert epochs(run) == [0, 1, 3, 4]
    (finding,) = run.findings
    assert (finding.rule, finding.severity) == ("contradicting_files", "serious")
    assert finding.checkpoints == ("epoch_0002.safetensors", "epoch_0002_again.safetensors")
    assert "epoch 2 and step 200" in finding.sentence


def test_fault_36_one_step_twice_of_which_one_tells_no_epoch(tmp_path: Path) -> None:
    for name, weights in zip(("a_step1_epoch1", "b_step1", "c_step2"), random_walk(3), strict=True):
        save_weights(tmp_path / f"{name}.safetensors", weights)
    run = analyzer.open_run(tmp_path)
    assert [one.name for one in run.checkpoints] == ["c_step2.safetensors"]
    assert "all claim step 1 but differ" in found(run, "contradicting_files")[0].sentence


def test_fault_36_three_of_one_epoch_of_which_two_are_identical(make_run: MakeRun) -> None:
    states = random_walk(3)
    folder = make_run(states)
    shutil.copy(folder / "epoch_0001.safetensors", folder / "epoch_0001_b.safetensors")
    save_weights(folder / "epoch_0001_c.safetensors", states[0], weightlapse_metadata(1))
    run = analyzer.open_run(folder)
    assert epochs(run) == [0, 2]
    assert len(found(run, "contradicting_files")[0].checkpoints) == 3


def test_fault_36_files_without_epoch_or_step_are_no_duplicates(tmp_path: Path) -> None:
    for name in ("a1.safetensors", "a2.safetensors", "a3.safetensors"):
        save_weights(tmp_path / name, random_walk(1)[0])
    assert len(analyzer.open_run(tmp_path).checkpoints) == 3


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_fault_15_names_that_are_not_text_are_refused(tmp_path: Path) -> None:
    folder = plain(tmp_path / "run", "epoch_1.safetensors", "epoch_2.safetensors")
    bad = os.fsencode(folder) + b"/epoch_3_\xff.safetensors"
    shutil.copy(os.fsencode(folder / "epoch_2.safetensors"), bad)
    damaged = os.fsencode(folder) + b"/epoch_4_\xff.safetensors"
    Path(os.fsdecode(damaged)).write_bytes(b"")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.tmp")).write_bytes(b"")
    run = analyzer.open_run(folder)
    assert epochs(run) == [1, 2]
    assert len(found(run, "refused_file")) == 2
    assert all("epoch_" in finding.sentence for finding in found(run, "refused_file"))
    assert any("rename it" in finding.sentence for finding in found(run, "refused_file"))
    json.dumps([finding.sentence for finding in run.findings]).encode()
    for finding in run.findings:
        finding.sentence.encode()
    analyzer.measure(run, tmp_path / "store.sqlite", ["size"])
    bad_folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/run_\xff"))
    folder.rename(bad_folder)
    with pytest.raises(CheckpointError, match="rename the folder"):
        analyzer.open_run(bad_folder)


@pytest.mark.skipif(os.name != "posix", reason="such names exist on POSIX only")
def test_fault_15_hostile_file_names_are_read_and_measured(tmp_path: Path) -> None:
    files = [
        f"epoch_{number}_{odd}.safetensors"
        for number, odd in enumerate(["<script>alert(1)<", "'\"", "a\nb", "\x1b[31m", "\u202egnp", "=1+1", "x" * 200])
    ]
    run = analyzer.open_run(plain(tmp_path / "run", *files))
    assert names(run) == files
    measurements = analyzer.measure(run, tmp_path / "store.sqlite", ["size"])
    assert {row["checkpoint"] for row in measurements.rows()} == set(files)


def test_shards_of_one_checkpoint_are_no_series(tmp_path: Path) -> None:
    plain(tmp_path, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(CheckpointError, match="contains the shards of a single checkpoint"):
        analyzer.open_run(tmp_path)


# ------------------------------------------------------------------------------------------------ sidecars


def test_scores_beside_a_plain_folder(make_plain_run: MakeRun) -> None:
    folder = make_plain_run()
    (folder / "metrics.csv").write_text("epoch,test_accuracy,note\n0,0.1,start\n2,0.3,\n4,0.5,x\n9,0.9,\n")
    run = analyzer.open_run(folder)
    assert scores(run, "test_accuracy") == [0.1, None, 0.3, None, 0.5]
    assert scores(run, "note") == [None] * 5
    assert run.findings == ()


def test_sparse_rows_are_merged(make_plain_run: MakeRun) -> None:
    """As Lightning's CSVLogger writes them: train and validation in rows of their own."""
    folder = make_plain_run()
    rows = [
        "epoch,step,train_loss,val_acc",
        "0,10,0.9,",
        "0,10,,0.2",
        "1,20,0.8,",
        "1,20,,0.4",
        "1,25,0.7,",
        ",30,0.6,",
    ]
    (folder / "metrics.csv").write_text("\r\n".join(rows))
    run = analyzer.open_run(folder)
    assert scores(run, "train_loss") == [0.9, 0.7, None, None, None]
    assert scores(run, "val_acc") == [0.2, 0.4, None, None, None]


def test_fault_14_bad_rows_are_gaps(make_plain_run: MakeRun) -> None:
    folder = make_plain_run()
    lines = ["epoch,loss", "0,NaN", "1,1e999", "2,high", "3", "4,0.5,too,many", "x,0.1", ",0.2", "NaN,0.3", "", '"4",']
    (folder / "metrics.csv").write_text("\n".join(lines))
    run = analyzer.open_run(folder)
    assert scores(run, "loss") == [None, None, None, None, 0.5]


def test_fault_14_scores_that_stay_nan_are_said_once_with_how_often_and_from_where_on(make_plain_run: MakeRun) -> None:
    folder = make_plain_run()
    lines = [
        "epoch,train_loss,val_loss,val_acc",
        "0,2,3,0.5",
        "1,nan,2,0.5",
        "2,NaN,inf,0.5",
        "3,,-inf,",
        "4,nan,inf,nan",
    ]
    (folder / "metrics.csv").write_text("\n".join(lines))
    run = analyzer.open_run(folder)
    assert scores(run, "train_loss") == [2, None, None, None, None]
    assert scores(run, "val_loss") == [3, 2, None, None, None]
    (finding,) = run.findings
    assert (finding.rule, finding.severity) == ("scores_not_finite", "warning")
    assert "train_loss: NaN from epoch 1 on (3 of 4 values)" in finding.sentence
    assert "val_loss: infinite from epoch 2 on (3 of 5 values)" in finding.sentence
    assert finding.evidence["scores"]["val_acc"] == {"not_finite": 1, "values": 4, "first": 4}


def test_fault_14_nan_among_numbers_may_be_a_gap(make_plain_run: MakeRun) -> None:
    """So pandas' users write it; rows of one place are merged, and NaN takes no number away."""
    folder = make_plain_run()
    (folder / "metrics.csv").write_text("epoch,loss,acc\n0,2,nan\n0,nan,0.5\n1,nan,nan\n2,1,0.75\n")
    run = analyzer.open_run(folder)
    assert [scores(run, "loss"), scores(run, "acc")] == [[2, None, 1, None, None], [0.5, None, 0.75, None, None]]
    (finding,) = run.findings
    assert (finding.rule, finding.severity) == ("scores_not_finite", "notice")
    assert "loss and acc: NaN first at epoch 1, finite again later (1 of 3 values)" in finding.sentence


def test_fault_14_scores_that_are_nan_throughout_are_not_called_unmatched(make_plain_run: MakeRun) -> None:
    folder = make_plain_run()
    run = analyzer.open_run(folder)
    path = folder / "metrics.csv"
    path.write_text("epoch,loss\n0,nan\n1,nan\n")
    assert [finding.rule for finding in analyzer.open_run(folder).findings] == ["scores_not_finite"]
    with pytest.raises(CheckpointError, match="the run already has every number in it"):
        with_scores(run, str(path))


def test_scores_as_json_lines(make_plain_run: MakeRun) -> None:
    folder = make_plain_run()
    lines = [
        '{"epoch": 0, "loss": 0.5, "eval_f1": 0}',
        "",
        '{"epoch": 1, "loss": NaN, "best": true, "note": "a\u2028b\u0085c"}',
        '{"epoch": 2, "loss": Infinity, "eval_f1": null}',
        '{"epoch": 3, "loss": "0.25", "nested": {"x": 1}, "list": [1]}',
        '{"epoch": true, "loss": 9}',
        '{"loss": 8}',
    ]
    (folder / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
    run = analyzer.open_run(folder)
    assert [finding.rule for finding in run.findings] == ["scores_not_finite", "scores_without_place"]
    assert "2 of 6 rows with scores have no number under epoch" in run.findings[1].sentence
    assert scores(run, "loss") == [0.5, None, None, 0.25, None]
    assert scores(run, "eval_f1") == [0.0, None, None, None, None]
    assert set().union(*(checkpoint.scores for checkpoint in run.checkpoints)) == {"loss", "eval_f1"}


@pytest.mark.parametrize(
    "column",
    ["Step", " step", "_step", "global_step", "trainer/global_step", "iter", "Iteration", "iterations", "iter_num"],
)
def test_scores_by_a_step_that_is_called_otherwise(tmp_path: Path, column: str) -> None:
    folder = plain(tmp_path / "run", "step_0.safetensors", "step_10.safetensors")
    (folder / "metrics.csv").write_text(f"{column},Accuracy\n0,0.5\n10,0.75\n")
    run = analyzer.open_run(folder)
    assert [one.scores for one in run.checkpoints] == [{"Accuracy": 0.5}, {"Accuracy": 0.75}]
    assert run.findings == ()


def test_of_several_columns_of_steps_the_surer_one_counts(tmp_path: Path) -> None:
    """Weights & Biases counts in _step how often it was called, and another logger may leave a column empty."""
    folder = plain(tmp_path / "run", "step_0.safetensors", "step_10.safetensors")
    lines = ["_step,trainer/global_step,step,Epoch,acc", "0,0,,0,0.5", "1,10,,1,0.75", "10,,,,0.125"]
    (folder / "metrics.csv").write_text("\n".join(lines))
    run = analyzer.open_run(folder)
    assert [one.scores for one in run.checkpoints] == [{"acc": 0.5}, {"acc": 0.75}]
    (said,) = [one for one in run.findings if one.rule == "scores_without_place"]
    assert "1 of 3 rows with scores has no number under trainer/global_step and epoch" in said.sentence
    assert "_step may count differently" in said.sentence


def test_scores_without_a_place_are_refused_with_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("time,loss\n1,0.5\n")
    with pytest.raises(CheckpointError, match=r"time and loss; rename the one that counts steps to 'step'"):
        read_scores(str(path))


def test_by_step_wins_over_by_epoch_and_the_file_over_both(tmp_path: Path) -> None:
    for epoch, weights in enumerate(random_walk(3)):
        own = {"epoch": str(epoch), "step": str(10 * epoch), **({"acc": "0.75"} if epoch == 2 else {})}
        save_weights(tmp_path / f"w{epoch}.safetensors", weights, own)
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 10, "acc": 0.5}\n{"epoch": 1, "acc": 0.1}\n{"epoch": 2, "acc": 0.2}'
    )
    assert scores(analyzer.open_run(tmp_path), "acc") == [None, 0.5, 0.75]


UNREADABLE = {
    "bytes": b"\xff\xfe\x00",
    "no place": b"loss,accuracy\n0.1,0.2\n",
    "huge field": b'epoch,loss\n0,"' + b"x" * 200_000 + b'"\n',
    "old Mac lines": b"epoch,loss\r0,0.5\r1,0.25\r",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_scores_that_cannot_be_read_are_said(make_plain_run: MakeRun, name: str) -> None:
    folder = make_plain_run()
    (folder / "metrics.csv").write_bytes(UNREADABLE[name])
    run = analyzer.open_run(folder)
    assert len(run.checkpoints) == 5
    if name == "old Mac lines":
        assert scores(run, "loss")[:2] == [0.5, 0.25]
    else:
        assert [finding.severity for finding in found(run, "scores_unreadable")] == ["warning"]
        assert "metrics.csv" in run.findings[0].sentence


@pytest.mark.parametrize(
    "text", ["{", "[1, 2]", '[{"epoch": 1}, 2]', "1", '"epoch"', "[" * 100_000, '{"epoch": ' + "1" * 5000 + "}"]
)
def test_json_scores_that_are_no_table(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=r"scores\.jsonl: "):
        read_scores(str(path))


def test_scores_of_the_users_own(make_plain_run: MakeRun, tmp_path: Path) -> None:
    run = analyzer.open_run(make_plain_run())
    path = tmp_path / "scores.json"
    path.write_text('[{"epoch": 1, "accuracy": 0.5}, {"epoch": 3, "accuracy": 0.75}]')
    assert scores(with_scores(run, str(path)), "accuracy") == [None, 0.5, None, 0.75, None]
    path.write_text('[{"epoch": 7, "accuracy": 0.5}]')
    with pytest.raises(CheckpointError, match="none of its epochs or steps belongs to a checkpoint"):
        with_scores(run, str(path))
    with pytest.raises(CheckpointError, match="cannot be opened"):
        with_scores(run, str(tmp_path / "nowhere.csv"))
    path.write_text('[{"step": 1, "accuracy": 0.5}]')
    with pytest.raises(CheckpointError, match="rows are by step, but the checkpoints have only epochs"):
        with_scores(run, str(path))


def test_fault_14_a_cell_among_numbers_that_is_none_is_said_with_its_place(
    make_plain_run: MakeRun, tmp_path: Path
) -> None:
    run = analyzer.open_run(make_plain_run())
    path = tmp_path / "scores.csv"
    path.write_text("epoch,accuracy,note\n0,0.5,first\n1,abc,\n2,,\n3,nan,\nfour,0.7,last\n")
    scored = with_scores(run, str(path))
    assert scores(scored, "accuracy") == [0.5, None, None, None, None]
    (finding,) = found(scored, "scores_unreadable")
    assert finding.severity == "warning"
    assert f"{path}: " in finding.sentence
    assert "row 2, column accuracy: 'abc'; row 5, column epoch: 'four' (" in finding.sentence


def test_the_runs_own_scores_win(make_run: MakeRun, tmp_path: Path) -> None:
    run = analyzer.open_run(make_run())
    path = tmp_path / "scores.csv"
    path.write_text("epoch,test_accuracy,f1\n1,0.0,0.5\n")
    more = with_scores(run, str(path))
    assert scores(more, "test_accuracy") == scores(run, "test_accuracy")
    assert scores(more, "f1") == [None, 0.5, None, None, None]


def test_short_rows_below_a_wide_header_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step," + ",".join(f"score {number}" for number in range(3000)) + "\n7,0.5\n" + "8\n" * 3000)
    tracemalloc.start()
    table = read_scores(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table == {("step", 7): {"score 0": 0.5}, ("step", 8): {}}
    assert peak < 10 << 20


def test_more_scores_than_any_training_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text("\n".join(f'{{"step": 1, "{number}": 1}}' for number in range(10_001)))
    with pytest.raises(CheckpointError, match=r"scores\.jsonl: has more than 10000 scores"):
        read_scores(str(path))


def test_names_of_scores_and_settings_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    for epoch, weights in enumerate(random_walk(2)):
        settings = weightlapse_metadata(epoch, config='{"seed": 1, "\\ud800": 2}')
        save_weights(tmp_path / f"epoch_{epoch}.safetensors", weights, settings)
    (tmp_path / "scores.jsonl").write_text('{"epoch": 1, "f1": 0.5, "\\udc80": 0.25}')
    run = with_scores(analyzer.open_run(tmp_path), str(tmp_path / "scores.jsonl"))
    assert run.checkpoints[1].scores["f1"] == 0.5
    assert run.checkpoints[1].settings == {"seed": "1"}
    assert analyzer.measure(run, tmp_path / "store.sqlite", metrics=["motion"])


def test_an_empty_sidecar_says_nothing(make_plain_run: MakeRun) -> None:
    folder = make_plain_run()
    (folder / "metrics.csv").write_text("")
    assert analyzer.open_run(folder).findings == ()
    (folder / "metrics.csv").write_text("epoch,loss\n")
    assert analyzer.open_run(folder).findings == ()


# ------------------------------------------------------------------------------------------------ nothing written


@pytest.mark.parametrize("make", ["make_run", "make_plain_run"])
def test_fault_31_nothing_is_written_beside_checkpoints(
    request: pytest.FixtureRequest, make: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = request.getfixturevalue(make)(name="checkpoints/run")
    (folder / "metrics.csv").write_text("epoch,f1\n1,0.5\n")
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)

    def state() -> dict[Path, tuple[int, int, int, bytes]]:
        return {
            path: (status.st_mtime_ns, status.st_size, status.st_ino, path.read_bytes() if path.is_file() else b"")
            for path in [folder.parent, folder, *sorted(folder.iterdir())]
            for status in [path.stat()]
        }

    before = state()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = analyzer.open_run(folder)
    assert audit_headers(run).findings == ()
    measurements = analyzer.measure(run, "store.sqlite")
    analyzer.write_report(measurements, "report")
    assert Path("report/index.html").is_file()
    assert state() == before
    folder.chmod(0o755)


def test_one_unusable_run_in_a_folder_of_runs_is_named_and_the_others_go_on(make_run, tmp_path):
    make_run(name="good")
    broken = tmp_path / "bad" / "epoch_0000.safetensors"
    broken.parent.mkdir()
    broken.write_bytes(b"abc")
    found = find_runs(str(tmp_path))
    (run,), (finding,) = found.runs, found.refused
    assert (run.name, run.findings, finding.rule, finding.severity) == ("good", (), "refused_run", "serious")
    assert f"{broken.parent}: none of its checkpoints can be used: {broken.name}: " in finding.sentence
    with pytest.warns(UserWarning, match="none of its checkpoints"):
        assert analyzer.open_runs(tmp_path) == found.runs


def test_what_is_said_of_several_files_of_an_unusable_run_is_said_once_on_one_line(make_run, tmp_path):
    (tmp_path / "bad").mkdir()
    for epoch in range(9):
        (tmp_path / "bad" / f"epoch_{epoch}.safetensors").write_bytes(b"abc" if epoch < 8 else b"")
    with pytest.raises(NoCheckpointsError) as caught:
        analyzer.open_run(tmp_path / "bad")
    sentence = str(caught.value)
    assert "8 of them, such as epoch_0.safetensors: " in sentence and "; epoch_8.safetensors: " in sentence
    assert "\n" not in sentence and sentence.count(str(tmp_path)) == 1


def test_a_file_without_a_place_is_left_out_rather_than_ordering_all_by_age(make_plain_run):
    folder = make_plain_run(random_walk(3))
    save_weights(folder / "best.safetensors", random_walk(1)[0])
    (run,) = analyzer.open_runs(folder)
    assert [one.name for one in run.checkpoints] == [f"epoch_{epoch}.safetensors" for epoch in range(3)]
    assert [one.name for one in run.unplaced] == ["best.safetensors"]


def test_a_tensor_named_like_an_expert_of_a_stack_is_left_out_and_said(tmp_path):
    weights = {"m.experts.w": np.ones((2, 3, 4), np.float32), "m.experts.w[0]": np.eye(3, dtype=np.float32)}
    save_weights(tmp_path / "run" / "step_1.safetensors", weights)
    run = analyzer.open_run(tmp_path / "run")
    assert list(run.checkpoints[0].tensors) == ["m.experts.w"]
    assert [(one.rule, one.severity) for one in run.findings] == [("ambiguous_name", "serious")]
    assert analyzer.measure(run, tmp_path / "store.sqlite").series("m.experts.w[0]", "spectral_norm").values.size == 1


def test_fault_14_scores_that_belong_to_no_checkpoint_are_said(make_plain_run):
    folder = make_plain_run(random_walk(3))
    (folder / "metrics.csv").write_text("step,test_accuracy\n100,0.5\n200,0.6\n")
    (finding,) = analyzer.open_run(folder).findings
    assert (finding.rule, finding.severity) == ("scores_unmatched", "warning")
