"""What stored rows depend on: rows whose basis changed are measured again."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from builders import random_walk
from commands import rows_of

import analyzer
from analyzer.engine.fingerprints import Bases, applicable, expected_bases, places
from analyzer.model.observed import BEFORE_PREVIOUS, CURRENT, INITIAL, PREVIOUS
from analyzer.model.run import Checkpoint, FileStamp, Part, Run, TensorInfo


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


INFO = TensorInfo("w", "float32", (2, 3), (Part("a", 4, 24),))
STATE = Checkpoint("c", "", None, 0, {}, {"w": INFO}, (FileStamp("a", 8, 1), FileStamp("b", 9, 2)))


def of_part(**changes):
    return replace(STATE, tensors={"w": replace(INFO, parts=(replace(INFO.parts[0], **changes),))})


@pytest.mark.parametrize(
    "other",
    [
        replace(STATE, name="d"),
        replace(STATE, step=1),
        replace(STATE, step=None),
        replace(STATE, tensors={}),
        replace(STATE, tensors={"w": replace(INFO, dtype="int32")}),
        replace(STATE, tensors={"w": replace(INFO, shape=(3, 2))}),
        replace(STATE, tensors={"w": replace(INFO, big_endian=True)}),
        replace(STATE, tensors={"w": replace(INFO, parts=INFO.parts * 2)}),
        of_part(path="b"),
        of_part(offset=5),
        of_part(length=23),
        of_part(start=(0, 0)),
        of_part(shape=(2, 3)),
        of_part(strides=(3, 1)),
        of_part(inflated=(0, 24)),
    ],
)
def test_whatever_tells_other_bytes_or_another_step_is_part_of_an_identity(other):
    assert Bases([STATE], "w").identity(0) != Bases([other], "w").identity(0)


def test_what_tells_nothing_of_the_bytes_is_no_part_of_an_identity():
    same = replace(STATE, epoch=7.0, path="elsewhere", scores={"loss": 1.0}, settings={"lr": "1"})
    tensors = {"v": replace(INFO, name="v"), "w": replace(INFO, name="x")}
    assert Bases([replace(same, tensors=tensors)], "w").identity(0) == Bases([STATE], "w").identity(0)


def test_each_position_has_its_own_identity_and_is_asked_once():
    bases = Bases([STATE, replace(STATE, name="d")], "w")
    assert bases.identity(0) != bases.identity(1)
    assert bases.identity(0) is bases.identity(0)


@pytest.mark.parametrize(
    ("changed", "metrics"),
    [
        (0, {"initial_distance", "update_cosine"}),
        (1, {"step_distance", "update_cosine"}),
        (2, {"rms", "step_distance", "initial_distance", "update_cosine"}),
        (3, set()),
    ],
)
def test_a_row_depends_on_the_states_that_its_metric_compares(changed, metrics):
    series = [replace(STATE, name=str(at)) for at in range(4)]
    run = Run("r", "", "", "", tuple(series))
    other = replace(
        run, checkpoints=tuple(replace(one, step=9) if at == changed else one for at, one in enumerate(series))
    )
    wanted = analyzer.metrics.select_metrics(["rms", "step_distance", "initial_distance", "update_cosine"])
    before, after = (
        {(at, name): basis for at, name, basis in expected_bases(one, "w", wanted)} for one in (run, other)
    )
    assert before.keys() == after.keys()
    assert {name for at, name in before if at == 2 and before[at, name] != after[at, name]} == metrics
    assert {name for at, name in before if at == 0} == {"rms", "initial_distance"}
    assert {name for at, name in before if at == 1} == {"rms", "initial_distance", "step_distance"}
    assert all(basis[:-len(one.digest)] and basis.endswith(one.digest) and len(basis) == 16 + len(one.digest)
               for (_, name), basis in before.items() for one in wanted if one.row.name == name)  # fmt: skip


def test_a_digest_names_the_roles_in_order_and_what_is_in_them():
    bases = Bases([STATE, replace(STATE, name="d")], "w")
    (metric,) = analyzer.metrics.select_metrics(["step_distance"])
    states = f"current:{bases.identity(1)}|previous:{bases.identity(0)}"
    expected = sha256(states.encode()).hexdigest()[:16] + metric.digest
    assert bases.of([metric], {CURRENT: 1, PREVIOUS: 0, INITIAL: 0}) == {"step_distance": expected}


@pytest.mark.parametrize(
    ("info", "roles", "names"),
    [
        (INFO, {CURRENT: 0, INITIAL: 0}, {"rms", "condition_number"}),
        (INFO, {CURRENT: 1, INITIAL: 0, PREVIOUS: 0}, {"rms", "condition_number", "step_distance"}),
        (replace(INFO, shape=(6,)), {CURRENT: 1, INITIAL: 0, PREVIOUS: 0}, {"rms", "step_distance"}),
        (replace(INFO, shape=(0, 6)), {CURRENT: 1, INITIAL: 0, PREVIOUS: 0}, set()),
        (None, {CURRENT: 1, INITIAL: 0, PREVIOUS: 0}, {"rms", "step_distance"}),
        (None, {CURRENT: 1, INITIAL: 0}, {"rms"}),
    ],
)
def test_which_metrics_have_a_row(info, roles, names):
    wanted = analyzer.metrics.select_metrics(["rms", "condition_number", "step_distance"])
    assert {one.row.name for one in applicable(wanted, info, roles)} == names
