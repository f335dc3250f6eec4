"""What stored rows depend on: rows whose basis changed are measured again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import random_walk
from commands import rows_of

import analyzer
from analyzer.engine.fingerprints import Bases, places
from analyzer.model.observed import BEFORE_PREVIOUS, CURRENT, INITIAL, PREVIOUS
from analyzer.model.run import Checkpoint, FileStamp, TensorInfo


@pytest.mark.parametrize("metrics", [["distance_rate"], None])
def test_rates_are_measured_again_when_steps_turn_out_to_be_unusable(make_run, tmp_path, metrics):
    """The steps of a run that grows may turn out to restart in each epoch; then there is no rate per step."""
    states, store = random_walk(5), tmp_path / "s.sqlite"
    run = analyzer.open_run(make_run(states))
    early = replace(run, checkpoints=run.checkpoints[:3])
    rows = rows_of(analyzer.measure(early, store, metrics, jobs=1))
    assert rows["epoch_0001.safetensors", "tensor", "fc1.weight", "distance_rate"]["status"] == "ok"
    stepless = replace(run, checkpoints=tuple(replace(one, step=None) for one in run.checkpoints))
    rows = rows_of(analyzer.measure(stepless, store, metrics, jobs=1))
    rates = [row for (_, _, _, metric), row in rows.items() if metric == "distance_rate"]
    assert {(row["value"], row["status"]) for row in rates} == {(None, "undefined")}
    assert len([row for row in rates if row["scope"] == "tensor"]) == 4 * len(states[0])


def test_rates_are_measured_again_when_steps_change(make_run, tmp_path):
    store = tmp_path / "s.sqlite"
    run = analyzer.open_run(make_run(random_walk(3)))
    key = ("epoch_0002.safetensors", "tensor", "fc1.weight", "distance_rate")
    before = rows_of(analyzer.measure(run, store, ["motion"], jobs=1))
    doubled = replace(run, checkpoints=tuple(replace(one, step=2 * one.step) for one in run.checkpoints))
    after = rows_of(analyzer.measure(doubled, store, ["motion"], jobs=1))
    assert after[key]["value"] == before[key]["value"] / 2


def test_the_states_to_compare_with_are_the_latest_that_have_the_tensor():
    info = TensorInfo("w", "float32", (2,), ())
    series = [Checkpoint(str(at), "", None, at, {}, {"w": info} if at in (1, 2, 4, 5) else {}, ()) for at in range(6)]
    assert dict(places(series, "w")) == {
        1: {CURRENT: 1, INITIAL: 1},
        2: {CURRENT: 2, INITIAL: 1, PREVIOUS: 1},
        3: {CURRENT: 3, INITIAL: 1, PREVIOUS: 2, BEFORE_PREVIOUS: 1},
        4: {CURRENT: 4, INITIAL: 1, PREVIOUS: 2, BEFORE_PREVIOUS: 1},
        5: {CURRENT: 5, INITIAL: 1, PREVIOUS: 4, BEFORE_PREVIOUS: 2},
    }


def test_a_file_is_another_one_by_its_size_its_time_or_its_mark_and_not_by_its_place():
    def identity(stamp):
        info = TensorInfo("w", "float32", (2,), ())
        return Bases([Checkpoint("c", "", None, 0, {}, {"w": info}, (stamp,))], "w").identity(0)

    stamp = FileStamp("a", 8, 1, "x")
    others = [replace(stamp, size=9), replace(stamp, modified_ns=2), replace(stamp, etag="y")]
    assert len({identity(one) for one in (stamp, *others)}) == 4
    assert identity(replace(stamp, path="b")) == identity(stamp)
