"""Find the runs in a folder and in the folders below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from analyzer.errors import CheckpointError, LayoutError, NoCheckpointsError, WeightlapseError
from analyzer.layouts import kinds
from analyzer.layouts.folder import Folder
from analyzer.layouts.foreign import foreign_reason, is_foreign_name
from analyzer.layouts.naming import with_distinct_names
from analyzer.layouts.ordering import assemble
from analyzer.model.run import Finding, Run
from analyzer.sources import cached_listings, canonical, containing_folder, is_file, is_folder, list_folder

# Every module of the package ``kinds``: a new file is a new layout.
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


def find_runs(path: str, layout: str | None = None, files: Sequence[str] = ()) -> FoundRuns:
    """Find the run in the folder ``path``, or the runs in the folders below it, sorted by name.

    Args:
        path: a run's folder or a folder of runs.
        layout: the name of a layout, if the folder must not be guessed from its content.
        files: patterns of names; only matching files and folders are checkpoints, whatever their names suggest.

    Raises:
        NoCheckpointsError: nothing was recognized.
        LayoutError: two layouts of equal rank match, or ``layout`` does not exist.
        CheckpointError: the folder cannot be read, or its files are not a series of checkpoints.
    """
    if layout is not None and layout not in LAYOUTS:
        raise LayoutError(f"--layout {layout}: there is no such layout; choose one of {', '.join(LAYOUTS)}")
    path = canonical(path)
    if not is_folder(path):
        if is_file(path):
            folder = containing_folder(path)
            raise NoCheckpointsError(f"{path}: is a file; name the folder that contains the checkpoints: {folder}")
        raise NoCheckpointsError(f"{path}: does not exist, or is not a folder; name a folder of checkpoints")
    unusable: list[WeightlapseError] = []
    with cached_listings():
        runs = _search(Folder(path, tuple(files)), layout, 0, unusable)
    if not runs and unusable:
        raise NoCheckpointsError(*map(str, unusable))
    if not runs and layout is not None and (fitting := _fitting_layouts(path)):
        raise NoCheckpointsError(
            f"{path}: --layout {layout} does not fit; it means {LAYOUTS[layout].LOOKS_LIKE}. The folder can be read as "
            f"{' or '.join(fitting)}: leave --layout out, or name that."
        )
    if not runs and files:
        raise NoCheckpointsError(
            f"{path}: no file or folder that can be read as a checkpoint matches --files {' '.join(files)}, here or in "
            "the folders below; correct the pattern"
        )
    if not runs:
        raise NoCheckpointsError(
            f"{path}: no checkpoints found, here or in the folders below; name the folder that contains them.",
            "Layouts that weightlapse reads, by the name that --layout accepts:",
            *(f"  {module.NAME:<12} {module.LOOKS_LIKE}" for module in LAYOUTS.values()),
        )
    return FoundRuns(with_distinct_names(path, runs), [_unusable_run(error) for error in unusable])


def _unusable_run(error: WeightlapseError) -> Finding:
    return Finding("refused_run", "serious", str(error))


def _search(folder: Folder, layout: str | None, depth: int, unusable: list[WeightlapseError]) -> list[Run]:
    """Return the runs in a folder and below; append the errors of folders that cannot be used to ``unusable``."""
    try:
        module = _recognize(folder, layout)
        if module is not None:
            return _branches(folder, module, unusable)
        entries = list_folder(folder.path)
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
            runs.extend(_search(Folder(entry.path, folder.patterns), layout, depth + 1, unusable))
    if not runs and len(unusable) == known and (reason := foreign_reason(folder.path, entries)):
        unusable.append(CheckpointError(reason))
    return runs


def _fitting_layouts(path: str) -> list[str]:
    """Return the names of the layouts that match a folder or the folders below it."""
    try:
        return sorted({run.layout for run in _search(Folder(path), None, 0, [])})
    except LayoutError:  # two of them fit equally well
        return [module.NAME for module in LAYOUTS.values() if module.recognize(Folder(path))]
    except WeightlapseError:
        return []


def _branches(folder: Folder, module: ModuleType, unusable: list[WeightlapseError]) -> list[Run]:
    """Return the run in a folder, or one run for each branch; an unusable branch does not affect the others."""
    branches = module.read(folder)
    runs: list[Run] = []
    for series in branches:
        try:
            runs.append(assemble(folder.path, module.NAME, series))
        except NoCheckpointsError as error:
            if len(branches) == 1:
                raise
            unusable.append(error)
    return runs


def _recognize(folder: Folder, layout: str | None) -> ModuleType | None:
    """Return the most specific layout that matches a folder, or the named one if it matches."""
    if layout is not None:
        return LAYOUTS[layout] if LAYOUTS[layout].recognize(folder) else None
    matches = [module for module in LAYOUTS.values() if module.recognize(folder)]
    if len(matches) > 1 and matches[0].SPECIFICITY == matches[1].SPECIFICITY:
        names = f"{matches[0].NAME} and {matches[1].NAME}"
        raise LayoutError(f"{folder.path}: matches {names} equally well; choose one with --layout")
    return matches[0] if matches else None
