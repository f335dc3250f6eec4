"""A folder's arrangement, turned into a :class:`analyzer.model.run.Run`: one file per layout.

A layout module has three names: ``NAME``, ``LOOKS_LIKE`` and ``SPECIFICITY`` (the higher one wins where two layouts
match); ``recognise(folder) -> reason or None``; and ``read(folder) -> list[Series]`` lists the checkpoints that it
finds, line by line. Where the weights of one checkpoint lie is the same for all layouts,
:mod:`analyzer.layouts.weights.checkpoint`, and so is putting them in order and refusing contradictions,
:mod:`analyzer.layouts.ordering`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from analyzer.errors import CheckpointError, LayoutError, NoCheckpointsError, WeightlapseError
from analyzer.layouts import kinds
from analyzer.layouts.foreign import foreign_reason, is_foreign_name
from analyzer.layouts.naming import named_apart
from analyzer.layouts.ordering import assemble, merge_scores, tells_of
from analyzer.layouts.scores.sidecars import read_scores
from analyzer.layouts.scores.tables import PLACE_COLUMNS
from analyzer.model.run import Finding, Run
from analyzer.sources import canonical, containing_folder, is_file, is_folder, list_folder, listings_kept

# Every module of the package ``kinds``: adding a layout is adding a file.
_MODULES = [import_module(f"{kinds.__name__}.{found.name}") for found in iter_modules(kinds.__path__)]
LAYOUTS: dict[str, ModuleType] = {
    module.NAME: module for module in sorted(_MODULES, key=lambda module: (-module.SPECIFICITY, module.NAME))
}
DEEPEST_SEARCH = 4


@dataclass(frozen=True, slots=True)
class FoundRuns:
    """The runs in a folder, and a finding for each folder below it that looks like a run and cannot be used."""

    runs: list[Run]
    refused: list[Finding]


def open_runs(path: str, layout: str | None = None) -> list[Run]:
    """The runs that :func:`find_runs` finds, with a warning for each that cannot be used."""
    found = find_runs(path, layout)
    for finding in found.refused:
        warnings.warn(finding.sentence, stacklevel=3)
    return found.runs


def find_runs(path: str, layout: str | None = None) -> FoundRuns:
    """The run in the folder ``path``, or the runs in the folders below it, sorted by name.

    Args:
        path: a run's folder or a folder of runs.
        layout: the name of a layout, to settle what the folder is.

    Raises:
        NoCheckpointsError: nothing was recognised.
        LayoutError: two layouts of equal rank match, or ``layout`` does not exist.
        CheckpointError: the folder cannot be read, or what is in it is no series.
    """
    if layout is not None and layout not in LAYOUTS:
        raise LayoutError(f"--layout {layout}: there is no such layout; choose one of {', '.join(LAYOUTS)}")
    path = canonical(path)
    if not is_folder(path):
        if is_file(path):
            folder = containing_folder(path)
            raise NoCheckpointsError(f"{path}: is a file; name the folder that holds the checkpoints: {folder}")
        raise NoCheckpointsError(f"{path}: does not exist, or is no folder; name a folder of checkpoints")
    unusable: list[WeightlapseError] = []
    with listings_kept():
        runs = _search(path, layout, 0, unusable)
    if not runs and unusable:
        raise NoCheckpointsError("\n".join(str(error) for error in unusable))
    if not runs and layout is not None and (fitting := _fitting(path)):
        raise NoCheckpointsError(
            f"{path}: --layout {layout} does not fit, for that is {LAYOUTS[layout].LOOKS_LIKE}. It can be read as "
            f"{' or '.join(fitting)}: leave --layout out, or name that."
        )
    if not runs:
        known = "".join(f"\n  {module.NAME:<12} {module.LOOKS_LIKE}" for module in LAYOUTS.values())
        raise NoCheckpointsError(
            f"{path}: no checkpoints found, here or in the folders below; name the folder that holds them.\n"
            f"What weightlapse reads, by the name that --layout knows it by:{known}"
        )
    return FoundRuns(named_apart(path, runs), [Finding("refused_run", "serious", str(error)) for error in unusable])


def with_scores(run: Run, path: str) -> Run:
    """The run with scores from a CSV or JSON-lines file by epoch or step added; what the run has itself wins.

    Raises:
        CheckpointError: the file cannot be read, or none of its rows belongs to a checkpoint.
    """
    findings: list[Finding] = []
    table = read_scores(canonical(path), findings)
    checkpoints = merge_scores(list(run.checkpoints), table)
    if [one.scores for one in checkpoints] == [one.scores for one in run.checkpoints]:
        if any(tells_of(table, one) for one in run.checkpoints):
            raise CheckpointError(f"{path}: adds no score to {run.name}: it has no number that the run has not itself")
        raise CheckpointError(
            f"{path}: adds no score to {run.name}: none of its epochs or steps is one of a checkpoint"
            + _other_places({place for place, _ in table}, run)
        )
    return replace(run, checkpoints=tuple(checkpoints), findings=(*run.findings, *findings))


def _other_places(places: set[str], run: Run) -> str:
    """That a table counts in one unit and a run in the other, where it is so."""
    known = {place for place in PLACE_COLUMNS if any(getattr(one, place) is not None for one in run.checkpoints)}
    if not places or known & places:
        return ""
    (theirs,) = places if len(places) == 1 else ("epoch or step",)
    ours = f"only {known.pop()}s" if known else "neither epoch nor step"
    return f": its rows are by {theirs}, but the checkpoints have {ours}"


def _search(folder: str, layout: str | None, depth: int, unusable: list[WeightlapseError]) -> list[Run]:
    """The runs in a folder and below; what cannot be used is put on the list, and the others go on."""
    try:
        module = _recognise(folder, layout)
        if module is not None:
            return _lines(folder, module, unusable)
        entries = list_folder(folder)
    except (NoCheckpointsError, CheckpointError, LayoutError) as error:
        if depth == 0:
            raise
        unusable.append(error)
        return []
    runs: list[Run] = []
    known = len(unusable)
    for entry in entries if depth < DEEPEST_SEARCH else ():
        # Links are not followed on the way down: a loop of links would never end.
        is_to_search = entry.is_folder and not entry.name.startswith(".") and not is_foreign_name(entry.name)
        if is_to_search and not entry.is_link:
            runs.extend(_search(entry.path, layout, depth + 1, unusable))
    if not runs and len(unusable) == known and (reason := foreign_reason(folder, entries)):
        unusable.append(CheckpointError(reason))
    return runs


def _fitting(path: str) -> list[str]:
    """The layouts as which a folder, or what is below it, can be read."""
    try:
        return sorted({run.layout for run in _search(path, None, 0, [])})
    except LayoutError:  # two of them fit equally well
        return [module.NAME for module in LAYOUTS.values() if module.recognise(path)]
    except WeightlapseError:
        return []


def _lines(folder: str, module: ModuleType, unusable: list[WeightlapseError]) -> list[Run]:
    """The run in a folder, or one for each line; one line that cannot be used does not spoil the others."""
    lines = module.read(folder)
    runs: list[Run] = []
    for line in lines:
        try:
            runs.append(assemble(folder, module.NAME, line))
        except NoCheckpointsError as error:
            if len(lines) == 1:
                raise
            unusable.append(error)
    return runs


def _recognise(folder: str, layout: str | None) -> ModuleType | None:
    if layout is not None:
        return LAYOUTS[layout] if LAYOUTS[layout].recognise(folder) else None
    matches = [module for module in LAYOUTS.values() if module.recognise(folder)]
    if len(matches) > 1 and matches[0].SPECIFICITY == matches[1].SPECIFICITY:
        names = f"{matches[0].NAME} and {matches[1].NAME}"
        raise LayoutError(f"{folder}: looks like {names} alike; settle it with --layout")
    return matches[0] if matches else None
