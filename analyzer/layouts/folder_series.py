"""Read a series of folders, one per checkpoint, with the weights in any of the known forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from analyzer.layouts.file_series import unfinished
from analyzer.layouts.folder import Folder
from analyzer.layouts.ordering import collect
from analyzer.layouts.weights.checkpoint import weight_files_in, weights_of
from analyzer.model.names import listed
from analyzer.model.run import Checkpoint, Finding
from analyzer.sources import Entry, is_folder


def folders_named(folder: Folder, fits: Callable[[str], object]) -> list[Entry]:
    """Return the folders in a folder whose names pass the test ``fits``."""
    return [entry for entry in folder.entries() if entry.is_folder and fits(entry.name)]


def first_with_weights(entries: Sequence[Entry]) -> str | None:
    """Return the name of the first folder that contains the weights of a checkpoint; None if none does."""
    return next((entry.name for entry in entries if weight_files_in(entry.path)), None)


def read_folders(
    folder: Folder, entries: Sequence[Entry], read_one: Callable[[Entry], Checkpoint]
) -> tuple[list[Checkpoint], list[Finding]]:
    """Read each of ``entries`` as a checkpoint; return them with findings about unreadable and unusual ones."""
    checkpoints, findings = collect(entries, read_one)
    findings.extend([*_several_weights(checkpoints), *unfinished(folder.path)])
    return checkpoints, findings


def checkpoint_in(
    entry: Entry, place_of: Callable[[str, Mapping[str, str]], tuple[float | None, int | None]]
) -> Checkpoint:
    """Return the checkpoint in a folder.

    Args:
        entry: the folder.
        place_of: returns (epoch, step) from the folder's name and the metadata of its weights.
    """
    index = weights_of(entry.path)
    epoch, step = place_of(entry.name, index.metadata)
    return Checkpoint(entry.name, entry.path, epoch, step, {}, index.tensors, index.files)


def _several_weights(checkpoints: Sequence[Checkpoint]) -> Iterator[Finding]:
    """Report folders that contain weights more than once; the first form in the order of preference is read."""
    several: dict[tuple[str, ...], list[str]] = {}
    for checkpoint in checkpoints:
        present = tuple(weight_files_in(checkpoint.path)) if is_folder(checkpoint.path) else ()
        if len(present) > 1:
            several.setdefault(present, []).append(checkpoint.name)
    for (first, *others), names in several.items():
        sentence = f"{listed(names)}: contain {first} and {', '.join(others)}; {first} is read."
        yield Finding("several_weights", "notice", sentence, checkpoints=tuple(names))
