"""Tasks in threads and in forked processes: the same results, and no process that outlives what it works for."""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from builders import random_walk

from analyzer.engine.executors import DELIVERY_SECONDS, available_cores, run_in_processes, run_in_threads, run_tasks
from analyzer.errors import StoreError, WorkerError

forked = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")


def numbered(task: int):
    for result in range(3):
        yield task, result


@pytest.mark.parametrize("execute", [run_in_threads, pytest.param(run_in_processes, marks=forked)])
@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_every_result_comes_once(execute, jobs):
    results = list(execute(range(5), numbered, jobs))
    assert sorted(results) == [(task, result) for task in range(5) for result in range(3)]
    for task in range(5):  # those of one task in order
        assert [one for one in results if one[0] == task] == list(numbered(task))


@pytest.mark.parametrize("execute", [run_tasks, run_in_threads])
def test_no_task_no_result(execute):
    assert list(execute([], numbered, 4)) == []


@forked
def test_processes_are_other_processes_with_one_blas_thread():
    def who(task):
        from threadpoolctl import threadpool_info

        time.sleep(0.05)
        yield os.getpid(), [pool["num_threads"] for pool in threadpool_info()]

    results = list(run_in_processes(range(6), who, 2))
    assert len({pid for pid, _ in results}) == 2 and os.getpid() not in {pid for pid, _ in results}
    assert {count for _, counts in results for count in counts} == {1}


def test_beside_other_threads_nothing_is_forked():
    release = threading.Event()
    other = threading.Thread(target=release.wait)
    other.start()
    try:
        assert {pid for (pid,) in run_tasks(range(4), lambda task: iter([(os.getpid(),)]), 2)} == {os.getpid()}
    finally:
        release.set()
        other.join()


@forked
@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [(StoreError("s: broken"), StoreError, "s: broken"), (ValueError("odd"), WorkerError, "ValueError: odd")],
)
def test_an_error_of_a_task_is_raised_here(error, expected, text):
    def fail(task):
        yield task
        raise error

    with pytest.raises(expected, match=text):
        list(run_in_processes(range(4), fail, 2))


@forked
def test_fault_30_a_killed_process_is_named_and_nothing_hangs():
    def die(task):
        yield task
        if task == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.1)

    with pytest.raises(WorkerError, match=r"SIGKILL.*--max-memory"):
        list(run_in_processes(range(6), die, 2))


@forked
def test_results_that_come_quickly_are_delivered_together_and_before_an_error():
    def quick(task):
        yield from range(1000)
        raise StoreError("s: broken")

    results, received = run_in_processes([0], quick, 1), []
    with pytest.raises(StoreError):
        received.extend(results)
    assert received == list(range(1000))


@forked
def test_a_result_does_not_wait_for_the_next_one():
    def slow(task):
        for number in range(3):
            yield number
            time.sleep(1.5 * DELIVERY_SECONDS)
        time.sleep(600)

    results = run_in_processes(range(1), slow, 1)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    results.close()


@forked
def test_closing_ends_the_processes_at_once():
    def slow(task):
        yield os.getpid()
        time.sleep(600)

    results = run_in_processes(range(2), slow, 2)
    pids = [next(results), next(results)]
    started = time.monotonic()
    results.close()
    assert time.monotonic() - started < 2
    assert not any(is_alive(pid) for pid in pids)


ORPHANS = """
import os, sys, time
from analyzer.engine.executors import run_in_processes

def slow(task):
    for _ in range(600):
        yield os.getpid()
        time.sleep(0.1)

for pid in run_in_processes(range(2), slow, 2):
    print(pid, flush=True)
"""


@forked
def test_fault_33_processes_end_when_their_consumer_is_killed():
    consumer = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True)
    assert consumer.stdout
    pids = {int(consumer.stdout.readline()) for _ in range(6)}
    consumer.kill()
    consumer.wait()
    consumer.stdout.close()
    deadline = time.monotonic() + 10
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(pids) == 2 and not any(is_alive(pid) for pid in pids)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


SAME_BITS = """
import sys, threading
import analyzer
from analyzer.engine import executors

run = analyzer.open_run(sys.argv[1])
rows = [analyzer.measure(run, sys.argv[2] + "/1.sqlite", jobs=1).rows()]
executors.run_in_threads, in_threads = None, executors.run_in_threads  # what is called now must be the processes
rows.append(analyzer.measure(run, sys.argv[2] + "/2.sqlite", jobs=2).rows())
executors.run_in_threads = executors.run_in_processes = in_threads
rows.append(analyzer.measure(run, sys.argv[2] + "/3.sqlite", jobs=3).rows())
assert len(rows[0]) > 100 and rows[0] == rows[1] == rows[2]
"""


@forked
def test_threads_and_processes_give_the_same_bits(make_run, tmp_path):
    folder = make_run(random_walk(8))
    command = [sys.executable, "-W", "error", "-c", SAME_BITS, str(folder), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_there_is_a_core():
    assert available_cores() >= 1


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


@pytest.mark.parametrize("allowed", [0, 2])
def test_fault_56_threads_do_the_work_where_the_system_refuses_processes(monkeypatch, allowed):
    forked = []

    def refused(fork=os.fork):
        if len(forked) >= allowed:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        forked.append(fork())
        return forked[-1]

    monkeypatch.setattr(os, "fork", refused)
    before = open_files()
    results = run_in_processes(range(20), lambda task: iter([task, -task]), 4)
    assert sorted(results) == sorted([*range(20), *(-task for task in range(20))])
    assert len(forked) == allowed
    gc.collect()
    assert open_files() <= before + 4  # what multiprocessing itself opened for the one refused
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_fault_56_few_open_files_are_no_error():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + 6, hard))
    try:
        assert sorted(run_in_processes(range(9), lambda task: iter([task]), 8)) == list(range(9))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_fault_56_without_any_thread_the_tasks_run_one_after_the_other(monkeypatch):
    def refused(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert list(run_in_threads(range(5), lambda task: iter([task]), 3)) == list(range(5))
