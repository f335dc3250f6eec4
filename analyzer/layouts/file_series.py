"""Series of single files in one folder, whatever their format: places from what they say, else from their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.layouts.ordering import STEP_KEYS, Series, collect, merge_scores, parse_score, place_of, tells_of
from analyzer.layouts.scores.sidecars import SCORE_FILES, beside
from analyzer.layouts.scores.tables import ScoreTable
from analyzer.layouts.weights.checkpoint import weights_of
from analyzer.model.names import printable
from analyzer.model.run import Checkpoint, Finding
from analyzer.sources import Entry, list_folder

# What writers put beside the weights that tells how it was trained, or where it stands, but not how well it went.
NOT_SCORES = (
    *STEP_KEYS,
    *("format", "schema", "version", "epoch", "epochs", "max_epochs", "steps", "max_steps", "max_iters", "total_steps"),
    *("seed", "rank", "world_size", "batch_size", "lr", "learning_rate", "weight_decay", "momentum"),
)


def read_files(
    folder: str,
    entries: Sequence[Entry],
    read_index: Callable[[str], FileIndex] = weights_of,
    score_files: Sequence[str] = SCORE_FILES,
) -> Series:
    """Every one of ``entries`` as a checkpoint; damaged ones become findings."""
    checkpoints, findings = collect(entries, partial(_checkpoint, read_index=read_index))
    scores = scores_beside(folder, findings, score_files)
    findings.extend(unfinished(folder))
    scored = merge_scores(checkpoints, scores)
    if scores and not any(tells_of(scores, checkpoint) for checkpoint in checkpoints):
        sentence = f"{folder}: none of the epochs or steps in the metrics file beside them is one of a checkpoint."
        findings.append(Finding("scores_unmatched", "warning", sentence))
    return Series(scored, "the files' metadata and names", findings, score_files=tuple(score_files))


def scores_beside(folder: str, findings: list[Finding], names: Sequence[str] = SCORE_FILES) -> ScoreTable:
    """The scores in a metrics file of the folder; one that cannot be read costs the scores, which is said."""
    try:
        return beside(folder, findings, names)
    except CheckpointError as error:
        findings.append(Finding("scores_unreadable", "warning", f"{error}. The run is measured without scores."))
        return {}


def scores_in(metadata: Mapping[str, str]) -> dict[str, float]:
    """The numbers in a file's metadata that are scores."""
    scores = {name: parse_score(text) for name, text in metadata.items() if name not in NOT_SCORES}
    return {name: value for name, value in scores.items() if value is not None}


def unfinished(folder: str) -> list[Finding]:
    """A finding where temporary files show that the run is being written or was cut off."""
    names = tuple(
        printable(entry.name)
        for entry in list_folder(folder)
        if entry.name.endswith(".tmp") or entry.name.startswith("tmp-checkpoint-")
    )
    if not names:
        return []
    sentence = (
        f"{', '.join(names)}: temporary files; the run is still being written or was cut off. "
        "The last complete checkpoint is taken as its end."
    )
    return [Finding("unfinished_run", "notice", sentence, checkpoints=names)]


def _checkpoint(entry: Entry, read_index: Callable[[str], FileIndex]) -> Checkpoint:
    index = read_index(entry.path)
    epoch, step = place_of(entry.name, index.metadata)
    return Checkpoint(entry.name, entry.path, epoch, step, scores_in(index.metadata), index.tensors, index.files)
