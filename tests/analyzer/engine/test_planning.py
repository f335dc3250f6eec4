"""How much runs at a time in a given memory."""

from __future__ import annotations

import pytest

from analyzer.engine.planning import Task, affordable_streams
from analyzer.errors import WeightlapseError

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
