"""Arrange rows of scores by the step or epoch that one of their columns states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.layouts.naming import parse_number, parse_score
from analyzer.layouts.scores.nonfinite import nonfinite_scores
from analyzer.layouts.scores.two_counts import TwoCounts
from analyzer.model.names import is_text, listed, printable
from analyzer.model.run import Finding

# Columns that state a row's place, in any case; of several, the first with a number in any row is used. Weights &
# Biases counts its own calls in _step, which is not the training step if another column states that. Ray counts its
# iterations; stable-baselines3, Ray and Spinning Up count steps of the environment.
PLACE_COLUMNS = {
    "step": (
        *("step", "global_step", "trainer/global_step", "train/global_step"),
        *("iteration", "iterations", "iter", "iter_num", "num_updates", "training_iteration"),
        *("time/total_timesteps", "total_timesteps", "timesteps_total", "totalenvsteps", "totalenvinteracts"),
        "_step",
    ),
    "epoch": ("epoch", "train/epoch"),
}
NO_VALUE = frozenset({"", "-", "na", "n/a", "none", "null"})  # what people and libraries write for a gap
MOST_NAMES = 10_000  # scores; each checkpoint may receive all of them
CALL_COUNTERS = ("_step",)  # count calls of a logger, so they are no steps of the training

_PLACES = {column: place for place, columns in PLACE_COLUMNS.items() for column in columns}


class ScoreTable(dict[tuple[str, float], dict[str, float]]):
    """Scores by ("step", n) and ("epoch", n).

    Attributes:
        steps: the step at the end of each epoch, where rows state both counts and they agree; else empty.
        epochs: the epoch of each step, likewise.
        counts_calls: the steps are whatever the training script passed to its logger, which may be epochs.
        epochs_from_one: the writer counts epochs from 1, and from 0 in the checkpoints.
    """

    def __init__(self, scores: Mapping[tuple[str, float], dict[str, float]] | None = None) -> None:
        super().__init__(scores or {})
        self.steps: dict[float, int] = {}
        self.epochs: dict[float, float] = {}
        self.counts_calls = False
        self.epochs_from_one = False


def score_table(path: str, rows: Iterable[Mapping[str, Any]], findings: list[Finding] | None = None) -> ScoreTable:
    """Arrange rows by place; each row has a step, an epoch or both in columns of :data:`PLACE_COLUMNS`.

    Args:
        path: the file that the rows are from.
        rows: cells by column.
        findings: receives findings about cells that are not numbers and scores that are not finite.

    Returns:
        scores by ("step", n) and ("epoch", n), including NaN and infinite ones; rows of the same place are merged,
        and cells that are not numbers are gaps. Steps that restart in each epoch do not place rows.

    Raises:
        CheckpointError: there are rows but none states its place, or there are more than :data:`MOST_NAMES` scores.
    """
    tables: dict[str, dict[tuple[str, float], dict[str, float]]] = {}
    columns: dict[str, None] = {}  # an ordered set
    names: set[str] = set()
    odd: list[tuple[int, str, str]] = []
    places_of: Counter[frozenset[str]] = Counter()  # rows with scores, by the columns that state their places
    counts: dict[str, TwoCounts] = {}
    for number, row in enumerate(rows, start=1):
        columns |= dict.fromkeys(row)
        if findings is not None:
            odd.extend((number, name, text) for name, text in row.items() if _is_odd(text))
        cells = ((name, parse_number(value)) for name, value in row.items() if not is_place(name))
        # A name that is not valid text (JSON can write half a surrogate pair) could not be stored.
        scores = {name: value for name, value in cells if value is not None and name and is_text(name)}
        names.update(scores)
        if len(names) > MOST_NAMES:
            raise CheckpointError(f"{path}: has more than {MOST_NAMES} scores; keep only the columns you need")
        positions = {_plain(column): parse_score(row[column]) for column in filter(is_place, row)}
        placed = {column: position for column, position in positions.items() if position is not None}
        for column, position in placed.items():
            _merge(tables.setdefault(column, {}).setdefault((_PLACES[column], position), {}), scores)
        _count(counts, placed)
        places_of[frozenset(placed)] += bool(scores)
    if columns and not tables:
        raise CheckpointError(
            f"{path}: no row has a number in a column for its step or epoch, so its scores cannot be placed. "
            f"Its columns are {listed(list(columns), 10)}; rename the one that counts steps to 'step', or the one that "
            "counts epochs to 'epoch'"
        )
    restarting = [column for column, count in counts.items() if count.restarts()]
    usable = {column for column in tables if column not in restarting}
    chosen = [column for known in PLACE_COLUMNS.values() for column in list(filter(usable.__contains__, known))[:1]]
    if findings is not None:
        # A column without any number, such as a date or a note, is not a score.
        findings.extend(_unreadable(path, [cell for cell in odd if cell[1] in names or is_place(cell[1])]))
        findings.extend(_restarting(path, restarting))
        findings.extend(nonfinite_scores(path, _PLACES[chosen[0]], tables[chosen[0]]) if chosen else ())
        findings.extend(_without_place(path, chosen, places_of) if chosen else ())
    return _table({column: tables[column] for column in chosen}, counts)


def is_place(column: str) -> bool:
    """Check whether a column states the place of its row."""
    return _plain(column) in _PLACES


def _table(
    chosen: Mapping[str, dict[tuple[str, float], dict[str, float]]], counts: Mapping[str, TwoCounts]
) -> ScoreTable:
    table = ScoreTable({place: scores for of_column in chosen.values() for place, scores in of_column.items()})
    for column in chosen:
        if column in counts and column not in CALL_COUNTERS:
            table.steps, table.epochs = counts[column].steps(), counts[column].epochs()
    return table


def _count(counts: dict[str, TwoCounts], placed: Mapping[str, float]) -> None:
    """Note the epoch and each step of one row."""
    epoch = next((placed[column] for column in PLACE_COLUMNS["epoch"] if column in placed), None)
    if epoch is not None:
        for column, step in placed.items():
            if _PLACES[column] == "step":
                counts.setdefault(column, TwoCounts()).add(epoch, step)


def _without_place(path: str, chosen: Sequence[str], places_of: Mapping[frozenset[str], int]) -> Iterator[Finding]:
    """Report rows that state no place, or only in a column that was not chosen, as that may count something else."""
    left_out = {columns: rows for columns, rows in places_of.items() if rows and columns.isdisjoint(chosen)}
    if not left_out:
        return
    rows, of = sum(left_out.values()), sum(places_of.values())
    others = sorted(frozenset[str]().union(*left_out))
    sentence = (
        f"{path}: {rows} of {of} rows with scores {'has' if rows == 1 else 'have'} no number under "
        f"{listed(list(chosen))}, which places the other rows"
    )
    if others:
        sentence += (
            f"; {listed(others)} may count differently. They are left out: fill in that column, or keep only the "
            "other one."
        )
    else:
        sentence += ". They are left out: fill in that column."
    evidence = {"rows": rows, "of": of}
    yield Finding("scores_without_place", "warning", sentence, evidence=evidence)


def _restarting(path: str, columns: Sequence[str]) -> Iterator[Finding]:
    if columns:
        yield Finding(
            "scores_by_epoch",
            "info",
            f"{path}: {listed(columns)} restarts in each epoch, so rows are placed by their epoch alone.",
        )


def _merge(known: dict[str, float], scores: Mapping[str, float]) -> None:
    """Add scores of the same place; NaN, which some writers put where nothing was measured, replaces no number."""
    known.update({name: value for name, value in scores.items() if isfinite(value) or name not in known})


def _plain(column: str) -> str:
    return column.strip().lower()


def _unreadable(path: str, odd: list[tuple[int, str, str]]) -> Iterator[Finding]:
    if not odd:
        return
    cells = "; ".join(
        f"row {row}, column {printable(name, 40)}: {printable(text, 40)!r}" for row, name, text in odd[:5]
    )
    more = f", and {len(odd) - 5} more" if len(odd) > 5 else ""
    sentence = f"{path}: cells that are not numbers are left out: {cells}{more} (rows count from 1, without a header)."
    yield Finding("scores_unreadable", "warning", sentence)


def _is_odd(text: Any) -> bool:
    """Check whether a cell is neither a number (NaN and infinity included) nor a usual way to write a gap."""
    if not isinstance(text, str) or text.strip().lower() in NO_VALUE:
        return False
    try:
        float(text)
    except ValueError:
        return True
    return "_" in text
