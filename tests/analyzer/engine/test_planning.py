"""How much runs at a time in a given memory."""

from __future__ import annotations

import pytest

from analyzer.engine.planning import Task, affordable_streams, plan
from analyzer.errors import WeightlapseError
from analyzer.metrics import select_metrics
from analyzer.model.run import Checkpoint, Run, TensorInfo

MIB = 1 << 20
PROCESS = 250 * MIB  # measured: Python, numpy, scipy and a plan take less


def task(memory):
    return Task((), {}, bytes=0, memory=memory, cost=0.0, overlap=0.0)


@pytest.mark.parametrize(
    ("memory", "streams"),
    [(350 * MIB, 1), (450 * MIB - 1, 1), (450 * MIB, 2), (1250 * MIB - 1, 9), (1250 * MIB, 10), (100_250 * MIB, 1000)],
)
def test_what_is_left_beside_the_process_is_shared_by_streams_of_the_largest_size(memory, streams):
    assert affordable_streams([task(10 * MIB), task(100 * MIB), task(1)], memory) == streams


def test_less_than_the_process_and_one_stream_is_an_error_that_says_how_much_is_needed():
    with pytest.raises(WeightlapseError, match=r"--max-memory 367 MB: the largest task needs 367 MB .* for example"):
        affordable_streams([task(100 * MIB)], 350 * MIB - 1)
    assert affordable_streams([task(100 * MIB)], 350 * MIB) == 1


def test_a_plan_without_tasks_affords_any_number_of_streams():
    assert affordable_streams([], PROCESS + 4) == 4
    with pytest.raises(WeightlapseError):
        affordable_streams([], PROCESS)


def test_small_tensors_are_bundled_up_to_8_mib_and_a_large_one_is_alone():
    mebibytes = {"a": 3, "b": 5, "c": 3, "d": 4, "e": 2, "large": 20, "f": 1}
    infos = {name: TensorInfo(name, "float32", (size * MIB // 4,), ()) for name, size in mebibytes.items()}
    run = Run("r", "", "", "", tuple(Checkpoint(str(at), "", at, None, {}, infos, ()) for at in (0.0, 1.0)))
    tasks = plan(run, select_metrics(["size"]), lambda _: {})
    assert sorted(tuple(one.wanted) for one in tasks) == [("a", "b"), ("c", "d"), ("e",), ("f",), ("large",)]


def test_a_walk_that_is_cut_measures_every_checkpoint_once():
    info = TensorInfo("w", "float32", (1000, 1000), ())
    run = Run("r", "", "", "", tuple(Checkpoint(str(at), "", at, None, {}, {"w": info}, ()) for at in range(13)))
    tasks = plan(run, select_metrics(["spectrum"]), lambda _: {}, jobs=4)
    assert len(tasks) > 1
    assert sorted(position for one in tasks for position in one.wanted["w"]) == list(range(13))
