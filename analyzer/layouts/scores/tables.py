"""Arrange rows of scores by the step or epoch that one of their columns states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.layouts.naming import parse_number, parse_score
from analyzer.layouts.scores.nonfinite import nonfinite_scores
from analyzer.model.names import is_text, listed, printable
from analyzer.model.run import Finding

ScoreTable = dict[tuple[str, float], dict[str, float]]
# Columns that state a row's place, in any case; of several, the first with a number in any row is used. Weights &
# Biases counts its own calls in _step, which is not the training step if another column states that.
PLACE_COLUMNS = {
    "step": (
        *("step", "global_step", "trainer/global_step", "train/global_step"),
        *("iteration", "iterations", "iter", "iter_num", "_step"),
    ),
    "epoch": ("epoch", "train/epoch"),
}
NO_VALUE = frozenset({"", "-", "na", "n/a", "none", "null"})  # what people and libraries write for a gap
MOST_NAMES = 10_000  # scores; each checkpoint may receive all of them

_PLACES = {column: place for place, columns in PLACE_COLUMNS.items() for column in columns}


def score_table(path: str, rows: Iterable[Mapping[str, Any]], findings: list[Finding] | None = None) -> ScoreTable:
    """Arrange rows by place; each row has a step, an epoch or both in columns of :data:`PLACE_COLUMNS`.

    Args:
        path: the file that the rows are from.
        rows: cells by column.
        findings: receives findings about cells that are not numbers and scores that are not finite.

    Returns:
        scores by ("step", n) and ("epoch", n), including NaN and infinite ones; rows of the same place are merged,
        and cells that are not numbers are gaps.

    Raises:
        CheckpointError: there are rows but none states its place, or there are more than :data:`MOST_NAMES` scores.
    """
    tables: dict[str, ScoreTable] = {}
    columns: dict[str, None] = {}  # an ordered set
    names: set[str] = set()
    odd: list[tuple[int, str, str]] = []
    places_of: Counter[frozenset[str]] = Counter()  # rows with scores, by the columns that state their places
    for number, row in enumerate(rows, start=1):
        columns |= dict.fromkeys(row)
        if findings is not None:
            odd.extend((number, name, text) for name, text in row.items() if _is_odd(text))
        cells = ((name, parse_number(value)) for name, value in row.items() if not _is_place(name))
        # A name that is not valid text (JSON can write half a surrogate pair) could not be stored.
        scores = {name: value for name, value in cells if value is not None and name and is_text(name)}
        names.update(scores)
        if len(names) > MOST_NAMES:
            raise CheckpointError(f"{path}: has more than {MOST_NAMES} scores; keep only the columns you need")
        positions = {_plain(column): parse_score(row[column]) for column in filter(_is_place, row)}
        placed = {column: position for column, position in positions.items() if position is not None}
        for column, position in placed.items():
            _merge(tables.setdefault(column, {}).setdefault((_PLACES[column], position), {}), scores)
        places_of[frozenset(placed)] += bool(scores)
    if columns and not tables:
        raise CheckpointError(
            f"{path}: no row has a number in a column for its step or epoch, so its scores cannot be placed. "
            f"Its columns are {listed(list(columns), 10)}; rename the one that counts steps to 'step', or the one that "
            "counts epochs to 'epoch'"
        )
    # A column without any number, such as a date or a note, is not a score.
    odd = [cell for cell in odd if cell[1] in names or _is_place(cell[1])]
    if odd and findings is not None:
        findings.append(_unreadable(path, odd))
    chosen = [column for known in PLACE_COLUMNS.values() for column in list(filter(tables.__contains__, known))[:1]]
    if findings is not None and chosen:
        findings.extend(nonfinite_scores(path, _PLACES[chosen[0]], tables[chosen[0]]))
        findings.extend(_without_place(path, chosen, places_of))
    return {place: scores for column in chosen for place, scores in tables[column].items()}


def _without_place(path: str, chosen: Sequence[str], places_of: Mapping[frozenset[str], int]) -> Iterator[Finding]:
    """Report rows whose place is only in a column that was not chosen, because that may count something else."""
    left_out = {columns: rows for columns, rows in places_of.items() if rows and columns and columns.isdisjoint(chosen)}
    if not left_out:
        return
    rows, of = sum(left_out.values()), sum(places_of.values())
    others = listed(sorted(frozenset[str]().union(*left_out)))
    yield Finding(
        "scores_without_place",
        "warning",
        f"{path}: {rows} of {of} rows with scores have no number under {listed(list(chosen))}, which places the other "
        f"rows; {others} may count differently. They are left out: fill in that column, or keep only the other one.",
    )


def _merge(known: dict[str, float], scores: Mapping[str, float]) -> None:
    """Add scores of the same place; NaN, which some writers put where nothing was measured, replaces no number."""
    known.update({name: value for name, value in scores.items() if isfinite(value) or name not in known})


def _plain(column: str) -> str:
    return column.strip().lower()


def _is_place(column: str) -> bool:
    return _plain(column) in _PLACES


def _unreadable(path: str, odd: list[tuple[int, str, str]]) -> Finding:
    cells = "; ".join(
        f"row {row}, column {printable(name, 40)}: {printable(text, 40)!r}" for row, name, text in odd[:5]
    )
    more = f", and {len(odd) - 5} more" if len(odd) > 5 else ""
    sentence = f"{path}: cells that are not numbers are left out: {cells}{more} (rows count from 1, without a header)."
    return Finding("scores_unreadable", "warning", sentence)


def _is_odd(text: Any) -> bool:
    """Check whether a cell is neither a number (NaN and infinity included) nor a usual way to write a gap."""
    if not isinstance(text, str) or text.strip().lower() in NO_VALUE:
        return False
    try:
        float(text)
    except ValueError:
        return True
    return "_" in text
