"""Read run names, epochs, steps and numbers out of paths, file names and metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

from analyzer.model.run import Run
from analyzer.sources import folder_names, path_below

_GENERIC_FOLDERS = frozenset({"checkpoints", "lightning_logs"})
_VERSION = re.compile(r"version_[0-9]+")  # Lightning restarts this count in each project

# A keyword wins over a bare number (checkpoint-230500-loss-1.2531 is step 230500); the most specific one comes first.
# "ep" and "iter" count only if no letter precedes them: "step3" is not epoch 3.
_STEP = (r"step", r"(?<![a-z])iter(?:ation)?")
_STEP_OR_EPOCH = r"checkpoint|ckpt"
_EPOCH = (r"epoch", r"(?<![a-z])ep")
STEP_KEYS = ("step", "global_step", "iter_num", "iteration", "iter")
_LARGEST_PLACE = 2**53  # counts up to this are exact as floats, and fit in any integer


# ---------------------------------------------------------------------------------------------------- names of runs


def run_name(path: str) -> str:
    """Return ``my-run`` for ``my-run/checkpoints``, ``my-run/version_0`` for ``my-run/lightning_logs/version_0``."""
    names, version = folder_names(path), ""
    for name in names:
        if not version and _VERSION.fullmatch(name):
            version = name
        elif name not in _GENERIC_FOLDERS:
            return f"{name}/{version}" if version else name
    return version or names[0]


def with_distinct_names(path: str, runs: list[Run]) -> list[Run]:
    """Return the runs, named by their path below ``path`` if two of them would have the same name."""
    if len({run.name for run in runs}) == len(runs):
        return runs
    return [replace(run, name=_path_below(path, run)) for run in runs]


def _path_below(path: str, run: Run) -> str:
    """Return a run's path relative to ``path``, followed by its branch if its folder contains several."""
    name = run_name(run.path)
    below = path_below(path, run.path)
    return f"{name if below in ('', '.') else below}{run.name.removeprefix(name)}"


# ---------------------------------------------------------------------------------------- places of checkpoints


def place_in_name(name: str) -> tuple[float | None, int | None]:
    """Return (epoch, step) from the keywords in a file or folder name; None for what they do not state."""
    epoch, step = _number_after(_EPOCH, name), _number_after((*_STEP, _STEP_OR_EPOCH), name)
    return (None if epoch is None else float(epoch), step)


def place_of(name: str, metadata: Mapping[str, str]) -> tuple[float | None, int | None]:
    """Return (epoch, step) from a file's metadata, or else from its name.

    If the metadata states the epoch, ``checkpoint-3`` counts epochs; only a number after ``step`` or ``iter`` then
    counts steps.
    """
    steps = (parse_count(metadata[key]) for key in STEP_KEYS if key in metadata)
    epoch, step = parse_score(metadata.get("epoch")), next((step for step in steps if step is not None), None)
    named_epoch, named_step = place_in_name(name)
    if epoch is not None:
        named_step = _number_after(_STEP, name)
    return named_epoch if epoch is None else epoch, named_step if step is None else step


def _number_after(keywords: Sequence[str], name: str) -> int | None:
    for keyword in keywords:
        match = re.search(rf"(?:{keyword})[_=-]?([0-9]+)", name, re.IGNORECASE)
        if match and int(match[1]) <= _LARGEST_PLACE:
            return int(match[1])
    return None


# ---------------------------------------------------------------------------------------------------- numbers


def parse_score(text: Any) -> float | None:
    """Return the finite number in a metadata string, a CSV cell or a JSON value; None (a gap, never 0) otherwise."""
    value = parse_number(text)
    return value if value is not None and isfinite(value) else None


def parse_number(text: Any) -> float | None:
    """Return a number as :func:`parse_score` does, but let NaN and infinity through."""
    if isinstance(text, bool) or (isinstance(text, str) and "_" in text):  # Python reads False as 0 and "1_0" as 10
        return None
    try:
        return float(text)
    except (TypeError, ValueError, OverflowError):
        return None


def parse_count(text: Any) -> int | None:
    """Return the whole number of steps or epochs in a metadata string; None otherwise."""
    value = parse_score(text)
    return int(value) if value is not None and value == int(value) and 0 <= value <= _LARGEST_PLACE else None
