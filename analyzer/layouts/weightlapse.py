"""Our own trainer's output: ``epoch_*.safetensors``, each with ``format=weightlapse`` in its metadata."""

from __future__ import annotations

from fnmatch import fnmatch

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.formats.safetensors import read_index
from analyzer.layouts.ordering import Series, parse_count, parse_score, place_in_name, refused
from analyzer.names import printable
from analyzer.run import Checkpoint, Finding
from analyzer.sources import Entry, list_folder

NAME = "weightlapse"
SPECIFICITY = 100
LOOKS_LIKE = "epoch_*.safetensors written by weightlapse-train"
SCORES = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")


def recognise(folder: str) -> str | None:
    """Why the folder is a run of our trainer, or None."""
    for entry in _candidates(folder):
        try:
            if not entry.is_folder and _is_ours(read_index(entry.path)):
                return f"{entry.name} says format=weightlapse"
        except CheckpointError:
            continue
    return None


def read(folder: str) -> Series:
    """Every epoch file of the run; damaged and foreign ones become findings."""
    checkpoints, findings = [], []
    for entry in _candidates(folder):
        try:
            checkpoints.append(_checkpoint(entry))
        except CheckpointError as error:
            findings.append(refused(entry.path, str(error)))
    findings.extend(unfinished(folder))
    return Series(checkpoints, "the files' metadata", findings)


def unfinished(folder: str) -> list[Finding]:
    """A finding where temporary files show that the run is being written or was cut off."""
    names = tuple(printable(entry.name) for entry in list_folder(folder) if entry.name.endswith(".tmp"))
    if not names:
        return []
    sentence = (
        f"{', '.join(names)}: temporary files; the run is still being written or was cut off. "
        "The last complete checkpoint is taken as its end."
    )
    return [Finding("unfinished_run", "notice", sentence, checkpoints=names)]


def _candidates(folder: str) -> list[Entry]:
    return [entry for entry in list_folder(folder) if fnmatch(entry.name, "epoch_*.safetensors")]


def _is_ours(index: FileIndex) -> bool:
    return index.metadata.get("format") == "weightlapse"


def _checkpoint(entry: Entry) -> Checkpoint:
    index = read_index(entry.path)
    if not _is_ours(index):
        raise CheckpointError(
            f"{entry.path}: does not say format=weightlapse in its metadata, as the other files do; it is left out"
        )
    epoch = parse_count(index.metadata.get("epoch"))
    place = float(epoch) if epoch is not None else place_in_name(entry.name)[0]
    if place is None:
        raise CheckpointError(
            f"{entry.path}: neither its metadata nor its name tell its epoch, so its place in the run is unknown; "
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
    )
