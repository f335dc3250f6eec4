"""Read run names, epochs, steps and numbers out of paths, file names and metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

from analyzer.model.names import natural_key
from analyzer.model.run import Run
from analyzer.sources import folder_names, path_below

_GENERIC_FOLDERS = frozenset({"checkpoints", "checkpoint", "ckpts", "ckpt", "weights", "lightning_logs"})
_VERSION = re.compile(r"version_[0-9]+")  # Lightning restarts this count in each project

# A keyword wins over a bare number (checkpoint-230500-loss-1.2531 is step 230500); the most specific one comes first.
# "ep" and "iter" count only if no letter precedes them: "step3" is not epoch 3. "e" and "s" are RVC's (name_e10_s1000),
# "gs" is the global step of textual inversion (embeddings_gs-500). "ba" (Composer's ep0-ba1000), "batch" and "b"
# (AllenNLP's e0_b500) count batches after an epoch; elsewhere they are a batch's size. "steps" may be how many there
# are in all, so it comes last.
_STEP = (
    r"step",
    r"(?<![a-z])iter(?:ation)?",
    r"(?<=_)s(?=[0-9]+$)",
    r"(?<=_)gs(?=[-_=]?[0-9]+$)",
    r"(?<![a-z])ep(?:och)?[-_=]?[0-9]{1,15}[-_](?:ba(?:tch)?|it)",
    r"(?<=[-_])e[0-9]{1,15}_b(?=[0-9]+$)",
    r"(?<![a-z])steps",
)
_STEP_OR_EPOCH = r"checkpoint|ckpt"
_EPOCH = (r"epoch", r"(?<![a-z])ep", r"(?<=[_-])e(?=[0-9]+(?:$|_[sb][0-9]))")
# A number before its keyword: ESPnet's 10epoch, stable-baselines3's 1000_steps, mlx-lm's 0000100_adapters.
_STEP_AFTER = re.compile(
    r"(?<![0-9.])([0-9]+)(?:[_-]?(?:steps?|iters?|iterations?)(?![a-z0-9]|[_=-]?[0-9])|_adapters$)"
)
_EPOCH_AFTER = re.compile(r"(?<![0-9.])([0-9]+)[_-]?(?:epochs?|ep)(?![a-z0-9]|[_=-]?[0-9])")
_SCALES: Mapping[str, int] = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_COUNT = r"[_=-]?([0-9]+(?:\.[0-9]+)?)([kmbt](?![a-z0-9]))?"
_SCALED = re.compile(r"(?<![0-9.])([0-9]+(?:\.[0-9]+)?)([kmbt])(?![a-z0-9])", re.IGNORECASE)
STEP_KEYS = ("step", "global_step", "global_steps", "iter_num", "iteration", "iter", "num_updates", "ss_steps")
EPOCH_KEYS = ("epoch", "current_epoch", "ss_epoch")
# A date, with or without a time: 2024-07-01, 20240701_103000, 2024-07-01+10-00-00+00.
DATE = re.compile(
    r"(?<![0-9])(?:19|20)[0-9]{2}(?P<joint>[-_.]?)(?:0[1-9]|1[0-2])(?P=joint)(?:0[1-9]|[12][0-9]|3[01])"
    r"(?:[T _+.-]+[0-9]{2}(?P<colon>[-_:.]?)[0-9]{2}(?:(?P=colon)[0-9]{2})?(?:[+-][0-9]{2})?)?(?![0-9])"
)
_TOKENS = re.compile(r"(?:checkpoint|ckpt)[_=-]?[0-9.]+[bt](?![a-z0-9])", re.IGNORECASE)
# How many tokens were seen: after the word, before it, or else a number with B or T.
_COUNTS_OF_TOKENS = (
    re.compile(rf"tokens?{_COUNT}", re.IGNORECASE),
    re.compile(r"(?<![0-9.])([0-9]+(?:\.[0-9]+)?)([kmbt])?[_-]?tokens?(?![a-z0-9])", re.IGNORECASE),
    re.compile(r"(?<![a-z0-9.])([0-9]+(?:\.[0-9]+)?)([bt])(?![a-z0-9])", re.IGNORECASE),
)
_SUFFIX = re.compile(r"\.(?:safetensors|npz|pth\.tar|pth|pt|th|bin|ckpt|tar)$", re.IGNORECASE)
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
    """Return (epoch, step) from the keywords in a file or folder name; None for what they do not state.

    ``step-480k`` is step 480000. A number of tokens, as in ``step-50K-105b`` or ``checkpoint-105b``, is no step.
    """
    stem = DATE.sub("@", without_suffix(name))
    epoch, step = _number_after(_EPOCH, stem), _number_after(_STEP, stem)
    if epoch is None:
        epoch = _number_before(_EPOCH_AFTER, stem)
    if step is None:
        step = _number_before(_STEP_AFTER, stem)
    if step is None and not _TOKENS.search(stem):
        step = _number_after((_STEP_OR_EPOCH,), stem)
    return (None if epoch is None else float(epoch), step)


def tokens_in_name(name: str) -> int | None:
    """Return how many tokens a name states: ``tokens5B``, ``5Btokens``, or else the last number with B or T.

    The latter may be a model's size, as in ``pythia-1.4b-step1000``; only a number that rises along a run is a count.
    """
    stem = DATE.sub("@", without_suffix(name))
    for pattern in _COUNTS_OF_TOKENS:
        if found := pattern.findall(stem):
            count = _scaled(*found[-1])
            return count if count <= _LARGEST_PLACE else None
    return None


def place_in_content(metadata: Mapping[str, str]) -> tuple[float | None, int | None]:
    """Return (epoch, step) from a file's metadata; None for what it does not state."""
    epochs = (parse_score(metadata[key]) for key in EPOCH_KEYS if key in metadata)
    steps = (parse_count(metadata[key]) for key in STEP_KEYS if key in metadata)
    return next((one for one in epochs if one is not None), None), next((one for one in steps if one is not None), None)


def place_of(name: str, metadata: Mapping[str, str]) -> tuple[float | None, int | None]:
    """Return (epoch, step) from a file's metadata, or else from its name.

    If the metadata states the epoch, ``checkpoint-3`` counts epochs; only a number after ``step`` or ``iter`` then
    counts steps.
    """
    epoch, step = place_in_content(metadata)
    named_epoch, named_step = place_in_name(name)
    if epoch is not None:
        named_step = _number_after(_STEP, without_suffix(name))
    return named_epoch if epoch is None else epoch, named_step if step is None else step


def without_suffix(name: str) -> str:
    """Return a file's name without the suffix of its format."""
    return _SUFFIX.sub("", name)


def number_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that puts ``10`` after ``2``, and ``1.5M`` after ``900k``."""
    return natural_key(_SCALED.sub(lambda match: str(_scaled(match[1], match[2])), name))


def _number_after(keywords: Sequence[str], name: str) -> int | None:
    for keyword in keywords:
        match = re.search(rf"(?:{keyword}){_COUNT}", name, re.IGNORECASE)
        if match and (count := _scaled(match[1], match[2] or "")) <= _LARGEST_PLACE:
            return count
    return None


def _number_before(pattern: re.Pattern[str], name: str) -> int | None:
    match = pattern.search(name.lower())
    return int(match[1]) if match and int(match[1]) <= _LARGEST_PLACE else None


def _scaled(digits: str, letter: str) -> int:
    """Return a number with a scale, such as 1.5M, as a count; without one, its whole part."""
    if not letter:
        return int(digits.partition(".")[0])
    whole, _, fraction = digits.partition(".")
    scale = _SCALES[letter.lower()]
    return int(whole) * scale + int(fraction[:12].ljust(12, "0")) * scale // 10**12


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
