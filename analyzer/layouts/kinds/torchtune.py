"""A flat folder of earlier versions of torchtune: ``hf_model_0001_0.pt``, where each epoch has one or several shards.

Later versions save a folder for each epoch, with an index as transformers writes it. ``adapter_E.pt`` and
``recipe_state.pt`` beside the shards are a part of the same checkpoints and the state of the training.
"""

from __future__ import annotations

from functools import partial

from analyzer.layouts.file_series import unfinished
from analyzer.layouts.folder import Folder
from analyzer.layouts.naming import place_of
from analyzer.layouts.ordering import CheckpointSeries, collect
from analyzer.layouts.scores.locating import SCORE_FILES
from analyzer.layouts.scores.merging import with_folder_scores
from analyzer.layouts.weights.checkpoint import weights_of
from analyzer.layouts.weights.shards import read_torchtune, torchtune_epochs
from analyzer.model.run import Checkpoint
from analyzer.sources import Entry, join

NAME = "torchtune"
SPECIFICITY = 30
LOOKS_LIKE = "hf_model_NNNN_E.pt files from torchtune, the shards of epoch E"


def recognize(folder: Folder) -> str | None:
    """Return why the folder is a run of torchtune, or None."""
    return next((shards[0] for shards in _epochs(folder).values()), None)


def read(folder: Folder) -> list[CheckpointSeries]:
    """Read the shards of every epoch as one checkpoint."""
    epochs = _epochs(folder)
    entries = [
        Entry(f"epoch_{epoch}", join(folder.path, shards[0]), is_folder=False, is_file=True)
        for epoch, shards in epochs.items()
    ]
    checkpoints, findings = collect(entries, partial(_checkpoint, folder=folder.path, epochs=epochs))
    scored = with_folder_scores(folder.path, checkpoints, findings)
    findings.extend(unfinished(folder.path))
    return [CheckpointSeries(scored, "the files' names", findings, score_files=SCORE_FILES)]


def _epochs(folder: Folder) -> dict[int, list[str]]:
    return torchtune_epochs(entry.name for entry in folder.entries() if not entry.is_folder)


def _checkpoint(entry: Entry, folder: str, epochs: dict[int, list[str]]) -> Checkpoint:
    epoch = int(entry.name.removeprefix("epoch_"))
    index = read_torchtune(folder, epochs[epoch], weights_of, max(map(len, epochs.values())))
    _, step = place_of("", index.metadata)
    return Checkpoint(entry.name, entry.path, float(epoch), step, {}, index.tensors, index.files)
