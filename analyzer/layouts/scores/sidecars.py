"""Read files with scores next to checkpoints: CSV and JSON-lines tables by epoch or step, and a trainer's state."""

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
    """Read scores from a ``.csv``, ``.json`` or ``.jsonl`` file whose rows state their step or epoch.

    Args:
        path: the file.
        findings: receives findings about cells that are not numbers and scores that are not finite.

    Returns:
        the rows as :func:`analyzer.layouts.scores.tables.score_table` returns them; empty if there are none.

    Raises:
        CheckpointError: the file cannot be read, no row states its place, or there are too many scores.
    """
    text = read_text(path)
    return score_table(
        path, _csv_rows(path, text) if path.lower().endswith(".csv") else _json_rows(path, text), findings
    )


def read_first_table(folder: str, findings: list[Finding], names: Sequence[str] = SCORE_FILES) -> ScoreTable:
    """Return the scores in the first of the named files that exists in the folder; empty if none does.

    Args:
        folder: the folder.
        findings: as for :func:`read_scores`.
        names: names of files, in the order of preference.

    Raises:
        CheckpointError: as for :func:`read_scores`.
    """
    for name in names:
        path = join(folder, name)
        if is_file(path):
            return read_scores(path, findings)
    return {}


def latest_scores(
    placed: Sequence[tuple[Checkpoint, int | None]], log: ScoreTable, findings: list[Finding]
) -> list[Checkpoint]:
    """Return each checkpoint with the scores that the log has at its step, or last had before it.

    A score whose latest value is not finite is left out; an earlier finite value does not replace it.

    Args:
        placed: the checkpoints, each with its step in the log's count.
        log: scores by ("step", n).
        findings: receives a finding if a score is from an earlier step.
    """
    known = _latest(log, {place for _, place in placed if place is not None})
    scored: list[Checkpoint] = []
    late: list[tuple[str, str]] = []
    for checkpoint, place in placed:
        entries = known[place].items() if place is not None else ()
        latest = {name: (step, value) for name, (step, value) in entries if isfinite(value)}
        scored.append(replace(checkpoint, scores={name: value for name, (_, value) in latest.items()}))
        late.extend(
            (checkpoint.name, f"{name} in {checkpoint.name} is from step {step:g}")
            for name, (step, _) in sorted(latest.items())
            if step != place
        )
    if late:
        names = tuple(dict.fromkeys(name for name, _ in late))
        sentence = (
            f"The log has no entry at the exact step of {len(names)} of {len(placed)} checkpoints; "
            f"the last entry before it is used (for example, {late[0][1]})."
        )
        findings.append(Finding("score_from_earlier_step", "notice", sentence, checkpoints=names))
    return scored


def _latest(log: ScoreTable, places: set[int]) -> dict[int, dict[str, tuple[float, float]]]:
    """Return for each place the last value of each score up to it, as (step, value)."""
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
    """Read a JSON file; NaN and Infinity are accepted.

    Raises:
        CheckpointError: the file cannot be read or is not JSON.
    """
    return _parse(path, read_text(path))


def _csv_rows(path: str, text: str) -> Iterator[dict[str, Any]]:
    """Yield each row's own cells by column; the library's DictReader would pad a short row to the header's width."""
    rows = (row for row in csv.reader(io.StringIO(text, newline="")) if row)
    try:
        header = next(rows, [])
        yield from (dict(zip(header, row, strict=False)) for row in rows)
    except csv.Error as error:
        raise CheckpointError(f"{path}: is not valid CSV: {error}. Correct it or move it elsewhere") from None


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
        raise CheckpointError(f"{path}: is not valid JSON: {error}. Correct it or copy it again") from None
