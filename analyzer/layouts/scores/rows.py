"""Read the rows of a table of scores: CSV, JSON lines, a JSON list, or a JSON object of lists."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.formats.json_texts import require_modest
from analyzer.layouts.scores.tables import is_place
from analyzer.layouts.scores.writers import as_logged, is_trainer_state, trainer_rows
from analyzer.sources import open_source, read_text

Row = Mapping[str, Any]
_CSV = (".csv", ".tsv")
_JSON = (".json", ".jsonl")
_DEEPEST_PEEK = 4096  # bytes in which the first character of a log is looked for


def read_rows(path: str) -> Iterator[Row]:
    """Yield the rows of a file as cells by column, brought into one form whatever program wrote them.

    Raises:
        CheckpointError: the file cannot be read, is larger than 256 MiB, or is not a table of scores.
    """
    text = read_text(path)
    name = path.lower()
    if name.endswith(_CSV):
        yield from _csv_rows(path, text)
    elif name.endswith(_JSON) or text.lstrip()[:1] in ("{", "["):
        yield from as_logged(_json_rows(path, text))
    elif _looks_like_csv(text):
        yield from _csv_rows(path, text)
    else:
        raise CheckpointError(
            f"{path}: is not a table of scores: neither CSV with a column step or epoch, nor JSON lines, nor an event "
            "file of TensorBoard. Name a file that is one of these"
        )


def begins_like_json(path: str) -> bool:
    """Check whether the first character of a file, apart from white space, opens a JSON object.

    Raises:
        CheckpointError: the file cannot be read.
    """
    with open_source(path) as source:
        start = source.read(0, min(source.stamp.size, _DEEPEST_PEEK))
    return bytes(start).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def read_json(path: str) -> Any:
    """Read a JSON file; NaN and Infinity are accepted.

    Raises:
        CheckpointError: the file cannot be read, is not JSON, or would take much more memory than its size explains.
    """
    text = read_text(path)
    require_modest(path, text)
    return _parse(path, text)


def _looks_like_csv(text: str) -> bool:
    header = text.lstrip().partition("\n")[0]
    return any(is_place(name) for name in header.split(_delimiter(header)))


def _delimiter(header: str) -> str:
    return next((sign for sign in ("\t", ";") if sign in header and "," not in header), ",")


def _csv_rows(path: str, text: str) -> Iterator[Row]:
    """Yield each row's own cells by column; the library's DictReader would pad a short row to the header's width."""
    sign = _delimiter(text.partition("\n")[0])
    rows = (row for row in csv.reader(io.StringIO(text, newline=""), delimiter=sign) if row)
    try:
        header = [name.strip() for name in next(rows, [])]  # ultralytics pads the names with spaces
        yield from (dict(zip(header, row, strict=False)) for row in rows)
    except csv.Error as error:
        raise CheckpointError(f"{path}: is not valid CSV: {error}. Correct it or move it elsewhere") from None


def _json_rows(path: str, text: str) -> list[dict[str, Any]]:
    require_modest(path, text)
    whole = _whole(path, text)
    if is_trainer_state(whole):
        return trainer_rows(whole)
    if isinstance(whole, dict):
        return _rows_of_lists(whole) or [whole]
    rows = _lines(path, text) if whole is None else whole
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise CheckpointError(f"{path}: is not a table: each line (or list item) must be one JSON object")
    return rows


def _whole(path: str, text: str) -> Any:
    """Return the content of a file that is one JSON value; None if it has a value in each line."""
    if text.lstrip().startswith("["):
        return _parse(path, text)
    if not path.lower().endswith(".json"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _lines(path: str, text: str) -> list[Any]:
    """Parse each line; a last line that is incomplete, as in a running training, is left out."""
    lines = [line for line in text.split("\n") if line.strip()]
    values = [_parse(path, line) for line in lines[:-1]]
    try:
        values.extend(_parse(path, line) for line in lines[-1:])
    except CheckpointError:
        if not values or text.endswith("\n"):
            raise
    return values


def _rows_of_lists(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of an object of lists, such as Keras' ``History.history``; empty if it is none.

    Without a column for it, the first row is that of epoch 1. Lists of another length than most do not belong to rows.
    """
    lists = {name: value for name, value in columns.items() if isinstance(value, list)}
    if not lists:
        return []
    length = Counter(map(len, lists.values())).most_common(1)[0][0]
    lists = {name: values for name, values in lists.items() if len(values) == length}
    rows = [{name: values[at] for name, values in lists.items()} for at in range(length)]
    if any(map(is_place, lists)):
        return rows
    return [{"epoch": number, **row} for number, row in enumerate(rows, start=1)]


def _parse(path: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: is not valid JSON: {error}. Correct it or copy it again") from None
