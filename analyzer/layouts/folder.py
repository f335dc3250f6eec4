"""A folder that is searched for checkpoints, with the patterns that choose among its files and folders."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from analyzer.sources import Entry, join, list_folder


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder; with ``patterns`` (``*``, ``?``, ``[abc]``), only matching entries are candidates for checkpoints.

    A pattern without a slash applies to names, one with a slash to the ends of paths.
    """

    path: str
    patterns: tuple[str, ...] = ()

    def entries(self) -> list[Entry]:
        """Return the files and folders that may be checkpoints.

        Raises:
            CheckpointError: the folder cannot be read.
        """
        entries = list_folder(self.path)
        return [entry for entry in entries if self.chooses(entry)] if self.patterns else entries

    def chooses(self, entry: Entry) -> bool:
        """Check whether a pattern matches an entry."""
        return any(
            fnmatchcase(f"/{entry.path}", f"*/{pattern}") if "/" in pattern else fnmatchcase(entry.name, pattern)
            for pattern in self.patterns
        )

    def below(self, name: str) -> Folder:
        """Return the folder of that name in this one, with the same patterns."""
        return Folder(join(self.path, name), self.patterns)
