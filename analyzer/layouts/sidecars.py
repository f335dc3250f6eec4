"""Scores that lie beside checkpoints: CSV and JSON-lines tables by epoch or step, and the state of a trainer."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.layouts.ordering import parse_score
from analyzer.sources import is_file, join, read_text

ScoreTable = dict[tuple[str, float], dict[str, float]]
PLACES = ("step", "epoch")


def read_scores(path: str) -> ScoreTable:
    """Scores from a ``.csv``, ``.json`` or ``.jsonl`` file with a column ``step`` or ``epoch``.

    Returns:
        scores by ("step", n) and ("epoch", n); rows of the same place are merged, cells that are not finite
        numbers are gaps.

    Raises:
        CheckpointError: the file cannot be read, or has neither column.
    """
    text = read_text(path)
    rows = _csv_rows(path, text) if path.lower().endswith(".csv") else _json_rows(path, text)
    table = score_table(rows)
    if rows and not table:
        raise CheckpointError(f"{path}: no row has a number under 'step' or 'epoch', so its scores belong nowhere")
    return table


def score_table(rows: Iterable[Mapping[str, Any]]) -> ScoreTable:
    """Scores by place from rows that each carry a ``step`` or an ``epoch``, or both."""
    table: ScoreTable = {}
    for row in rows:
        scores = {str(name): parse_score(value) for name, value in row.items() if name and name not in PLACES}
        for place in PLACES:
            position = parse_score(row.get(place))
            if position is not None:
                known = {name: value for name, value in scores.items() if value is not None}
                table.setdefault((place, position), {}).update(known)
    return table


def beside(folder: str) -> ScoreTable:
    """The scores in ``metrics.csv`` or ``metrics.jsonl`` of a folder; empty where there is neither."""
    for name in ("metrics.csv", "metrics.jsonl"):
        path = join(folder, name)
        if is_file(path):
            return read_scores(path)
    return {}


def read_json(path: str) -> Any:
    """A JSON sidecar, in which NaN and Infinity may occur.

    Raises:
        CheckpointError: the file cannot be read or is not JSON.
    """
    return _parse(path, read_text(path))


def _csv_rows(path: str, text: str) -> list[dict[str, Any]]:
    try:
        return list(csv.DictReader(io.StringIO(text, newline="")))
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
