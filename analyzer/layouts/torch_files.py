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

# Files that trainers save with the weights, usually one or one for each process.
_OTHERS = re.compile(r"(?:optim|optimizer|scheduler|scaler|rng_state|random_states|training_args)(?:[_.-].*)?")
# Files that trainers save with every checkpoint; in a flat folder they look like a series of their own. Examples are
# opt000100.pt of improved-diffusion, recipe_state.pt of torchtune, extra_state_world_size_2_rank_0.pt of verl.
_STATES = re.compile(
    r"opt(?:im|imizer)?[0-9]+\..*|(?:.+[_.-])?(?:optimizer|optim|opt)(?:_?states?)?(?:[_.-]?[0-9]+)?\.[a-z.]+"
    r"|(?:training|trainer|train|recipe|extra|lr_scheduler|dataloader|sampler)_state(?:s|_dict)?(?:[_.-].*)?"
    r"|(?:lr_)?scheduler[0-9]*\..*|counter\.ckpt|(?:dataloader|replay_buffer)(?:[_.-].*)?"
)
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
    is_other = name.startswith(".") or _OTHERS.fullmatch(name) or _STATES.fullmatch(name) or is_foreign_name(name)
    return not is_other and (not name.endswith(".bin") or bool(_WEIGHTS_BIN.search(name)))


def state_files(folder: Folder) -> list[str]:
    """Return the names of torch files that look like a series and contain the state of an optimizer or training loop.

    Raises:
        CheckpointError: the folder cannot be read.
    """
    if folder.patterns:
        return []
    entries = (entry for entry in folder.entries() if entry.name.endswith(TORCH_FILES) and not entry.is_folder)
    return [entry.name for entry in entries if _STATES.fullmatch(entry.name) and not _OTHERS.fullmatch(entry.name)]


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
