"""Read a series of single files in one folder, in any format.

Epochs and steps come from the files' metadata, or else from their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from analyzer.formats import FileIndex
from analyzer.layouts.naming import STEP_KEYS, parse_score, place_of
from analyzer.layouts.ordering import CheckpointSeries, collect
from analyzer.layouts.scores.locating import SCORE_FILES
from analyzer.layouts.scores.merging import with_folder_scores
from analyzer.layouts.weights.checkpoint import weights_of
from analyzer.model.names import printable
from analyzer.model.run import Checkpoint, Finding
from analyzer.sources import Entry, list_folder

# Metadata that writers store with the weights and that describes the training or its progress, not its quality.
NOT_SCORES = (
    *STEP_KEYS,
    *("format", "schema", "version", "epoch", "epochs", "max_epochs", "steps", "max_steps", "max_iters", "total_steps"),
    *("seed", "rank", "world_size", "batch_size", "lr", "learning_rate", "weight_decay", "momentum"),
)


def read_files(
    folder: str,
    entries: Sequence[Entry],
    read_index: Callable[[str], FileIndex] = weights_of,
) -> CheckpointSeries:
    """Read each of ``entries`` as a checkpoint; damaged ones become findings.

    Args:
        folder: the folder that contains the entries.
        entries: the files of the checkpoints.
        read_index: reads one file.
    """
    checkpoints, findings = collect(entries, partial(_checkpoint, read_index=read_index))
    scored = with_folder_scores(folder, checkpoints, findings)
    findings.extend(unfinished(folder))
    return CheckpointSeries(scored, "the files' metadata and names", findings, score_files=SCORE_FILES)


def scores_in(metadata: Mapping[str, str]) -> dict[str, float]:
    """Return the numbers in a file's metadata that are scores."""
    scores = {name: parse_score(text) for name, text in metadata.items() if name not in NOT_SCORES}
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


def _checkpoint(entry: Entry, read_index: Callable[[str], FileIndex]) -> Checkpoint:
    index = read_index(entry.path)
    epoch, step = place_of(entry.name, index.metadata)
    return Checkpoint(entry.name, entry.path, epoch, step, scores_in(index.metadata), index.tensors, index.files)
