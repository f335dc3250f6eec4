"""Select the weights among a distributed checkpoint's tensors, which include optimizer and data loader states."""

from __future__ import annotations

from dataclasses import replace

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.layouts.weights.containers import WEIGHTS

NOT_WEIGHTS = (
    "optim",
    "optimizer",
    "optimizers",
    "lr_scheduler",
    "scheduler",
    "dataloader",
    "train_state",
    "rng_state",
)


def only_weights(folder: str, index: FileIndex) -> FileIndex:
    """Return the index without tensors known not to be weights; a common prefix such as ``model`` is stripped.

    Raises:
        CheckpointError: there are no weights.
    """
    kept = {name: info for name, info in index.tensors.items() if name.partition(".")[0] not in NOT_WEIGHTS}
    if not kept:
        raise CheckpointError(f"{folder}: contains no weights, only the state of an optimizer; move it elsewhere")
    leading = {name.partition(".")[0] for name in kept if "." in name}
    if len(leading) == 1 and leading <= set(WEIGHTS) and all("." in name for name in kept):
        kept = {(short := name.partition(".")[2]): replace(info, name=short) for name, info in kept.items()}
    return replace(index, tensors=kept)
