"""Gaps, and tensors that come and go, as the audit reports them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from builders import random_walk, save_weights
from commands import measured, weightlapse
from planted import checked, only

import analyzer
from analyzer.findings import find
from analyzer.report.reading import read_tables
from analyzer.store.store import open_store


def rules(findings):
    return [one.rule for one in findings if one.rule != "no_scores"]


def test_a_refused_file_and_the_gap_that_it_leaves_are_one_finding(make_run):
    folder = make_run(random_walk(12))
    (folder / "epoch_0002.safetensors").write_bytes(b"")
    assert rules(analyzer.audit(analyzer.open_run(folder))) == ["refused_file"]
    (folder / "epoch_0003.safetensors").unlink()
    (folder / "epoch_0005.safetensors").unlink()
    gaps = [one for one in analyzer.audit(analyzer.open_run(folder)) if one.rule == "missing_checkpoint"]
    assert ["1 checkpoint is missing between epochs 1 and 4" in one.sentence for one in gaps] == [True, False]


def test_a_refused_file_of_another_place_explains_no_gap(make_run):
    folder = make_run(random_walk(8))
    (folder / "epoch_0003.safetensors").unlink()
    (folder / "epoch_0008.safetensors").write_bytes(b"")
    found = analyzer.audit(analyzer.open_run(folder))
    assert sorted(rules(found)) == ["missing_checkpoint", "refused_file"]


def tied(states, at, shape=(12, 20)):
    """Add ``lm_head.weight`` to some states, equal to the embedding."""
    for number, weights in enumerate(states):
        weights["embed.weight"] = np.random.default_rng(number).standard_normal(shape).astype(np.float32)
        if number in at:
            weights["lm_head.weight"] = weights["embed.weight"].copy()
    return states


def written(folder, states):
    for number, weights in enumerate(states):
        save_weights(folder / f"step{number}.safetensors", weights)
    return analyzer.open_run(folder)


@pytest.mark.parametrize("at", [{0}, {3}, {0, 2}])
def test_a_tied_duplicate_of_some_savers_is_one_information(tmp_path, at):
    run = written(tmp_path / "run", tied(random_walk(4), at))
    measurements = measured(tmp_path / "run")
    with open_store(measurements.path) as store:
        drawn = find(read_tables(store, "run"))
    for found in (analyzer.audit(run), [one for one in drawn if one.severity != "notice"]):
        one = only(checked(found), "tensors_changed")
        assert (one.severity, one.tensor) == ("info", "lm_head.weight")
        assert "as a tied duplicate: where stored, it equals embed.weight, which all checkpoints have" in one.sentence
        assert one.evidence["same_as"] == {"lm_head.weight": "embed.weight"}


def test_a_tied_duplicate_that_shares_its_bytes_is_reported_once(tmp_path):
    for number, weights in enumerate(tied(random_walk(3), set())):
        state = {name: torch.from_numpy(array) for name, array in weights.items()}
        if number == 0:
            state["lm_head.weight"] = state["embed.weight"]
        torch.save(state, tmp_path / f"step{number}.pt")
    found = analyzer.audit(analyzer.open_run(tmp_path))
    assert rules(found) == ["tied_weights"] and "not stored in every checkpoint" in only(found, "tied_weights").sentence


def untied(states):
    states[0]["lm_head.weight"] = states[0]["embed.weight"] + 1
    states[2]["lm_head.weight"] = states[2]["embed.weight"].copy()


def zeros(states):
    for number, weights in enumerate(states):
        weights["embed.weight"] = np.zeros((12, 20), np.float32)
        if number == 0:
            weights["lm_head.weight"] = np.zeros((12, 20), np.float32)


@pytest.mark.parametrize("plant", [untied, zeros])
def test_a_tensor_that_is_equal_by_chance_or_not_always_is_a_change(tmp_path, plant):
    states = tied(random_walk(4), {0})
    plant(states)
    changes = [one for one in analyzer.audit(written(tmp_path, states)) if one.rule == "tensors_changed"]
    assert changes and {one.severity for one in changes} == {"warning"}


def test_one_checkpoint_has_nothing_to_compare_with(make_run):
    done = weightlapse("audit", make_run(random_walk(1)))
    assert "is finite. One checkpoint; nothing to compare." in done.out and "complete" not in done.out
    two = weightlapse("audit", make_run(random_walk(2), "two"))
    assert "is finite and the series is complete." in two.out


def test_optimizer_states_beside_checkpoints_do_not_change_the_verdict(tmp_path):
    for step in (1, 2):
        torch.save({"w": torch.randn(4, 4)}, tmp_path / f"model_{step}.pt")
        state = {"state": {0: {"exp_avg": torch.randn(4, 4)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
        torch.save(state, tmp_path / f"opt_{step}.pt")
    done = weightlapse("audit", tmp_path)
    assert done.code == 0 and "NOTICE: opt_1.pt and opt_2.pt" in done.out and "Verdict: the files are sound" in done.out
