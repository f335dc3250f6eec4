"""A run measured in shards and merged is the run measured at once, row for row."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from builders import CHECKOUT, random_walk, save_weights, weightlapse_metadata
from commands import weightlapse

import analyzer
from analyzer.engine import planning
from analyzer.engine.shards import parse_shard, places_of, shard_tasks
from analyzer.errors import ArgumentError
from analyzer.metrics import METRICS, select_metrics
from analyzer.store.store import open_store

SHAPES = {
    **{f"layers.{i}.weight": (24, 16) for i in range(4)},
    **{f"layers.{i}.bias": (24,) for i in range(4)},
    "experts": (3, 8, 8),
    "large.weight": (48, 40),  # more than a bundle: a task of its own
}
CHECKPOINTS = 12


@pytest.fixture(scope="module", autouse=True)
def _small_bundles() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(planning, "BUNDLE_BYTES", 4000)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve checkpoints with a NaN, a gap and a stack of experts."""
    out = tmp_path_factory.mktemp("shards") / "run"
    states = random_walk(CHECKPOINTS, SHAPES)
    states[4]["layers.1.bias"][3] = np.nan
    del states[5]["layers.2.weight"]
    for epoch, weights in enumerate(states):
        save_weights(out / f"epoch_{epoch:04d}.safetensors", weights, weightlapse_metadata(epoch))
    return out


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    store = folder.parent / "whole.sqlite"
    assert weightlapse("measure", folder, "--store", store).code == 3  # the NaN
    return store


@pytest.fixture(scope="module")
def parts(folder: Path) -> list[Path]:
    stores = []
    for number in range(1, 5):
        stores.append(folder.parent / f"part{number}.sqlite")
        weightlapse("measure", folder, "--store", stores[-1], "--shard", f"{number}/4", "--jobs", 2)
    return stores


def content(store: Path) -> dict[str, object]:
    """Everything that a store has of its run, without the numbers by which its rows name texts."""
    with open_store(str(store)) as opened:
        (name,) = opened.runs()
        tensors = [row.name for row in opened.tensors(name)]
        return {
            "rows": sorted(opened.measurements(name), key=repr),
            "bases": {one: sorted(opened.bases(name, one).items()) for one in tensors},
            "sums": {row.name: opened.sums(name, row.name) for row in opened.checkpoints(name)},
            "spectra": {one: {at: s.tobytes() for at, s in opened.spectra(name, one).items()} for one in tensors},
            "sketches": [
                (*place, sketch and (sketch.buckets, sketch.first, sketch.numbers.tobytes()))
                for *place, sketch in opened.sketches(name)
            ],
            "contents": opened.contents(name),
            "problems": opened.problems(name),
            "begun": opened.begun(name),
            "scores": opened.run(name).checkpoints[3].scores,
        }


def same(one: Path, other: Path) -> None:
    ours, theirs = content(one), content(other)
    for what, its in theirs.items():
        assert repr(ours[what]) == repr(its), what


def test_shards_share_all_the_work_and_nothing_twice(folder):
    run, metrics = analyzer.open_run(folder), select_metrics()
    places = [places_of(tasks) for tasks in shard_tasks(run, metrics, 1, 4)]
    found = [(name, at) for one in places for name, its in one.items() for at in its]
    (all_of_it,) = (places_of(tasks) for tasks in shard_tasks(run, metrics, 1, 1))
    assert sorted(found) == sorted((name, at) for name, its in all_of_it.items() for at in its)
    assert all(places)
    costs = [sum(task.cost for task in tasks) for tasks in shard_tasks(run, metrics, 1, 4)]
    assert max(costs) < 2 * min(costs)


def test_merged_shards_are_the_run_measured_at_once(whole, parts, tmp_path):
    merged = tmp_path / "merged.sqlite"
    done = weightlapse("merge", *parts, "--store", merged)
    assert done.code == 3 and "NaN" in done.err and "shard" not in done.err
    same(merged, whole)
    weightlapse("merge", *reversed(parts), "--store", merged)  # once more, in another order
    same(merged, whole)


def test_a_shard_measured_twice_and_two_that_overlap_change_nothing(folder, whole, parts, tmp_path):
    twice, other = tmp_path / "twice.sqlite", tmp_path / "other.sqlite"
    for _ in range(2):
        weightlapse("measure", folder, "--store", twice, "--shard", "2/4")
    weightlapse("measure", folder, "--store", other, "--shard", "1/2")
    merged = tmp_path / "merged.sqlite"
    weightlapse("merge", parts[0], twice, other, parts[2], parts[1], parts[3], "--store", merged)
    for what, its in content(whole).items():
        if what != "begun":  # 2/2 is missing of the cut in two, although all is here
            assert repr(content(merged)[what]) == repr(its), what
    assert content(merged)["begun"] == []


def test_a_missing_shard_and_one_that_was_killed_are_named(folder, whole, parts, tmp_path):
    merged, killed = tmp_path / "merged.sqlite", tmp_path / "killed.sqlite"
    killed.write_bytes(parts[0].read_bytes())
    with sqlite3.connect(killed) as connection:
        connection.execute("DELETE FROM measurements WHERE checkpoint = (SELECT max(checkpoint) FROM measurements)")
    done = weightlapse("merge", killed, parts[1], parts[3], "--store", merged)
    assert done.code == 3
    assert "shard 3/4 of run is missing; measure it and merge again." in done.err
    assert "shard 1/4 of run lacks " in done.err
    found = weightlapse("report", merged, "--out", tmp_path / "report")
    assert found.code == 3 and "weightlapse merge" in found.err
    weightlapse("measure", folder, "--store", killed, "--shard", "1/4")
    weightlapse("merge", killed, parts[2], "--store", merged)
    same(merged, whole)


def test_a_killed_merge_leaves_whole_parts(parts, whole, tmp_path, monkeypatch):
    merged = tmp_path / "merged.sqlite"
    with monkeypatch.context() as patched:
        patched.setattr("analyzer.store.merging._join_sums", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        assert weightlapse("merge", *parts, "--store", merged).code == 130
    weightlapse("merge", *parts, "--store", merged)
    same(merged, whole)


def test_measuring_goes_on_in_a_merged_store_and_measures_nothing_again(folder, parts, tmp_path):
    merged = tmp_path / "merged.sqlite"
    weightlapse("merge", *parts, "--store", merged)
    done = weightlapse("measure", folder, "--store", merged)
    assert "all was measured before" in done.err


def test_other_files_and_other_versions_are_refused_and_change_nothing(folder, parts, tmp_path):
    moved = tmp_path / "run"
    states = random_walk(CHECKPOINTS, SHAPES)
    for epoch, weights in enumerate(states):
        path = save_weights(moved / f"epoch_{epoch:04d}.safetensors", weights, weightlapse_metadata(epoch))
        os.utime(path, ns=(10**18, 10**18))
    other, merged = tmp_path / "other.sqlite", tmp_path / "merged.sqlite"
    weightlapse("measure", moved, "--store", other, "--shard", "2/4")
    weightlapse("merge", parts[0], "--store", merged)
    before = content(merged)
    done = weightlapse("merge", other, "--store", merged)
    assert done.code == 1 and "other files" in done.err and "epoch_0000" in done.err and "rsync -a" in done.err
    newer = tmp_path / "newer.sqlite"
    newer.write_bytes(parts[1].read_bytes())
    with sqlite3.connect(newer) as connection:
        connection.execute("UPDATE codes SET digest = 'another' WHERE metric = 'step_distance'")
    done = weightlapse("merge", newer, "--store", merged)
    assert done.code == 1 and "step_distance of run were measured by another version" in done.err
    assert repr(content(merged)) == repr(before)


def test_stores_of_different_runs_are_joined(folder, parts, tmp_path):
    second = tmp_path / "second"
    for epoch, weights in enumerate(random_walk(3)):
        save_weights(second / f"epoch_{epoch:04d}.safetensors", weights, weightlapse_metadata(epoch))
    store, merged = tmp_path / "second.sqlite", tmp_path / "merged.sqlite"
    weightlapse("measure", second, "--store", store)
    done = weightlapse("merge", *parts, store, "--store", merged)
    assert "shard" not in done.err
    with open_store(str(merged)) as opened:
        assert opened.runs() == ["run", "second"]
        assert [opened.begun(name) for name in opened.runs()] == [[], []]


def test_a_metric_of_a_file_travels_with_it(folder, tmp_path):
    before = dict(METRICS)
    own = tmp_path / "own.py"
    own.write_text(
        "import numpy as np, analyzer\n"
        "@analyzer.metric(family='own', unit='1', definition='largest', source='here')\n"
        "def largest(current: np.ndarray) -> float:\n    return float(np.nanmax(current))\n"
    )
    options = ("--metrics", "size,largest", "--metrics-from", own)
    stores = [tmp_path / f"{number}.sqlite" for number in (1, 2)]
    for number, store in enumerate(stores, 1):
        weightlapse("measure", folder, "--store", store, "--shard", f"{number}/2", *options)
    weightlapse("measure", folder, "--store", tmp_path / "whole.sqlite", *options)
    weightlapse("merge", *stores, "--store", tmp_path / "merged.sqlite", "--metrics-from", own)
    METRICS.clear()
    METRICS.update(before)
    refused = weightlapse("merge", stores[0], "--store", tmp_path / "without.sqlite")
    assert refused.code == 2 and "metric largest is not known here; name its file with --metrics-from" in refused.err
    same(tmp_path / "merged.sqlite", tmp_path / "whole.sqlite")


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "a/b", "1/", "-1/4", "1/4/2", "", "²/4"])
def test_what_is_no_shard_is_an_error_of_usage(text, folder):
    with pytest.raises(ArgumentError):
        parse_shard(text)
    assert weightlapse("measure", folder, "--shard", text, "--dry-run").code == 2


def test_a_shard_records_its_number_and_a_whole_run_includes_it(parts):
    with sqlite3.connect(parts[1]) as connection:
        ((begun,),) = connection.execute("SELECT begun FROM runs").fetchall()
    assert [row[2] for row in json.loads(begun)] == ["2/4"]


@pytest.mark.parametrize(("scheduler", "first"), [("SLURM", 1), ("Kubernetes", 0)])
def test_the_scripts_of_the_documentation_measure_all_shards(scheduler, first, folder, whole, tmp_path):
    text = (CHECKOUT / "docs/scale.md").read_text(encoding="utf-8").partition(f"### {scheduler}")[2]
    script = text.split("```")[1].partition("\n")[2]
    command = tmp_path / "bin/weightlapse"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m analyzer "$@"\n')
    command.chmod(0o755)
    for number in range(first, first + 2):
        names = {"SLURM_ARRAY_TASK_ID": number, "SLURM_ARRAY_TASK_COUNT": 2}
        if scheduler == "Kubernetes":
            names = {"JOB_COMPLETION_INDEX": number, "COUNT": 2}
        paths = {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(CHECKOUT), "RUN": str(folder)}
        environment = {**os.environ, **paths, **{name: str(value) for name, value in names.items()}}
        subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=True)
    merged = tmp_path / "merged.sqlite"
    done = weightlapse("merge", *sorted((tmp_path / "parts").iterdir()), "--store", merged)
    assert "shard" not in done.err
    same(merged, whole)
