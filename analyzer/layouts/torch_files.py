"""The torch files of a folder that may hold weights, and what those that can be opened say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from analyzer.errors import CheckpointError
from analyzer.formats.torch_zip import TorchFile, read_torch
from analyzer.layouts.foreign import is_foreign_name
from analyzer.layouts.weights.checkpoint import TORCH_FILES
from analyzer.sources import Entry, list_folder

# What trainers put beside the weights.
_OTHERS = re.compile(r"(?:optim|optimizer|scheduler|scaler|rng_state|random_states|training_args)(?:[_.-].*)?")
# .bin is a name for anything; as weights it has a telling one.
_TELLING_BIN = re.compile(r"model|weight|step|epoch|iter|ckpt|checkpoint", re.IGNORECASE)


def torch_files(folder: str, suffixes: tuple[str, ...] = TORCH_FILES) -> list[Entry]:
    """What looks like torch files of weights, by name.

    Raises:
        CheckpointError: the folder cannot be read.
    """
    return [
        entry
        for entry in list_folder(folder)
        if entry.name.endswith(suffixes)
        and not entry.is_folder
        and not entry.name.startswith(".")
        and not _OTHERS.fullmatch(entry.name)
        and not is_foreign_name(entry.name)
        and (not entry.name.endswith(".bin") or _TELLING_BIN.search(entry.name))
    ]


def opened(entries: Iterable[Entry]) -> Iterator[tuple[Entry, TorchFile]]:
    """Those of the files that can be opened."""
    for entry in entries:
        try:
            file = read_torch(entry.path)
        except CheckpointError:
            continue
        yield entry, file


def keys_of(file: TorchFile) -> frozenset[object]:
    """What a file holds, by name; nothing where it is no dictionary."""
    return frozenset(file.tree) if isinstance(file.tree, dict) else frozenset()
