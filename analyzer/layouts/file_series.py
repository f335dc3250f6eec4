"""Read a series of single files in one folder, in any format.

Epochs and steps come from the files' metadata, or else from their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.layouts.folder import Folder
from analyzer.layouts.foreign import model_parallel_reason
from analyzer.layouts.grouping import ReadCheckpoint, group
from analyzer.layouts.naming import EPOCH_KEYS, STEP_KEYS, parse_score, place_in_content, place_of
from analyzer.layouts.ordering import CheckpointSeries, collect, series_of
from analyzer.layouts.scores.locating import SCORE_FILES
from analyzer.layouts.scores.merging import with_folder_scores
from analyzer.layouts.weights.checkpoint import weights_of
from analyzer.layouts.weights.shards import reject_shards
from analyzer.model.names import listed, printable
from analyzer.model.run import Checkpoint, Finding
from analyzer.sources import Entry, file_name, list_folder

# Metadata that writers store with the weights and that describes the training or its progress, not its quality.
NOT_SCORES = (
    *(*STEP_KEYS, *EPOCH_KEYS),
    *("format", "schema", "version", "epochs", "max_epochs", "steps", "max_steps", "max_iters", "total_steps"),
    *("seed", "rank", "world_size", "batch_size", "lr", "learning_rate", "weight_decay", "momentum"),
)
# kohya's sd-scripts describe the training and its data, but store no scores.
_NOT_SCORES_OF = ("ss_", "sshs_", "modelspec.")


def read_files(
    folder: Folder,
    entries: Sequence[Entry],
    read_index: Callable[[str], FileIndex] = weights_of,
) -> list[CheckpointSeries]:
    """Read each of ``entries`` as a checkpoint of the series that its name belongs to; damaged ones become findings.

    Args:
        folder: the folder that contains the entries.
        entries: the files of the checkpoints.
        read_index: reads one file.

    Raises:
        CheckpointError: the files are shards or parts of one checkpoint, and were not chosen by a pattern.
    """
    if not folder.patterns:
        _require_series(folder.path, [entry.name for entry in entries])
    unread: list[FileIndex] = []
    found, findings = collect(entries, partial(_read, read_index=read_index, unread=unread))
    findings.extend(unread_weights(unread))
    scored = with_folder_scores(folder.path, [one.checkpoint for one in found], findings)
    findings.extend(unfinished(folder.path))
    found = [replace(one, checkpoint=checkpoint) for one, checkpoint in zip(found, scored, strict=True)]
    common = CheckpointSeries([], "the files' metadata and names", findings, score_files=SCORE_FILES)
    return series_of(group(found), common)


def _require_series(folder: str, names: Sequence[str]) -> None:
    reject_shards(folder, names)
    if reason := model_parallel_reason(folder, names):
        raise CheckpointError(reason)


def scores_in(metadata: Mapping[str, str]) -> dict[str, float]:
    """Return the numbers in a file's metadata that are scores."""
    described = {
        name: text for name, text in metadata.items() if name not in NOT_SCORES and not name.startswith(_NOT_SCORES_OF)
    }
    scores = {name: parse_score(text) for name, text in described.items()}
    return {name: value for name, value in scores.items() if value is not None}


def unfinished(folder: str) -> list[Finding]:
    """Return a finding if temporary files show that the run is still being written or was interrupted."""
    names = tuple(
        printable(entry.name)
        for entry in list_folder(folder)
        if entry.name.endswith(".tmp") or entry.name.startswith("tmp-checkpoint-")
    )
    if not names:
        return []
    sentence = (
        f"{', '.join(names)}: temporary files; the run is still being written or was interrupted. "
        "It is read up to the last complete checkpoint."
    )
    return [Finding("unfinished_run", "notice", sentence, checkpoints=names)]


def unread_weights(indexes: Sequence[FileIndex]) -> list[Finding]:
    """Return a finding that names what files contain beside the weights that are read."""
    by_choice: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for index in indexes:
        by_choice.setdefault((index.read_from, index.others), []).append(printable(file_name(index.files[0].path)))
    findings = []
    for (read_from, others), names in by_choice.items():
        which = names[0] if len(names) == 1 else f"{len(names)} files, such as {names[0]},"
        read = f"; {printable(read_from)} is read" if read_from else ""
        what = listed([printable(name, 80) for name in others])
        sentence = f"{which} also contain{'s' if len(names) == 1 else ''} tensors that are not read: {what}{read}."
        evidence = {"read": read_from, "not_read": list(others)}
        findings.append(Finding("unread_weights", "notice", sentence, checkpoints=tuple(names), evidence=evidence))
    return findings


def _read(entry: Entry, read_index: Callable[[str], FileIndex], unread: list[FileIndex]) -> ReadCheckpoint:
    index = read_index(entry.path)
    if index.others:
        unread.append(index)
    epoch, step = place_of(entry.name, index.metadata)
    has_own_place = place_in_content(index.metadata) != (None, None)
    scores = scores_in(index.metadata)
    checkpoint = Checkpoint(entry.name, entry.path, epoch, step, scores, index.tensors, index.files)
    return ReadCheckpoint(checkpoint, has_own_place)
