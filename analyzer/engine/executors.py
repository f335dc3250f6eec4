"""Run tasks in forked processes where that is safe, else in daemon threads; each with one BLAS thread."""

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
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
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
# The C library returns a freed block to the system if it is larger than any before (and than 128 KiB), and then gets
# the memory of the next matrix again, page by page. To free one block of this size, unused, makes it keep smaller ones.
KEPT_BY_MALLOC = 31 << 20
# Results that arrive within this time of the last delivery wait for the next one: a delivery costs as much as many
# results.
DELIVERY_SECONDS = 0.1
_Message = tuple[str, object]


def available_cores() -> int:
    """Return the number of cores that this process may use, given its affinity and a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # not Linux, or no cgroup of version 2: there is no quota
    return cores


def run_tasks(
    tasks: Sequence[TaskT], work: Callable[[TaskT], Iterator[ResultT]], jobs: int, may_fork: bool = True
) -> Generator[ResultT, None, None]:
    """Yield the results of all tasks as they arrive, ``jobs`` tasks at a time; the executor does not affect results.

    Threads block each other wherever the interpreter's lock is held (as in numpy's copies and conversions), so
    processes are preferred. They are forked, which costs almost nothing, shares loaded modules and requires no task or
    metric to be picklable. But locks of other threads do not survive a fork, so a process with several threads does not
    fork, nor does one that uses a graphics card (``may_fork`` False).
    """
    np.empty(KEPT_BY_MALLOC, dtype=np.uint8)
    jobs = min(jobs, len(tasks))
    forks = may_fork and jobs > 1 and sys.platform == "linux" and threading.active_count() == 1
    return (run_in_processes if forks else run_in_threads)(tasks, work, jobs)


def run_in_processes(
    tasks: Sequence[TaskT], work: Callable[[TaskT], Iterator[ResultT]], jobs: int
) -> Generator[ResultT, None, None]:
    """Yield the results of all tasks as they arrive, from ``jobs`` forked processes that take the tasks in order.

    Closing the iterator (or Ctrl-C in the consumer) ends the processes at once; they also end when this process does.
    Threads do the work where the system refuses the processes.

    Raises:
        WorkerError: a process was killed from outside, for example by the system when memory ran out.
        Exception: the exception of a task, after the others have stopped.
    """
    try:
        processes = _forked(tasks, work, jobs)
    except OSError:  # this session may have no more processes, or no more open files for pipes
        yield from run_in_threads(tasks, work, jobs)
        return
    try:
        yield from _gather(processes, len(tasks))
    finally:
        _end(processes)


def _forked(
    tasks: Sequence[TaskT], work: Callable[[TaskT], Iterator[ResultT]], jobs: int
) -> dict[Connection, ForkProcess]:
    """Return new processes by the connection to each.

    Raises:
        OSError: not all could be started; none is left then.
    """
    context = multiprocessing.get_context("fork")
    pipes: list[tuple[Connection, Connection]] = []
    started: dict[Connection, ForkProcess] = {}
    try:
        pipes += (context.Pipe() for _ in range(jobs))
        with threadpool_limits(limits=1), _without_interrupts(), warnings.catch_warnings():
            # The threads that Python 3.12 warns about are those of a BLAS, which handles a fork itself.
            warnings.simplefilter("ignore", DeprecationWarning)
            for number, (ours, _) in enumerate(pipes):
                process = context.Process(target=_serve_pipe, args=(number, pipes, tasks, work), daemon=True)
                process.start()
                started[ours] = process
    except OSError:
        _end(started)
        for ours, _ in pipes:
            ours.close()
        raise
    finally:
        for _, theirs in pipes:
            theirs.close()
    return started


def _end(processes: dict[Connection, ForkProcess]) -> None:
    for connection, process in processes.items():
        process.kill()
        process.join()
        connection.close()


def _gather(processes: dict[Connection, ForkProcess], tasks: int) -> Iterator[Any]:
    """Yield what the processes deliver; a process that reports to be idle is sent the number of its next task."""
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
        f"a worker process ended with {how}, as happens when memory runs out; what was measured is kept. "
        "Run again with --max-memory or fewer --jobs."
    )


def _serve_pipe(
    number: int, pipes: list[tuple[Connection, Connection]], tasks: Sequence[TaskT], work: Callable[[TaskT], Any]
) -> None:
    """Run tasks in one process until there are none, or until the consumer is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the consumer handles it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    gc.freeze()  # a garbage collection would copy the memory that is shared with the consumer
    connection = pipes[number][1]
    for n, (theirs, ours) in enumerate(pipes):  # a pipe breaks only when every copy of its other end is closed
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
    except BaseException as error:  # sent to the consumer, which raises it
        connection.send(("error", _portable(error)))


def _deliver(connection: Connection, results: Iterator[object]) -> None:
    """Send results as they arrive, but in batches if they arrive in quick succession.

    At most :data:`DELIVERY_SECONDS` of work is lost if the process is killed, however long the next result takes.
    Results before an error are delivered too.
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
    """Return an error of weightlapse as it is, and any other, which may not be picklable, by its description."""
    if isinstance(error, WeightlapseError | MemoryError):
        return error
    return WorkerError(f"a worker process failed: {type(error).__name__}: {error}")


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Block Ctrl-C until the new processes ignore it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def run_in_threads(
    tasks: Sequence[TaskT], work: Callable[[TaskT], Iterator[ResultT]], jobs: int
) -> Generator[ResultT, None, None]:
    """Yield the results of all tasks as they arrive, from ``jobs`` threads that take the tasks in order.

    Closing the iterator (or Ctrl-C in the consumer) stops each thread before its next result. An exception of a task
    is raised after the others have stopped.
    """
    waiting: queue.SimpleQueue[TaskT] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    results: queue.Queue[_Message] = queue.Queue(maxsize=8 * jobs)
    stop = threading.Event()
    with threadpool_limits(limits=1):
        running = 0
        try:
            # Daemons: a running decomposition must not keep the process alive after Ctrl-C.
            with suppress(RuntimeError):  # the system refuses more threads
                for _ in range(jobs):
                    threading.Thread(target=_serve, args=(waiting, work, results, stop), daemon=True).start()
                    running += 1
            if not running:
                for task in tasks:
                    yield from work(task)
            yield from _receive(results, running)
        finally:
            stop.set()
            while not results.empty():  # a thread that waits to deliver a result can then see that it should stop
                results.get_nowait()


def _serve(
    waiting: queue.SimpleQueue[TaskT],
    work: Callable[[TaskT], Iterator[object]],
    results: queue.Queue[_Message],
    stop: threading.Event,
) -> None:
    """Run tasks in one thread until there are none, or until ``stop`` is set."""
    try:
        while not stop.is_set():
            for result in work(waiting.get_nowait()):
                results.put(("result", result))
                if stop.is_set():
                    return
    except queue.Empty:
        pass
    except BaseException as error:  # sent to the consumer, which raises it
        results.put(("error", error))
    finally:
        results.put(("done", None))


def _receive(results: queue.Queue[_Message], running: int) -> Iterator[Any]:
    """Yield what the threads deliver until all of them are done."""
    while running:
        kind, result = results.get()
        if kind == "done":
            running -= 1
        elif isinstance(result, BaseException):
            raise result
        else:
            yield result
