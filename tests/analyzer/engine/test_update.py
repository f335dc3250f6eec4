"""What remains to be measured of a run, how it is told, and how often it is stored."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
from builders import random_walk

import analyzer
from analyzer.engine import update as measuring
from analyzer.engine.planning import PROCESS_MEMORY, plan
from analyzer.engine.update import MeasureRequest, bring_up_to_date, outlook
from analyzer.errors import WeightlapseError
from analyzer.metrics import select_metrics
from analyzer.store.run_reader import Asked
from analyzer.store.store import open_store

BYTES = 4 * (12 * 20 + 12 + 5 * 12 + 5)  # of one state
SIZE = select_metrics(["rms", "frobenius_norm"])


@pytest.fixture
def run(make_run):
    return analyzer.open_run(make_run(random_walk(4)))


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "s.sqlite"), create=True) as opened:
        yield opened


def test_a_request_is_recorded_by_its_metrics_and_how_often_spectra_are_wanted():
    assert MeasureRequest(SIZE).asked == Asked(tuple(one.row.name for one in SIZE), 1)
    assert MeasureRequest(SIZE, spectra_every=3).asked.spectra_every == 3
    defaults = MeasureRequest(SIZE)
    assert (defaults.jobs, defaults.max_memory, defaults.device) == (None, None, "cpu")


def test_an_outlook_counts_what_a_new_store_lacks(run, store):
    for opened in (None, store):
        found = outlook(run, MeasureRequest(SIZE, jobs=1), opened)
        assert (found.tensors, found.checkpoints, found.bytes, found.jobs) == (4, 4, 4 * BYTES, 1)
        (task,) = plan(run, SIZE, lambda _: {})
        assert found.seconds == pytest.approx(task.cost)


def test_an_outlook_shares_the_work_among_jobs_but_has_no_more_jobs_than_tasks(run):
    alone, found = (outlook(run, MeasureRequest(SIZE, jobs=jobs), None) for jobs in (1, 3))
    tasks = plan(run, SIZE, lambda _: {}, 3)
    assert found.jobs == min(3, len(tasks)) and found.bytes == alone.bytes
    assert found.seconds == pytest.approx(sum(task.cost for task in tasks) / 3)


def test_memory_limits_the_jobs(run):
    (task,) = plan(run, SIZE, lambda _: {})
    enough = PROCESS_MEMORY + task.memory
    found = outlook(run, MeasureRequest(SIZE, jobs=4, max_memory=enough), None)
    assert found.jobs == 1
    with pytest.raises(WeightlapseError, match="--max-memory"):
        outlook(run, MeasureRequest(SIZE, jobs=1, max_memory=PROCESS_MEMORY), None)


def test_a_summary_tells_what_was_measured_and_what_is_gone(run, store):
    told = []
    request = MeasureRequest(SIZE, jobs=1)
    summary = bring_up_to_date(store, run, request, lambda done, total: told.append((done, total)))
    assert (summary.bytes, summary.checkpoints, summary.gone) == (4 * BYTES, 4, ())
    assert told[-1] == (4 * BYTES, 4 * BYTES) and [done for done, _ in told] == sorted(done for done, _ in told)
    assert store.begun(run.name) == [request.asked]
    found = outlook(run, request, store)
    assert (found.tensors, found.checkpoints, found.bytes, found.jobs, found.seconds) == (0, 0, 0, 0, 0)
    store.finish(run.name, request.asked)
    shorter = replace(run, checkpoints=run.checkpoints[1:])
    summary = bring_up_to_date(store, shorter, request)
    assert (summary.bytes, summary.checkpoints) == (0, 0)
    assert summary.gone == (run.checkpoints[0].name,)
    assert store.begun(run.name) == []  # nothing was left to measure


@pytest.mark.parametrize(
    ("seconds", "batches"),
    [(0.25, [5, 1]), (0.5, [3, 3, 0]), (1.0, [2, 2, 2, 0]), (1.5, [1] * 6 + [0]), (0.125, [6])],
)
def test_observations_are_stored_when_more_than_a_second_has_passed_and_at_the_end(monkeypatch, seconds, batches):
    """By a clock that stands still between observations."""
    now, sizes, told = [0.0], [], []
    monkeypatch.setattr(measuring, "time", SimpleNamespace(monotonic=lambda: now[0]))
    store = SimpleNamespace(transaction=nullcontext)
    writer = SimpleNamespace(add=lambda batch: sizes.append(len(batch)))

    def observations():
        for number in range(6):
            now[0] += seconds
            yield SimpleNamespace(bytes=number)

    measuring._collect(store, lambda: writer, observations(), 15, lambda done, total: told.append((done, total)))
    assert sizes == batches
    assert told == [(0, 15), (1, 15), (3, 15), (6, 15), (10, 15), (15, 15)]


def test_an_interruption_stores_what_was_observed():
    sizes = []

    def observations():
        yield SimpleNamespace(bytes=1)
        raise KeyboardInterrupt

    writer = SimpleNamespace(add=lambda batch: sizes.append(len(batch)))
    with pytest.raises(KeyboardInterrupt):
        measuring._collect(SimpleNamespace(transaction=nullcontext), lambda: writer, observations(), 1, None)
    assert sizes == [1]
