"""List the torch files of a folder that may contain weights, and open them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from analyzer.errors import CheckpointError
from analyzer.formats.torch_zip import TorchFile, read_torch
from analyzer.layouts.folder import Folder
from analyzer.layouts.foreign import is_foreign_name
from analyzer.layouts.weights.checkpoint import TORCH_FILES
from analyzer.sources import Entry

# Files that trainers save with the weights.
_OTHERS = re.compile(r"(?:optim|optimizer|scheduler|scaler|rng_state|random_states|training_args)(?:[_.-].*)?")
# Any file may end in .bin; only one with such a name is taken for weights.
_WEIGHTS_BIN = re.compile(r"model|weight|step|epoch|iter|ckpt|checkpoint", re.IGNORECASE)


def torch_files(folder: Folder, suffixes: tuple[str, ...] = TORCH_FILES) -> list[Entry]:
    """Return the entries that are torch files of weights, judged by name unless they were chosen by a pattern.

    Raises:
        CheckpointError: the folder cannot be read.
    """
    return [
        entry
        for entry in folder.entries()
        if entry.name.endswith(suffixes)
        and not entry.is_folder
        and (bool(folder.patterns) or _is_named_like_weights(entry.name))
    ]


def _is_named_like_weights(name: str) -> bool:
    is_other = name.startswith(".") or _OTHERS.fullmatch(name) or is_foreign_name(name)
    return not is_other and (not name.endswith(".bin") or bool(_WEIGHTS_BIN.search(name)))


def opened(entries: Iterable[Entry]) -> Iterator[tuple[Entry, TorchFile]]:
    """Yield each file that can be read, with its content; skip the others."""
    for entry in entries:
        try:
            file = read_torch(entry.path)
        except CheckpointError:
            continue
        yield entry, file


def keys_of(file: TorchFile) -> frozenset[object]:
    """Return the top-level keys of a file's content; empty if it is not a dictionary."""
    return frozenset(file.tree) if isinstance(file.tree, dict) else frozenset()
