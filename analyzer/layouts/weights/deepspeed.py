"""Read the weights of a DeepSpeed checkpoint of ZeRO stage 1 or 2, or without ZeRO.

The folder of a tag (``global_stepN`` unless the caller chose another) contains ``mp_rank_00_model_states.pt``, a torch
file with whole weights under ``module`` and ``global_steps``, and the optimizer's partitions in
``*_optim_states.pt``, which are not read. See ``_save_checkpoint`` in deepspeed/runtime/engine.py.
Checkpoints whose weights are spread over several files are rejected: of ZeRO stage 3, of tensor or pipeline
parallelism, of a mixture of experts.
"""

from __future__ import annotations

import re
from dataclasses import replace

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.formats.torch_zip import read_torch
from analyzer.layouts.fragments import ZERO_3, deepspeed_reason
from analyzer.layouts.weights.torch_state import index_of
from analyzer.sources import join, list_folder

WEIGHTS = "mp_rank_00_model_states.pt"
_PLACES = {"global_steps": "step", "epoch": "epoch"}  # the epoch is there if the training loop passes it
_STATES = re.compile(r".+_model_states\.pt")


def has_states(folder: str) -> bool:
    """Check whether a folder contains files of a DeepSpeed checkpoint with model states, whole or in fragments."""
    return any(_STATES.fullmatch(entry.name) for entry in list_folder(folder))


def read_index(folder: str) -> FileIndex:
    """Index the weights of the checkpoint in a tag's folder.

    Returns:
        the index; its metadata contain ``step`` and ``epoch`` if the file states them.

    Raises:
        CheckpointError: the checkpoint is damaged, or its weights are spread over several files.
    """
    if reason := deepspeed_reason(folder, [entry.name for entry in list_folder(folder)]):
        raise CheckpointError(reason)
    path = join(folder, WEIGHTS)
    index = index_of(path, read_torch(path), "module")
    if index.tensors and any(0 in info.shape for info in index.tensors.values()):
        # Stage 3 leaves empty placeholders in the modules; parameters of a whole model are never empty.
        raise CheckpointError(f"{path}: {ZERO_3}")
    metadata = {name: index.metadata[key] for key, name in _PLACES.items() if key in index.metadata}
    return replace(index, metadata=metadata)
