"""Group runs that differ only in their seed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from os.path import commonprefix

from analyzer.model.comparison import Group, StoredRun

SEED = "seed"  # the setting in which repetitions of a training differ
_SEED_IN_NAME = re.compile(r"[-_.]*seed[-_=]?[0-9]+", re.IGNORECASE)
_SHORTEST_NAME = 3  # characters that runs' names must have in common for a name of their group
BY_SETTINGS = "Runs whose checkpoints record the same settings except the seed form a group."
BY_NAMES = (
    "The checkpoints do not record their settings, so runs whose names differ only in a seed, as in run-seed1, form a "
    "group."
)


def group_runs(runs: Sequence[StoredRun]) -> tuple[tuple[Group, ...], str]:
    """Return the groups in the order of their first runs, and a sentence on how they were formed."""
    by_settings = all(SEED in run.settings for run in runs)
    members: dict[object, list[StoredRun]] = {}
    for run in runs:
        members.setdefault(_settings_key(run) if by_settings else _name_without_seed(run.name), []).append(run)
    names = _names(list(members.values())) if by_settings else [str(key) for key in members]
    groups = tuple(
        Group(name, tuple(run.name for run in group), _independent(group))
        for name, group in zip(names, members.values(), strict=True)
    )
    return groups, BY_SETTINGS if by_settings else BY_NAMES


def _settings_key(run: StoredRun) -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in run.settings.items() if name != SEED)


def _name_without_seed(name: str) -> str:
    return _SEED_IN_NAME.sub("", name) or name


def _names(groups: Sequence[Sequence[StoredRun]]) -> list[str]:
    """Return a name per group: the value of the one setting that differs, or all settings that differ."""
    settings = [group[0].settings for group in groups]
    differing = sorted(
        name
        for name in {name for one in settings for name in one} - {SEED}
        if len({one.get(name) for one in settings}) > 1
    )
    if not differing:
        return [_shared_name(group) for group in groups]
    return [", ".join(_setting(name, one, alone=len(differing) == 1) for name in differing) for one in settings]


def _shared_name(runs: Sequence[StoredRun]) -> str:
    """Return what the runs of a group have in common: the start of their names, their folder, or else their number."""
    names = [_name_without_seed(run.name) for run in runs]
    start = commonprefix(names).rstrip("-_./ 0123456789")  # noqa: RUF071 - by character, on purpose
    if len(set(names)) == 1 or len(start) >= _SHORTEST_NAME:
        return start if len(set(names)) > 1 else names[0]
    folders = {run.path.rstrip("/").rpartition("/")[0] for run in runs}
    return (folders.pop().rpartition("/")[2] if len(folders) == 1 else "") or f"{len(runs)} runs with the same settings"


def _setting(name: str, settings: Mapping[str, str], *, alone: bool) -> str:
    value = json.loads(settings[name]) if name in settings else "not set"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if alone and isinstance(value, str) else f"{name} {text}"


def _independent(runs: Sequence[StoredRun]) -> tuple[str, ...]:
    """Return the runs without copies of earlier ones."""
    kept: list[StoredRun] = []
    for run in runs:
        if not any(_is_copy(run, other) for other in kept):
            kept.append(run)
    return tuple(run.name for run in kept)


def _is_copy(run: StoredRun, other: StoredRun) -> bool:
    """Return whether two runs have the same bytes at all checkpoints in order, or at all common checkpoints by name.

    One common checkpoint is enough only for a run of one checkpoint: different runs may share their start.
    """
    first, second = ([one.contents.get(row.name, {}) for row in one.tables.checkpoints] for one in (run, other))
    if any(first) and first == second:
        return True
    known, others = ({name: digests for name, digests in one.contents.items() if digests} for one in (run, other))
    common = known.keys() & others.keys()
    enough = len(common) >= min(2, len(run.tables.checkpoints), len(other.tables.checkpoints)) > 0
    return enough and all(known[name] == others[name] for name in common)
