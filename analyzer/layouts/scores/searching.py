"""Read all scores that are beside a run's checkpoints, and join them to one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isclose, isfinite

from analyzer.errors import CheckpointError
from analyzer.layouts.scores.event_files import INSTALL, MissingPackageError
from analyzer.layouts.scores.locating import ANY_LOG, LogFolder, log_folders
from analyzer.layouts.scores.mlflow import METRICS, run_above
from analyzer.layouts.scores.rows import begins_like_json
from analyzer.layouts.scores.sidecars import read_scores
from analyzer.layouts.scores.tables import ScoreTable
from analyzer.model.names import listed, printable
from analyzer.model.run import Finding
from analyzer.sources import Entry, containing_folder, is_inside, join, path_below

_SAME = 1e-6  # relative; event files have float32 where tables have float64


@dataclass(frozen=True)
class _Source:
    """The scores of a log folder, and the files that they are from."""

    folder: LogFolder
    table: ScoreTable
    paths: tuple[str, ...]


def folder_scores(folder: str, findings: list[Finding]) -> ScoreTable:
    """Return the scores that are beside the checkpoints of a folder; empty if there are none.

    A file that cannot be read costs its scores, with a warning. Where two files have a score of the same place, the
    first in the order of preference counts, and of several starts of the same training the last one.

    Args:
        folder: the folder of the checkpoints.
        findings: receives findings about files that are used, left out, or contradict each other.
    """
    sources: list[_Source] = []
    events: list[Entry] = []
    for place in log_folders(folder):
        if (source := _read_tables(place, findings)) is not None:
            sources.append(source)
        events.extend(place.events())
    if events:
        sources.extend(_read_events(folder, findings))
    if (run := run_above(folder)) is not None:
        table = _read(join(run, METRICS), findings)
        sources.append(_Source(LogFolder(run, ()), table, (join(run, METRICS),)))
    groups = _grouped([source for source in sources if source.table], findings)
    table = _joined(groups, findings)
    paths = [path for source in groups for path in source.paths]
    if len(paths) > 1 or (paths and containing_folder(paths[0]) != folder.rstrip("/")):
        names = [_name(folder, path) for path in paths]
        findings.append(
            Finding(
                "scores_read", "info", f"Scores come from {listed(names, limit=0)}.", evidence={"files": list(names)}
            )
        )
    return table


def _read_tables(place: LogFolder, findings: list[Finding]) -> _Source | None:
    """Return the scores in the tables of a folder; None if it has none."""
    tables = [(entry.path, _read(entry.path, findings)) for entry in place.tables() if _is_table(entry, findings)]
    known = [(path, table) for path, table in tables if table]
    if not known:
        return None
    joined = _joined([_Source(place, table, (path,)) for path, table in known], findings)
    return _Source(place, joined, tuple(path for path, _ in known))


def _is_table(entry: Entry, findings: list[Finding]) -> bool:
    """Check whether a file with the name of a text begins like a table; a text is nothing to report."""
    if entry.name not in ANY_LOG:
        return True
    try:
        return begins_like_json(entry.path) or entry.name.startswith("progress")
    except CheckpointError as error:
        findings.append(Finding("scores_unreadable", "notice", f"{error}."))
        return False


def _read(path: str, findings: list[Finding]) -> ScoreTable:
    try:
        return read_scores(path, findings)
    except CheckpointError as error:
        sentence = f"{error}. The run is measured without the scores in it."
        findings.append(Finding("scores_unreadable", "warning", sentence))
        return ScoreTable()


def _read_events(folder: str, findings: list[Finding]) -> list[_Source]:
    """Return the scores in event files, one source for each log folder; report it if the package is missing."""
    sources = []
    for place in log_folders(folder):
        table = ScoreTable()
        table.counts_calls = True
        for entry in place.events():
            try:
                _take_later(table, read_scores(entry.path, findings))
            except MissingPackageError:
                sentence = (
                    f"{_name(folder, entry.path)}: scores in event files of TensorBoard are not read, because the "
                    f"package for it is not installed. Install it: {INSTALL}"
                )
                findings.append(Finding("scores_need_package", "notice", sentence))
                return []
            except CheckpointError as error:
                sentence = f"{error}. The run is measured without the scores in it."
                findings.append(Finding("scores_unreadable", "warning", sentence))
        if place.prefix:
            for at, scores in list(table.items()):
                table[at] = {place.prefix + name: value for name, value in scores.items()}
        sources.append(_Source(place, table, tuple(entry.path for entry in place.events())))
    return sources


def _grouped(sources: Sequence[_Source], findings: list[Finding]) -> list[_Source]:
    """Join the sources that are from several starts of one training; leave out those that begin it anew."""
    groups: dict[tuple[str, bool], list[_Source]] = {}
    for number, source in enumerate(sources):
        key = source.folder.siblings or f"{number}"
        groups.setdefault((key, source.table.counts_calls), []).append(source)
    joined = []
    for (above, _), group in groups.items():
        ordered = sorted(group, key=lambda source: source.folder.order())
        if len(group) == 1:
            joined.extend(group)
        elif all(source.folder.continues for source in group) or _continue_each_other(ordered):
            joined.append(_in_order(ordered))
        else:
            names = [printable(source.folder.path) for source in ordered]
            sentence = (
                f"{above}: contains the scores of {len(group)} trainings that begin at the same place, and nothing "
                f"says which belongs to the checkpoints; none is used. Name one with --scalars, from {listed(names)}."
            )
            findings.append(Finding("scores_of_several_trainings", "warning", sentence))
    return joined


def _continue_each_other(sources: Sequence[_Source]) -> bool:
    """Check whether each source begins in the second half of the one before it, or after it, and goes beyond it.

    A training that is resumed from its last checkpoint repeats few steps; another training repeats most of them.
    """
    spans = [_span(source.table) for source in sources]
    return all(sum(before) < 2 * after[0] and before[1] < after[1] for before, after in pairwise(spans))


def _span(table: ScoreTable) -> tuple[float, float]:
    """Return the first and the last place of a table, by step if it has steps."""
    unit = "step" if any(unit == "step" for unit, _ in table) else "epoch"
    places = [place for known, place in table if known == unit]
    return min(places), max(places)


def _in_order(sources: Sequence[_Source]) -> _Source:
    table = ScoreTable()
    table.counts_calls = all(source.table.counts_calls for source in sources)
    for source in sources:
        _take_later(table, source.table)
    return _Source(sources[0].folder, table, tuple(path for source in sources for path in source.paths))


def _take_later(table: ScoreTable, later: ScoreTable) -> None:
    """Add the scores of a later start of the training, which replace those of steps that were taken again."""
    for place, scores in later.items():
        table.setdefault(place, {}).update(scores)
    table.steps.update(later.steps)
    table.epochs.update(later.epochs)


def _joined(sources: Sequence[_Source], findings: list[Finding]) -> ScoreTable:
    """Join sources in the order of preference; count the values of later ones that contradict earlier ones."""
    if len(sources) == 1:
        return sources[0].table
    table = ScoreTable()
    table.counts_calls = all(source.table.counts_calls for source in sources)
    contradictions = 0
    in_conflict: dict[str, None] = {}  # an ordered set
    for source in sources:
        for place, scores in source.table.items():
            known = table.setdefault(place, {})
            for name, value in scores.items():
                if not _agree(known.setdefault(name, value), value):
                    contradictions += 1
                    in_conflict[source.paths[0]] = None
        table.steps = table.steps or source.table.steps
        table.epochs = table.epochs or source.table.epochs
        table.epochs_from_one |= source.table.epochs_from_one
    if contradictions:
        what = "1 value" if contradictions == 1 else f"{contradictions} values"
        files = listed(list(in_conflict), limit=0)
        sentence = (
            f"Scores contradict each other: {what} in {files} and those of the same place in "
            f"{printable(sources[0].paths[0])} or another file before it; the first value is used. Move the file that "
            "does not belong to the run elsewhere."
        )
        evidence = {"values": contradictions}
        findings.append(Finding("scores_contradict", "warning", sentence, evidence=evidence))
    return table


def _agree(first: float, second: float) -> bool:
    return not (isfinite(first) and isfinite(second)) or isclose(first, second, rel_tol=_SAME, abs_tol=1e-12)


def _name(folder: str, path: str) -> str:
    """Return the path of a file relative to the folder of the checkpoints, if it is in it."""
    inside = path != folder and is_inside(folder, path)
    return printable(path_below(folder, path) if inside and path.startswith(folder) else path)
