"""A store whose measuring was interrupted is not taken for a whole one, and a whole one not for such a store."""

from __future__ import annotations

import json

import numpy as np
import pytest
from builders import random_walk
from commands import weightlapse

from analyzer.engine import update as measuring
from analyzer.store.run_reader import Asked
from analyzer.store.store import Store


@pytest.fixture
def interrupted_after(monkeypatch):
    """Run ``weightlapse measure ARGUMENT...``, interrupted after so many tensors' checkpoints."""

    def run(count, *arguments):
        walk = measuring.walk

        def pressed(task, metrics):
            for number, observation in enumerate(walk(task, metrics)):
                if number == count:
                    raise KeyboardInterrupt
                yield observation

        with monkeypatch.context() as patched:
            patched.setattr(measuring, "walk", pressed)
            assert weightlapse("measure", *arguments, "--jobs", 1).code == 130

    return run


@pytest.mark.parametrize(("count", "measured"), [(3, 0), (7, 1), (18, 2)])
def test_an_interrupted_measuring_is_said_everywhere_until_it_is_finished(
    make_run, tmp_path, interrupted_after, count, measured
):
    folder, store, out = make_run(random_walk(5)), tmp_path / "s.sqlite", tmp_path / "report"
    interrupted_after(count, folder, "--store", store)
    drawn, exported = weightlapse("report", store, "--out", out), weightlapse("export", store, "--format", "json")
    said = f"Measuring was not finished: {measured} of 4 tensors have all that was asked for at the last checkpoint"
    page = (out / "index.html").read_text(encoding="utf-8")
    for outcome in (drawn, exported):
        assert outcome.code == 3
        assert outcome.err.startswith(f"Serious: {said}")
        assert outcome.err.endswith(f"weightlapse measure {folder} --store {store}\n")
    assert said in page and "No problems found" not in page
    finding = json.loads((out / "summary.json").read_bytes())["findings"][0]
    assert (finding["rule"], finding["evidence"]["measured"], finding["evidence"]["of"]) == (
        *("unfinished_measuring", measured, 4),
    )
    assert len(json.loads(exported.out)) > 0
    weightlapse("measure", folder, "--store", out / "measurements.sqlite")
    again = weightlapse("report", out)
    assert (again.code, again.err) == (0, "")


def test_a_family_that_was_added_and_interrupted_is_incomplete(make_run, tmp_path, interrupted_after):
    folder, store = make_run(random_walk(5)), tmp_path / "s.sqlite"
    assert weightlapse("measure", folder, "--store", store, "--metrics", "motion").code == 0
    interrupted_after(6, folder, "--store", store, "--metrics", "motion,spectrum")
    outcome = weightlapse("export", store, "--format", "csv")
    assert "2 of 4 tensors have all that was asked for at the last checkpoint, rows of fc1.weight" in outcome.err
    for command in (("measure", folder, "--store", store, "--metrics", "motion"), ("export", store, "--format", "csv")):
        assert weightlapse(*command).code == 3  # the spectra are still absent
    assert weightlapse("measure", folder, "--store", store).code == 0
    assert weightlapse("export", store, "--format", "csv").code == 0


def test_an_interruption_just_before_the_end_is_said_too(make_run, tmp_path, monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt

    folder, store = make_run(random_walk(3)), tmp_path / "s.sqlite"
    with monkeypatch.context() as patched:
        patched.setattr(measuring, "derive", pressed)
        assert weightlapse("measure", folder, "--store", store).code == 130
    outcome = weightlapse("export", store, "--format", "csv")
    assert outcome.code == 3 and "4 of 4 tensors" in outcome.err and "rows of some checkpoints may be" in outcome.err


def test_an_interruption_before_the_end_is_noted_is_said_too(make_run, tmp_path, monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt

    folder, store = make_run(random_walk(3)), tmp_path / "s.sqlite"
    with monkeypatch.context() as patched:
        patched.setattr(Store, "finish", pressed)
        assert weightlapse("measure", folder, "--store", store).code == 130
    assert weightlapse("export", store, "--format", "csv").code == 3


def test_a_whole_store_in_which_nothing_was_left_to_measure_stays_whole(make_run, tmp_path, monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt

    folder, store = make_run(random_walk(3)), tmp_path / "s.sqlite"
    assert weightlapse("measure", folder, "--store", store).code == 0
    with monkeypatch.context() as patched:
        patched.setattr(measuring, "derive", pressed)
        assert weightlapse("measure", folder, "--store", store).code == 130
    assert weightlapse("export", store, "--format", "csv").code == 0


def test_what_is_to_be_finished_is_the_store_that_was_copied(make_run, tmp_path, interrupted_after):
    folder, store, out = make_run(random_walk(5)), tmp_path / "s.sqlite", tmp_path / "report"
    interrupted_after(3, folder, "--store", store, "--metrics", "size,step_distance")
    said = weightlapse("report", store, "--out", out).err
    assert said.endswith(f"weightlapse measure {folder} --store {store} --metrics size,step_distance\n")
    assert weightlapse("measure", folder, "--store", store, "--metrics", "size,step_distance").code == 0
    assert weightlapse("report", store, "--out", out, "--force").code == 0


def test_measuring_that_was_refused_leaves_a_whole_store_whole(make_run, tmp_path):
    folder, store = make_run(random_walk(3)), tmp_path / "s.sqlite"
    assert weightlapse("measure", folder, "--store", store).code == 0
    assert weightlapse("measure", folder, "--store", store, "--metrics", "subspace", "--max-memory", 10).code == 1
    assert weightlapse("export", store, "--format", "csv").code == 0


def test_a_comparison_says_which_run_was_not_finished(make_run, tmp_path, interrupted_after):
    whole, partial = tmp_path / "whole.sqlite", tmp_path / "partial.sqlite"
    assert weightlapse("measure", make_run(random_walk(3), "whole"), "--store", whole).code == 0
    interrupted_after(9, make_run(random_walk(3, seed=1), "partial"), "--store", partial)
    outcome = weightlapse("compare", whole, partial, "--out", tmp_path / "c")
    assert outcome.code == 3 and "Serious: partial: Measuring was not finished" in outcome.err
    assert "Measuring was not finished" in (tmp_path / "c/index.html").read_text(encoding="utf-8")


def test_whoever_measures_at_every_third_checkpoint_finishes_what_was_asked_for_at_every_sixth():
    every_sixth, every_third = Asked(("a", "b"), 6), Asked(("b", "a", "c"), 3)
    assert every_third.includes(every_sixth) and not every_sixth.includes(every_third)
    assert not every_third.includes(Asked(("d",), 3)) and not every_third.includes(Asked(("a",), 4))


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--metrics", "motion"),
        ("--metrics", "spectrum"),
        ("--metrics", "motion,update,subspace,pruning"),
        ("--spectra-every", 3),
        ("--tensors", "fc1.*"),
    ],
)
def test_what_was_never_asked_for_is_no_incompleteness(make_run, tmp_path, options):
    states = random_walk(6)
    generator = np.random.default_rng(1)
    for t, weights in enumerate(states):  # one comes late, one goes early, one is away for a while, one is a stack
        weights["moe.experts.w"] = generator.standard_normal((3, 4, 5)).astype(np.float32)
        if t > 1:
            weights["late.weight"] = generator.standard_normal((4, 4)).astype(np.float32)
        if t == 5:
            weights["last.weight"] = generator.standard_normal((4, 4)).astype(np.float32)
        if t == 3:
            del weights["fc1.weight"]
    del states[5]["out.bias"], states[4]["out.bias"]
    store = tmp_path / "s.sqlite"
    weightlapse("measure", make_run(states), "--store", store, *options)
    outcome = weightlapse("export", store, "--format", "csv")
    assert outcome.code == 0 and "not finished" not in outcome.err
