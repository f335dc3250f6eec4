"""Series of folders, one per checkpoint, whatever holds the weights in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from analyzer.layouts.file_series import unfinished
from analyzer.layouts.ordering import collect
from analyzer.layouts.weights.checkpoint import held_by, weights_of
from analyzer.model.names import listed
from analyzer.model.run import Checkpoint, Finding
from analyzer.sources import Entry, list_folder


def folders_named(folder: str, fits: Callable[[str], object]) -> list[Entry]:
    """The folders in a folder whose names fit."""
    return [entry for entry in list_folder(folder) if entry.is_folder and fits(entry.name)]


def first_with_weights(entries: Sequence[Entry]) -> str | None:
    """The name of the first folder that holds weights of one checkpoint."""
    return next((entry.name for entry in entries if held_by(entry.path)), None)


def read_folders(
    folder: str, entries: Sequence[Entry], read_one: Callable[[Entry], Checkpoint]
) -> tuple[list[Checkpoint], list[Finding]]:
    """Every one of ``entries`` as a checkpoint; what cannot be read, and what is odd about the others, is said."""
    checkpoints, findings = collect(entries, read_one)
    findings.extend([*_several_weights(checkpoints), *unfinished(folder)])
    return checkpoints, findings


def checkpoint_in(
    entry: Entry, place_of: Callable[[str, Mapping[str, str]], tuple[float | None, int | None]]
) -> Checkpoint:
    """The checkpoint in a folder, its epoch and step as its name and the metadata of its weights tell them."""
    index = weights_of(entry.path)
    epoch, step = place_of(entry.name, index.metadata)
    return Checkpoint(entry.name, entry.path, epoch, step, {}, index.tensors, index.files)


def _several_weights(checkpoints: Sequence[Checkpoint]) -> Iterator[Finding]:
    """Says it where a folder holds weights more than once: the first in the order of preference is read."""
    several: dict[tuple[str, ...], list[str]] = {}
    for checkpoint in checkpoints:
        held = tuple(held_by(checkpoint.path))
        if len(held) > 1:
            several.setdefault(held, []).append(checkpoint.name)
    for (first, *others), names in several.items():
        sentence = f"{listed(names)}: hold {first} and {', '.join(others)}; {first} is read."
        yield Finding("several_weights", "notice", sentence, checkpoints=tuple(names))
