"""The output of weightlapse-train: ``epoch_*.safetensors``, each with ``format=weightlapse`` in its metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatch

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.formats.safetensors import read_index
from analyzer.layouts.file_series import unfinished
from analyzer.layouts.folder import Folder
from analyzer.layouts.naming import parse_count, parse_score, place_in_name
from analyzer.layouts.ordering import CheckpointSeries, collect
from analyzer.layouts.weights.checkpoint import TORCH_FILES
from analyzer.model.names import is_text, listed, printable
from analyzer.model.run import Checkpoint, Finding
from analyzer.sources import Entry

NAME = "weightlapse"
SPECIFICITY = 100
LOOKS_LIKE = "epoch_*.safetensors written by weightlapse-train"
SCORES = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")
WEIGHT_FILES = (".safetensors", ".npz", *TORCH_FILES)
LONGEST_SETTINGS = 10_000  # characters


def recognize(folder: Folder) -> str | None:
    """Return why the folder is a run of weightlapse-train, or None."""
    for entry in _candidates(folder):
        try:
            if not entry.is_folder and _is_ours(read_index(entry.path)):
                return f"{entry.name} has format=weightlapse"
        except CheckpointError:
            continue
    return None


def read(folder: Folder) -> list[CheckpointSeries]:
    """Read every epoch file of the run; damaged and foreign ones become findings."""
    checkpoints, findings = collect(_candidates(folder), _checkpoint)
    unplaced, others = _further(folder, checkpoints)
    findings += [*_left_out(others), *unfinished(folder.path)]
    return [CheckpointSeries(checkpoints, "the files' metadata", findings, unplaced=unplaced)]


def _further(folder: Folder, checkpoints: Sequence[Checkpoint]) -> tuple[list[Checkpoint], list[str]]:
    """Return the checkpoints of the same network without a place, such as ``best.safetensors``, and other weights."""
    known = [set(one.tensors) for one in checkpoints[:1]]
    chosen = {entry.name for entry in _candidates(folder)}
    unplaced, others = [], []
    for entry in folder.entries():
        if entry.is_folder or entry.name in chosen or not entry.name.endswith(WEIGHT_FILES):
            continue
        index = _index_of(entry) if entry.name.endswith(".safetensors") else None
        if index is None or set(index.tensors) not in known or any(map(str.isdecimal, entry.name)):
            others.append(entry.name)
        else:
            unplaced.append(Checkpoint(entry.name, entry.path, None, None, {}, index.tensors, index.files))
    return unplaced, others


def _index_of(entry: Entry) -> FileIndex | None:
    try:
        return read_index(entry.path)
    except CheckpointError:
        return None


def _left_out(names: Sequence[str]) -> list[Finding]:
    if not names:
        return []
    verb, named = ("is", "its name is") if len(names) == 1 else ("are", "their names are")
    sentence = f"{listed(names)} {verb} left out: {named} not epoch_N.safetensors, as weightlapse-train writes them."
    return [Finding("left_out_files", "notice", sentence, evidence={"files": [printable(name) for name in names]})]


def _candidates(folder: Folder) -> list[Entry]:
    return [entry for entry in folder.entries() if fnmatch(entry.name, "epoch_*.safetensors")]


def _is_ours(index: FileIndex) -> bool:
    return index.metadata.get("format") == "weightlapse"


def _checkpoint(entry: Entry) -> Checkpoint:
    index = read_index(entry.path)
    if not _is_ours(index):
        raise CheckpointError(
            f"{entry.path}: its metadata does not have format=weightlapse, unlike the other files; it is left out"
        )
    epoch = parse_count(index.metadata.get("epoch"))
    place = float(epoch) if epoch is not None else place_in_name(entry.name)[0]
    if place is None:
        raise CheckpointError(
            f"{entry.path}: neither its metadata nor its name states its epoch, so its place in the run is unknown; "
            "name it epoch_N.safetensors"
        )
    scores = {name: parse_score(index.metadata.get(name)) for name in SCORES}
    return Checkpoint(
        name=entry.name,
        path=entry.path,
        epoch=place,
        step=parse_count(index.metadata.get("step")),
        scores={name: value for name, value in scores.items() if value is not None},
        tensors=index.tensors,
        files=index.files,
        settings=_settings(index.metadata.get("config", "")),
    )


def _settings(text: str) -> dict[str, str]:
    """Return the configuration that the trainer wrote, as JSON by name; empty if it cannot be parsed."""
    try:
        config = json.loads(text) if len(text) <= LONGEST_SETTINGS else None
    except (ValueError, RecursionError):
        return {}
    named = config.items() if isinstance(config, dict) else ()
    return {name: json.dumps(value) for name, value in named if is_text(name)}
