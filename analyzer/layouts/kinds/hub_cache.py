"""A repository in the cache of huggingface_hub, ``models--OWNER--NAME``, with one checkpoint for each revision.

``refs/REVISION`` contains the commit of the folder ``snapshots/COMMIT``, whose files are links into ``blobs/``. Pythia
(``step1000``) and OLMo publish checkpoints as revisions. See huggingface_hub's guide "Understand caching".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from analyzer.errors import CheckpointError
from analyzer.layouts.folder import Folder
from analyzer.layouts.folder_series import checkpoint_in, read_folders
from analyzer.layouts.kinds.checkpoint_folders import groups_of
from analyzer.layouts.naming import place_of
from analyzer.layouts.ordering import CheckpointSeries, series_of
from analyzer.layouts.weights.checkpoint import weight_files_in
from analyzer.model.run import Checkpoint
from analyzer.sources import Entry, folder_name, is_folder, is_inside, join, list_folder, read_text

NAME = "hub-cache"
SPECIFICITY = 92
LOOKS_LIKE = "models--OWNER--NAME/ in the cache of huggingface_hub, with several revisions"

_COMMIT = re.compile(r"[0-9a-f]{40}")


def recognize(folder: Folder) -> str | None:
    """Return why the folder is a repository in the cache, or None."""
    if not folder_name(folder.path).startswith("models--") or not is_folder(join(folder.path, "refs")):
        return None
    return next((entry.name for entry in _revisions(folder) if weight_files_in(entry.path)), None)


def read(folder: Folder) -> list[CheckpointSeries]:
    """Read the snapshot of every revision; branches are separate series."""
    checkpoints, findings = read_folders(folder, list(_revisions(folder)), partial(_checkpoint, folder.path))
    return series_of(groups_of(checkpoints), CheckpointSeries([], "the revisions' names", findings))


def _checkpoint(folder: str, entry: Entry) -> Checkpoint:
    for name in weight_files_in(entry.path)[:1]:
        path = join(entry.path, name)
        if not is_inside(entry.path, path) and not is_inside(join(folder, "blobs"), path):
            raise CheckpointError(f"{path}: is a link that leaves the repository's folder; it is not opened")
    return checkpoint_in(entry, place_of)


def _revisions(folder: Folder) -> Iterator[Entry]:
    """Yield each revision whose snapshot is there, under the revision's name."""
    for entry in list_folder(join(folder.path, "refs")):
        path = join(folder.path, "snapshots", _commit(entry)) if entry.is_file else ""
        if path and is_folder(path) and (not folder.patterns or folder.chooses(entry)):
            yield replace(entry, path=path, is_folder=True, is_file=False)


def _commit(entry: Entry) -> str:
    """Return the commit that a file of ``refs/`` names; "refs" as a name that no snapshot has, if it is not one."""
    try:
        text = read_text(entry.path).strip()
    except CheckpointError:
        return "refs"
    return text if _COMMIT.fullmatch(text) else "refs"
