"""Scores that lie beside checkpoints: CSV and JSON-lines tables by epoch or step, and the state of a trainer."""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.layouts.scores.tables import ScoreTable, score_table
from analyzer.model.run import Checkpoint, Finding
from analyzer.sources import is_file, join, read_text

SCORE_FILES = ("metrics.csv", "metrics.jsonl")


def read_scores(path: str, findings: list[Finding] | None = None) -> ScoreTable:
    """Scores from a ``.csv``, ``.json`` or ``.jsonl`` file whose rows tell their step or epoch.

    Args:
        path: the file.
        findings: where it is said that a cell among numbers is none, and which scores are not finite.

    Returns:
        what :func:`analyzer.layouts.scores.tables.score_table` makes of the rows; empty where there are none.

    Raises:
        CheckpointError: the file cannot be read, no row tells its place, or there are too many scores.
    """
    text = read_text(path)
    return score_table(
        path, _csv_rows(path, text) if path.lower().endswith(".csv") else _json_rows(path, text), findings
    )


def beside(folder: str, findings: list[Finding], names: Sequence[str] = SCORE_FILES) -> ScoreTable:
    """The scores in the first of these files that the folder has; empty where there is none. ``findings`` as above."""
    for name in names:
        path = join(folder, name)
        if is_file(path):
            return read_scores(path, findings)
    return {}


def latest_scores(
    placed: Sequence[tuple[Checkpoint, int | None]], log: ScoreTable, findings: list[Finding]
) -> list[Checkpoint]:
    """Each checkpoint with its scores: the log entry of its own step, else the last one before it, which is said.

    One that is not finite is left out; none before it takes its place.

    Args:
        placed: the checkpoints, each with its step as the log counts.
        log: scores by ("step", n).
        findings: where it is said.
    """
    known = _latest(log, {place for _, place in placed if place is not None})
    scored: list[Checkpoint] = []
    late: list[tuple[str, str]] = []
    for checkpoint, place in placed:
        entries = known[place].items() if place is not None else ()
        latest = {name: (step, value) for name, (step, value) in entries if isfinite(value)}
        scored.append(replace(checkpoint, scores={name: value for name, (_, value) in latest.items()}))
        late.extend(
            (checkpoint.name, f"{name} in {checkpoint.name} is that of step {step:g}")
            for name, (step, _) in sorted(latest.items())
            if step != place
        )
    if late:
        names = tuple(dict.fromkeys(name for name, _ in late))
        sentence = (
            f"The log has no entry at the very step of {len(names)} of {len(placed)} checkpoints; "
            f"the last one before it is used (for example, {late[0][1]})."
        )
        findings.append(Finding("score_from_earlier_step", "notice", sentence, checkpoints=names))
    return scored


def _latest(log: ScoreTable, places: set[int]) -> dict[int, dict[str, tuple[float, float]]]:
    """For each place the last value of each score up to there, as (step, value)."""
    waiting = deque(sorted((step, scores) for (_, step), scores in log.items()))
    latest: dict[str, tuple[float, float]] = {}
    known = {}
    for place in sorted(places):
        while waiting and waiting[0][0] <= place:
            step, scores = waiting.popleft()
            latest.update({name: (step, value) for name, value in scores.items()})
        known[place] = dict(latest)
    return known


def read_json(path: str) -> Any:
    """A JSON sidecar, in which NaN and Infinity may occur.

    Raises:
        CheckpointError: the file cannot be read or is not JSON.
    """
    return _parse(path, read_text(path))


def _csv_rows(path: str, text: str) -> Iterator[dict[str, Any]]:
    """Each row's own cells by column: the library's DictReader would fill a short row up to the width of the header."""
    rows = (row for row in csv.reader(io.StringIO(text, newline="")) if row)
    try:
        header = next(rows, [])
        yield from (dict(zip(header, row, strict=False)) for row in rows)
    except csv.Error as error:
        raise CheckpointError(f"{path}: is not sound CSV: {error}") from None


def _json_rows(path: str, text: str) -> list[dict[str, Any]]:
    if text.lstrip().startswith("["):
        rows = _parse(path, text)
    else:
        rows = [_parse(path, line) for line in text.split("\n") if line.strip()]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise CheckpointError(f"{path}: is not a table: each line (or list item) must be one JSON object")
    return rows


def _parse(path: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: is not sound JSON: {error}") from None
