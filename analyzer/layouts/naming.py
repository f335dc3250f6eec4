"""What a run is called: like its folder, with the folder above where many runs have one of that name."""

from __future__ import annotations

import re
from dataclasses import replace

from analyzer.model.run import Run
from analyzer.sources import folder_names, path_below

_NOT_TELLING = frozenset({"checkpoints", "lightning_logs"})
_VERSION = re.compile(r"version_[0-9]+")  # Lightning counts them anew in each project


def run_name(path: str) -> str:
    """``my-run`` for ``my-run/checkpoints``, ``my-run/version_0`` for ``my-run/lightning_logs/version_0``."""
    names, version = folder_names(path), ""
    for name in names:
        if not version and _VERSION.fullmatch(name):
            version = name
        elif name not in _NOT_TELLING:
            return f"{name}/{version}" if version else name
    return version or names[0]


def named_apart(path: str, runs: list[Run]) -> list[Run]:
    """Runs below one folder are named by their path from there, so that two of the same name stay apart."""
    if len({run.name for run in runs}) == len(runs):
        return runs
    return [replace(run, name=_path_below(path, run)) for run in runs]


def _path_below(path: str, run: Run) -> str:
    """A run's path from ``path`` on, with the name of its line where a folder holds several."""
    name = run_name(run.path)
    below = path_below(path, run.path)
    return f"{name if below in ('', '.') else below}{run.name.removeprefix(name)}"
