"""Print for people: lines on stderr, the progress of long work, findings that need attention."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from analyzer.model.run import Finding

EXIT_SERIOUS = 3  # finished, but parts could not be measured, or a serious defect was found
REFRESH_SECONDS = 0.1  # of the progress bar
LINE_SECONDS = 30.0  # between lines about progress where there is no terminal


def say(text: str) -> None:
    """Print a line on stderr, with untrusted characters escaped and logins removed from addresses.

    A standard error that cannot be written is nobody's to be told of: the exit code still says how the command ended.
    """
    from analyzer.model.names import printable
    from analyzer.sources.faults import without_logins

    try:
        click.echo(printable(without_logins(text)), err=True)
    except (OSError, ValueError):  # full, or closed
        _silence(sys.stderr)


def answer(line: object) -> None:
    """Print a line on stdout, such as the path of a result, with untrusted characters escaped.

    Raises:
        OutputError: standard output is closed, or takes no more.
    """
    from analyzer.model.names import printable

    answer_text(printable(str(line)))


def answer_text(text: str) -> None:
    """Print text on stdout in which all that is untrusted is escaped already.

    Raises:
        OutputError: standard output is closed, or takes no more.
    """
    write_out(f"{text}\n".encode(getattr(sys.stdout, "encoding", None) or "utf-8", "backslashreplace"))


def write_out(data: bytes) -> None:
    """Write all of ``data`` to stdout; an unbuffered one (``python -u``) may take it in parts.

    Raises:
        OutputError: standard output is closed, or takes no more.
    """
    from analyzer.errors import OutputError

    left, cause = memoryview(data), "it is closed or takes no more"
    try:
        while sys.stdout is not None and (taken := sys.stdout.buffer.write(left)) is not None:
            left = left[taken:]
            if not left:
                sys.stdout.buffer.flush()
                return
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
    _silence(sys.stdout)
    raise OutputError(f"standard output: cannot be written: {cause}. Send it to a file with enough room.")


def _silence(stream: TextIO | None) -> None:
    """Let a stream that failed go nowhere; the interpreter flushes it at its end, and would report that failure."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
        os.close(nowhere)


@contextmanager
def progress(doing: str) -> Iterator[Callable[[int, int], None]]:
    """Return a function that shows (bytes done, bytes in all): a bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _lines(doing)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(doing), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    # No thread that refreshes it: only a process without other threads can work in forked ones.
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task, drawn = bar.add_task("", total=None), 0.0

        def show(done: int, total: int) -> None:
            nonlocal drawn
            bar.update(task, completed=done, total=total)
            if perf_counter() - drawn > REFRESH_SECONDS:
                drawn = perf_counter()
                bar.refresh()

        yield show


def _lines(doing: str) -> Callable[[int, int], None]:
    from analyzer.model.sizes import size_text

    started = shown = perf_counter()

    def show(done: int, total: int) -> None:
        nonlocal shown
        now = perf_counter()
        if now - shown > LINE_SECONDS:
            shown = now
            say(f"{doing}: {size_text(done)} of {size_text(total)}, {now - started:.0f} s so far.")

    return show


def show_findings(found: Sequence[tuple[str | None, Sequence[Finding]]]) -> None:
    """Print the findings that need attention, by run (None for what belongs to no run).

    Where there are several runs, each finding names its run.
    """
    from analyzer.model.names import printable
    from analyzer.model.run import NEED_ATTENTION

    of_several = sum(run is not None for run, _ in found) > 1
    for run, findings in found:
        whose = f"{printable(run, 60)}: " if run is not None and of_several else ""
        for finding in findings:
            if finding.severity in NEED_ATTENTION:
                say(f"{finding.severity.capitalize()}: {whose}{printable(finding.sentence)}")
