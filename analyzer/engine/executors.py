"""Where bundles run: in forked processes where that is safe, else in daemon threads; one BLAS thread each."""

from __future__ import annotations

import gc
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from analyzer.errors import WeightlapseError, WorkerError

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")
# The C library gives freed blocks that are larger than any before (and than 128 KiB) back to the system, and gets the
# next matrix's anew, page by page. A block of this size, given back untouched, teaches it to keep those up to it.
KEPT_BY_MALLOC = 31 << 20
# Results that come within so long of the last delivery are kept for the next one: each costs as much as many results.
DELIVERY_SECONDS = 0.1
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


def run_tasks(
    tasks: Sequence[TaskT], work: Callable[[TaskT], Iterator[ResultT]], jobs: int, may_fork: bool = True
) -> Iterator[ResultT]:
    """Results of all tasks as they come, ``jobs`` tasks at a time, each the same whatever ran it.

    Threads hold each other up in whatever keeps the interpreter's lock (numpy's copies and conversions among it), so
    processes are preferred. They are forked, which costs next to nothing, shares what is loaded and needs no task or
    metric to be picklable; but a thread's locks do not survive a fork, so only a process without other threads forks,
    and one that uses a graphics card (``may_fork`` False) does not.
    """
    np.empty(KEPT_BY_MALLOC, dtype=np.uint8)
    jobs = min(jobs, len(tasks))
    forks = may_fork and jobs > 1 and sys.platform == "linux" and threading.active_count() == 1
    return (run_in_processes if forks else run_in_threads)(tasks, work, jobs)


def run_in_processes(
    tasks: Sequence[TaskT], work: Callable[[TaskT], Iterator[ResultT]], jobs: int
) -> Iterator[ResultT]:
    """Results of all tasks as they come, from ``jobs`` forked processes that take the tasks in order.

    Closing the iterator (or Ctrl-C in the consumer) ends the processes at once; they also end when this one does.

    Raises:
        WorkerError: a process was ended from outside, by the system when memory ran out, say.
        Exception: that of a task, after the others have stopped.
    """
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe() for _ in range(jobs)]
    processes = [context.Process(target=_serve_pipe, args=(n, pipes, tasks, work), daemon=True) for n in range(jobs)]
    with threadpool_limits(limits=1), _without_interrupts(), warnings.catch_warnings():
        # The threads that Python 3.12 warns of are those of a BLAS, which looks after itself in a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        for process in processes:
            process.start()
    for _, end in pipes:
        end.close()
    try:
        yield from _gathered({ours: process for (ours, _), process in zip(pipes, processes, strict=True)}, len(tasks))
    finally:
        for (ours, _), process in zip(pipes, processes, strict=True):
            process.kill()
            process.join()
            ours.close()


def _gathered(processes: dict[Connection, ForkProcess], tasks: int) -> Iterator[Any]:
    """What the processes deliver; each is told the number of its next task when it asks for one."""
    waiting = iter(range(tasks))
    working = set(processes)
    while working:
        for connection in wait(list(working)):
            assert isinstance(connection, Connection)
            try:
                kind, result = connection.recv()
                if kind == "idle":
                    connection.send(next(waiting, None))
            except (EOFError, OSError):
                raise _death(processes[connection]) from None
            if kind == "done":
                working.remove(connection)
            elif kind == "error":
                raise result
            elif kind == "results":
                yield from result


def _death(process: ForkProcess) -> WorkerError:
    process.join()
    code = process.exitcode or 0
    how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
    return WorkerError(
        f"a process that measures ended with {how}, which happens when memory runs out; what was measured is kept. "
        "Run again with --max-memory or fewer --jobs."
    )


def _serve_pipe(
    number: int, pipes: list[tuple[Connection, Connection]], tasks: Sequence[TaskT], work: Callable[[TaskT], Any]
) -> None:
    """One process: tasks until there are none, or until nobody listens any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the consumer's to handle
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    gc.freeze()  # what is shared with the consumer is no garbage; to look through it again and again would copy it
    connection = pipes[number][1]
    for n, (theirs, ours) in enumerate(pipes):  # as long as any copy of its other end is open, a pipe does not break
        theirs.close()
        if n != number:
            ours.close()
    try:
        with threadpool_limits(limits=1):
            connection.send(("idle", None))
            while (task := connection.recv()) is not None:
                _deliver(connection, work(tasks[task]))
                connection.send(("idle", None))
        connection.send(("done", None))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    except BaseException as error:  # handed to the consumer, which raises it
        connection.send(("error", _portable(error)))


def _deliver(connection: Connection, results: Iterator[object]) -> None:
    """Send results as they come, but those that come right after another with the next ones, or with the last one.

    So no more than :data:`DELIVERY_SECONDS` of work is lost with the process, however long the next result takes; those
    before an error are delivered too.
    """
    kept: list[object] = []
    last = -inf
    try:
        for result in results:
            kept.append(result)
            if time.monotonic() - last > DELIVERY_SECONDS:
                connection.send(("results", kept))
                kept, last = [], time.monotonic()
    finally:
        connection.send(("results", kept))


def _portable(error: BaseException) -> BaseException:
    """An error of ours as it is; any other, which may not travel, by its description."""
    if isinstance(error, WeightlapseError | MemoryError):
        return error
    return WorkerError(f"a process that measures failed: {type(error).__name__}: {error}")


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C waits: a process must have learnt to ignore it before it comes."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


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
