"""Find the folders and files beside a run's checkpoints that may contain its scores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from analyzer.errors import CheckpointError
from analyzer.layouts.scores.event_files import is_event_file, time_of
from analyzer.model.names import natural_key
from analyzer.sources import Entry, containing_folder, folder_name, is_remote, list_folder

# In the order of preference: of two files with the same score at the same place, the first one counts.
SCORE_FILES = (
    *("metrics.csv", "metrics.jsonl", "log.txt", "metrics.json", "results.jsonl", "results.csv", "scalars.json"),
    *("*.log.json", "progress.csv", "progress.txt", "result.json", "log_history.json", "history.json"),
    *("training_log.csv", "summary.csv", "trainer_state.json"),
)
ANY_LOG = ("log.txt", "progress.txt")  # names of texts as often as of tables
MOST_FOLDERS = 200

# Folders of nothing but checkpoints: the scores of such a run may be in the folder above.
_CHECKPOINT_FOLDERS = frozenset(
    {
        *("checkpoint", "checkpoints", "ckpt", "ckpts", "model", "models", "saved_models", "weights"),
        *("model_checkpoints", "snapshots"),
    }
)
_LOG_FOLDERS = frozenset(
    {
        *("lightning_logs", "log", "logs", "runs", "summaries", "tb", "tb_logs", "tensorboard", "tensorboard_logs"),
        *("tf_logs", "vis_data"),
    }
)
_DATA = frozenset({"train", "val", "valid", "validation", "eval", "test"})  # writers that use the same tags
_STARTED = re.compile(r"[0-9]{8}_[0-9]{6}")  # mmengine's folder of one start of the training
_VERSION = re.compile(r"version_[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class LogFolder:
    """A folder that may contain files of scores.

    ``prefix`` precedes the names of the scores in event files. ``siblings`` is the folder whose other log folders come
    from another start of the training, empty if there are no others; they ``continue`` each other if the program
    starts a new folder whenever it is started for the same checkpoints.
    """

    path: str
    files: tuple[Entry, ...]
    prefix: str = ""
    siblings: str = ""
    continues: bool = False

    def tables(self) -> list[Entry]:
        """Return the files that are named like a table of scores, in the order of preference."""
        return [
            entry
            for pattern in SCORE_FILES
            for entry in sorted(self.files, key=lambda entry: natural_key(entry.name))
            if fnmatchcase(entry.name, pattern)
        ]

    def events(self) -> list[Entry]:
        """Return the event files, in the order of the time in their names."""
        return sorted(filter(_is_events, self.files), key=lambda entry: (time_of(entry.name), entry.name))

    def order(self) -> tuple[object, ...]:
        """Return a sort key that puts later starts of a training after earlier ones."""
        started = [time_of(entry.name) for entry in self.events()]
        return (min(started, default=0), natural_key(self.path))


def log_folders(folder: str) -> list[LogFolder]:
    """Return the folders that may contain scores of the checkpoints in ``folder``, with their files.

    These are the folder itself, its folders of logs, and the same of the folder above if this one is named like a
    folder of checkpoints. Folders that cannot be listed are left out; links are not followed.
    """
    found = list(islice(_beside(folder), MOST_FOLDERS))
    above = folder_above(folder) if folder_name(folder) in _CHECKPOINT_FOLDERS else None
    return found + (list(islice(_beside(above), MOST_FOLDERS)) if above else [])


def folder_above(folder: str) -> str | None:
    """Return the folder that contains a folder; None above a server's first folder."""
    if is_remote(folder):
        above = containing_folder(folder)
        return above if is_remote(above) and not above.endswith("/") else None
    # The name of a relative path such as "." or "a/.." is not that of the folder.
    path = Path(folder)
    return str(path.parent if path.name not in ("", "..") and path.parent != path else path.resolve().parent)


def _is_events(entry: Entry) -> bool:
    return entry.is_file and is_event_file(entry.name)


def _beside(folder: str) -> Iterator[LogFolder]:
    entries = _listed(folder)
    yield LogFolder(folder, _files(entries))
    for entry in _folders(entries):
        if entry.name in _LOG_FOLDERS:
            yield from _logs(entry.path)
        elif _STARTED.fullmatch(entry.name):
            inner = [inside for inside in _folders(_listed(entry.path)) if inside.name == "vis_data"]
            for path in (entry.path, *(inside.path for inside in inner)):
                yield LogFolder(path, _files(_listed(path)), siblings=folder, continues=True)


def _logs(folder: str) -> Iterator[LogFolder]:
    """Yield a folder of logs, and the folders in it that belong to one start or to one part of the data each."""
    entries = _listed(folder)
    yield LogFolder(folder, _files(entries))
    for entry in _folders(entries):
        inside = _listed(entry.path)
        if entry.name in _DATA:
            yield LogFolder(entry.path, _files(inside), prefix=f"{entry.name}/")
            continue
        yield LogFolder(entry.path, _files(inside), siblings=folder)
        for version in _folders(inside):
            if _VERSION.fullmatch(version.name):
                yield LogFolder(version.path, _files(_listed(version.path)), siblings=folder)


def _listed(folder: str) -> list[Entry]:
    try:
        return list_folder(folder)
    except CheckpointError:  # a folder above, say, that may not be read: the run is measured without its scores
        return []


def _folders(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.is_folder and not entry.is_link]


def _files(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    return tuple(
        entry
        for entry in entries
        if entry.is_file and (is_event_file(entry.name) or any(fnmatchcase(entry.name, one) for one in SCORE_FILES))
    )
