"""Any folder of safetensors files, each one state of the same weights; scores from ``metrics.csv`` beside them."""

from __future__ import annotations

from analyzer.errors import CheckpointError
from analyzer.formats.safetensors import read_index
from analyzer.layouts.ordering import Series, merge_scores, parse_count, parse_score, place_in_name, refused
from analyzer.layouts.sidecars import ScoreTable, beside
from analyzer.layouts.weightlapse import unfinished
from analyzer.run import Checkpoint, Finding
from analyzer.sources import Entry, list_folder

NAME = "safetensors"
SPECIFICITY = 10
LOOKS_LIKE = "a folder of *.safetensors files, one per checkpoint"
NOT_SCORES = ("format", "schema", "epoch", "step", "global_step")


def recognise(folder: str) -> str | None:
    """Why the folder is a series of safetensors files, or None."""
    names = [entry.name for entry in list_folder(folder) if _is_candidate(entry) and not entry.is_folder]
    return f"{len(names)} safetensors files" if names else None


def read(folder: str) -> Series:
    """Every safetensors file of the folder; damaged ones and shards of one checkpoint become findings."""
    entries = list_folder(folder)
    if any(entry.name.endswith(".safetensors.index.json") for entry in entries):
        raise CheckpointError(
            f"{folder}: holds the shards of a single checkpoint, not a series. Name the folder that holds the "
            "checkpoint folders."
        )
    checkpoints, findings = [], []
    for entry in filter(_is_candidate, entries):
        try:
            checkpoints.append(_checkpoint(entry))
        except CheckpointError as error:
            findings.append(refused(entry.path, str(error)))
    scores = _scores(folder, findings)
    findings.extend(unfinished(folder))
    scored = merge_scores(checkpoints, scores)
    if scores and all(before.scores == after.scores for before, after in zip(checkpoints, scored, strict=True)):
        sentence = f"{folder}: none of the epochs or steps in the metrics file beside them is one of a checkpoint."
        findings.append(Finding("scores_unmatched", "warning", sentence))
    return Series(scored, "the files' metadata and names", findings)


def _is_candidate(entry: Entry) -> bool:
    return entry.name.endswith(".safetensors") and not entry.name.startswith(".")


def _scores(folder: str, findings: list[Finding]) -> ScoreTable:
    try:
        return beside(folder)
    except CheckpointError as error:
        findings.append(Finding("scores_unreadable", "warning", f"{error}. The run is measured without scores."))
        return {}


def _checkpoint(entry: Entry) -> Checkpoint:
    index = read_index(entry.path)
    named_epoch, named_step = place_in_name(entry.name)
    epoch = parse_score(index.metadata.get("epoch"))
    step = parse_count(index.metadata.get("step", index.metadata.get("global_step")))
    scores = {name: parse_score(text) for name, text in index.metadata.items() if name not in NOT_SCORES}
    return Checkpoint(
        name=entry.name,
        path=entry.path,
        epoch=named_epoch if epoch is None else epoch,
        step=named_step if step is None else step,
        scores={name: value for name, value in scores.items() if value is not None},
        tensors=index.tensors,
        files=index.files,
    )
