"""Scores that lie beside checkpoints: CSV and JSON-lines tables by epoch or step, and the state of a trainer."""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.layouts.ordering import parse_score
from analyzer.names import is_text, printable
from analyzer.run import Checkpoint, Finding
from analyzer.sources import is_file, join, read_text

ScoreTable = dict[tuple[str, float], dict[str, float]]
PLACES = ("step", "epoch")
SCORE_FILES = ("metrics.csv", "metrics.jsonl")
NO_VALUE = frozenset({"", "-", "na", "n/a", "none", "null"})  # what people and libraries write for a gap
MOST_NAMES = 10_000  # of scores: each checkpoint is given all that came before it


def read_scores(path: str, findings: list[Finding] | None = None) -> ScoreTable:
    """Scores from a ``.csv``, ``.json`` or ``.jsonl`` file with a column ``step`` or ``epoch``.

    Args:
        path: the file.
        findings: where it is said that a cell among numbers is none.

    Returns:
        scores by ("step", n) and ("epoch", n); rows of the same place are merged, cells that are not finite
        numbers are gaps.

    Raises:
        CheckpointError: the file cannot be read, has neither column, or more than :data:`MOST_NAMES` scores.
    """
    text = read_text(path)
    rows = iter(_csv_rows(path, text) if path.lower().endswith(".csv") else _json_rows(path, text))
    first = next(rows, None)
    if first is None:
        return {}
    table = score_table(path, chain([first], rows), findings)
    if not table:
        raise CheckpointError(f"{path}: no row has a number under 'step' or 'epoch', so its scores belong nowhere")
    return table


def score_table(path: str, rows: Iterable[Mapping[str, Any]], findings: list[Finding] | None = None) -> ScoreTable:
    """Scores by place from rows that each carry a ``step`` or an ``epoch``, or both; ``findings`` as in read_scores.

    Raises:
        CheckpointError: there are more than :data:`MOST_NAMES` scores.
    """
    table: ScoreTable = {}
    names: set[str] = set()
    odd: list[tuple[int, str, str]] = []
    for number, row in enumerate(rows, start=1):
        if findings is not None:
            odd.extend((number, name, text) for name, text in row.items() if _is_odd(text))
        cells = ((name, parse_score(value)) for name, value in row.items() if name not in PLACES)
        # A name that is no text (JSON can write half a character) could not be kept.
        scores = {name: value for name, value in cells if value is not None and name and is_text(name)}
        names.update(scores)
        if len(names) > MOST_NAMES:
            raise CheckpointError(f"{path}: has more than {MOST_NAMES} scores, which no training has")
        for place in PLACES:
            position = parse_score(row.get(place))
            if position is not None:
                table.setdefault((place, position), {}).update(scores)
    # A column that never has a number is no score: a date, a note.
    odd = [cell for cell in odd if cell[1] in names or cell[1] in PLACES]
    if odd and findings is not None:
        places = "; ".join(
            f"row {row}, column {printable(name, 40)}: {printable(text, 40)!r}" for row, name, text in odd[:5]
        )
        more = f", and {len(odd) - 5} more" if len(odd) > 5 else ""
        sentence = (
            f"{path}: what is no number is left out: {places}{more} (rows count from 1, a header not among them)."
        )
        findings.append(Finding("scores_unreadable", "warning", sentence))
    return table


def _is_odd(text: Any) -> bool:
    """Whether a cell is meant to say something, but no number; an infinite one is one that went wrong, and a gap."""
    if not isinstance(text, str) or text.strip().lower() in NO_VALUE:
        return False
    try:
        float(text)
    except ValueError:
        return True
    return "_" in text


def beside(folder: str, names: Sequence[str] = SCORE_FILES) -> ScoreTable:
    """The scores in the first of these files that the folder has; empty where there is none."""
    for name in names:
        path = join(folder, name)
        if is_file(path):
            return read_scores(path)
    return {}


def latest_scores(
    placed: Sequence[tuple[Checkpoint, int | None]], log: ScoreTable, findings: list[Finding]
) -> list[Checkpoint]:
    """Each checkpoint with its scores: the log entry of its own step, else the last one before it, which is said.

    Args:
        placed: the checkpoints, each with its step as the log counts.
        log: scores by ("step", n).
        findings: where it is said.
    """
    known = _latest(log, {place for _, place in placed if place is not None})
    scored: list[Checkpoint] = []
    late: list[tuple[str, str]] = []
    for checkpoint, place in placed:
        latest = known[place] if place is not None else {}
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
