"""Where bundles run: in daemon threads of this process, one BLAS thread each."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")
_Message = tuple[str, object]


def available_cores() -> int:
    """The cores that this process may use: affinity and a container's quota included."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # not Linux, or no cgroup of version 2: there is no quota to be found
    return cores


def run_in_threads(tasks: Sequence[TaskT], work: Callable[[TaskT], Iterator[ResultT]], jobs: int) -> Iterator[ResultT]:
    """Results of all tasks as they come, from ``jobs`` threads that take the tasks in order.

    Closing the iterator (or Ctrl-C in the consumer) stops each thread before its next result. An exception of a task
    is raised here after the others have stopped.
    """
    waiting: queue.SimpleQueue[TaskT] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    results: queue.Queue[_Message] = queue.Queue(maxsize=8 * jobs)
    stop = threading.Event()
    with threadpool_limits(limits=1):
        # Daemons: a decomposition that is under way when the user gives up must not keep the process alive.
        for _ in range(jobs):
            threading.Thread(target=_serve, args=(waiting, work, results, stop), daemon=True).start()
        try:
            yield from _received(results, jobs)
        finally:
            stop.set()
            _drain(results)


def _serve(
    waiting: queue.SimpleQueue[TaskT],
    work: Callable[[TaskT], Iterator[object]],
    results: queue.Queue[_Message],
    stop: threading.Event,
) -> None:
    """One thread: tasks until there are none, or until it is told to stop."""
    try:
        while not stop.is_set():
            for result in work(waiting.get_nowait()):
                results.put(("result", result))
                if stop.is_set():
                    return
    except queue.Empty:
        pass
    except BaseException as error:  # handed to the consumer, which raises it
        results.put(("error", error))
    finally:
        results.put(("done", None))


def _received(results: queue.Queue[_Message], running: int) -> Iterator[Any]:
    """What the threads deliver, until all of them are done."""
    while running:
        kind, result = results.get()
        if kind == "done":
            running -= 1
        elif isinstance(result, BaseException):
            raise result
        else:
            yield result


def _drain(results: queue.Queue[_Message]) -> None:
    """Make room, so that a thread that waits to deliver its last result can see that it should stop."""
    try:
        while True:
            results.get_nowait()
    except queue.Empty:
        pass
