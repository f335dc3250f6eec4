"""Bring a report up to date as checkpoints appear: ``weightlapse report --follow``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analyzer.cli.options import MeasureOptions
from analyzer.cli.terminal import say
from analyzer.errors import NoCheckpointsError

if TYPE_CHECKING:
    from analyzer.model.run import Finding, Run

LOOK_SECONDS = 5.0  # between two looks at the folder


def follow(paths: Sequence[str], options: MeasureOptions, update: Callable[[], int], idle: float | None) -> int:
    """Call ``update`` whenever checkpoints or scores have changed and stand still; return its last exit code.

    A file that is still being written changes between two looks, so it is read when it is whole. Ends when nothing has
    changed for ``idle`` seconds, or at Ctrl-C while it waits.
    """
    code, known, last, since = 0, None, None, time.monotonic()
    while True:
        seen = _seen(paths, options)
        if seen == last and seen not in (None, known):
            code, known, since = update(), seen, time.monotonic()
            say("Waiting for further checkpoints. Stop with Ctrl-C.")
        elif seen != last:
            since = time.monotonic()
        elif idle is not None and time.monotonic() - since >= idle:
            return code
        last = seen
        try:
            time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            return code


def _seen(paths: Sequence[str], options: MeasureOptions) -> object:
    """Return what tells apart two states of the folders; None while there is no checkpoint."""
    from analyzer import layouts

    try:
        found = layouts.open_runs(paths, options.layout, options.tensors, options.scalars, options.files)
    except NoCheckpointsError:
        return None
    return [
        (
            run.name,
            [(one.name, one.files, one.scores) for one in run.checkpoints],
            [_told(run, one) for one in run.findings],
        )
        for run in found.runs
    ]


def _told(run: Run, finding: Finding) -> tuple[str, int | None]:
    """Return a finding and the size of the file that it is about: a file that is not yet whole counts as damaged."""
    file = Path(run.path, str(finding.evidence.get("file", "")))
    return finding.sentence, file.stat().st_size if file.is_file() else None
