"""Findings of whole runs: ordinary, short, large, and with odd names."""

from __future__ import annotations

import numpy as np
import pytest
from builders import full_count, random_walk, save_weights
from commands import measured
from planted import ALL_FAMILIES, SHAPES, alarming, checked, found_in, only

from analyzer.findings import SEVERITIES, by_severity, find
from analyzer.model.run import Finding
from analyzer.report.reading import read_tables
from analyzer.store.store import open_store


@pytest.mark.parametrize("seed", range(full_count(20, 2)))
def test_an_ordinary_run_has_nothing_alarming(tmp_path, seed):
    findings = found_in(tmp_path, random_walk(12, SHAPES, seed), ALL_FAMILIES)
    assert alarming(findings) == []
    assert {one.rule for one in findings} <= {"outliers_leave_bulk"}


def test_short_runs_say_nothing_about_trends(tmp_path):
    for epochs in (1, 2, 3):
        rules = [one.rule for one in found_in(tmp_path / str(epochs), random_walk(epochs, SHAPES), ALL_FAMILIES)]
        assert rules == (["single_checkpoint"] if epochs == 1 else [])


def test_the_most_serious_comes_first_and_ties_keep_their_order():
    findings = [Finding(str(n), severity, "") for n, severity in enumerate((*SEVERITIES[::-1], *SEVERITIES))]
    assert [one.rule for one in by_severity(findings)] == ["3", "4", "2", "5", "1", "6", "0", "7"]


def test_fault_15_hostile_names_are_harmless_in_sentences(tmp_path):
    hostile = "\x1b[31m<b>\u202e\n"
    states = [{hostile: np.full((3, 3), np.nan, np.float32)}, {hostile: np.zeros((3, 3), np.float32)}] * 2
    findings = found_in(tmp_path, states)
    assert {one.rule for one in findings} >= {"nonfinite_weights", "same_weights"}
    assert {one.tensor for one in findings} == {hostile, None}  # the field keeps it as it is


def test_300_layers_do_not_print_300_lines(tmp_path):
    shapes = {f"layers.{n}.weight": (6, 8) for n in range(300)}
    states = random_walk(9, shapes)
    for n, key in enumerate(shapes):
        for epoch, weights in enumerate(states):
            if n % 3 == 0:
                weights[key] = weights[key] * np.float32(2.0**epoch)
            if n % 3 == 1 and epoch > 3:
                weights[key] = states[3][key]
            if n % 3 == 2 and epoch == 5:
                weights[key][0, 0] = np.inf
    findings = found_in(tmp_path, states, ("motion", "size"))
    assert len(findings) <= 6
    assert len(only(findings, "norm_explodes").evidence["tensors"]) == 100
    assert len(only(findings, "frozen_tensors").evidence["tensors"]) == 100
    assert len(only(findings, "nonfinite_weights").evidence["tensors"]) == 100


def test_places_are_named_where_neither_epoch_nor_step_orders_the_run(tmp_path):
    states = random_walk(5)
    for weights in states[1:]:
        weights["fc1.bias"] = states[0]["fc1.bias"]
    folder = tmp_path / "names"
    for stem, weights in zip("abcde", states, strict=True):
        save_weights(folder / f"{stem}.safetensors", weights)
    measurements = measured(folder)
    with open_store(measurements.path) as store:
        one = only(checked(find(read_tables(store, "names"))), "frozen_tensors")
    assert "from a.safetensors to e.safetensors, the whole run" in one.sentence
