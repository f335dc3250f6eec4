"""Which runs differ in nothing but the seed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from analyzer.model.comparison import Group, StoredRun

SEED = "seed"  # the setting that only tells repetitions apart
_SEED_IN_NAME = re.compile(r"[-_.]*seed[-_=]?[0-9]+", re.IGNORECASE)
BY_SETTINGS = "Runs with the same settings in their checkpoints, all but the seed, are a group."
BY_NAMES = (
    "The checkpoints do not tell their settings, so runs whose names differ in nothing but a seed, as in run-seed1, "
    "are a group."
)


def group_runs(runs: Sequence[StoredRun]) -> tuple[tuple[Group, ...], str]:
    """The groups in the order of their first runs, and a sentence that says what they rest on."""
    by_settings = all(SEED in run.settings for run in runs)
    members: dict[object, list[StoredRun]] = {}
    for run in runs:
        members.setdefault(_settings_key(run) if by_settings else _name_without_seed(run.name), []).append(run)
    names = _names(list(members.values())) if by_settings else [str(key) for key in members]
    groups = tuple(
        Group(name, tuple(run.name for run in its), _independent(its))
        for name, its in zip(names, members.values(), strict=True)
    )
    return groups, BY_SETTINGS if by_settings else BY_NAMES


def _settings_key(run: StoredRun) -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in run.settings.items() if name != SEED)


def _name_without_seed(name: str) -> str:
    return _SEED_IN_NAME.sub("", name) or name


def _names(groups: Sequence[Sequence[StoredRun]]) -> list[str]:
    """What tells each group from the others: the value of the one setting that differs, or all that do."""
    settings = [group[0].settings for group in groups]
    differing = sorted(
        name
        for name in {name for one in settings for name in one} - {SEED}
        if len({one.get(name) for one in settings}) > 1
    )
    if not differing:
        return [_name_without_seed(group[0].name) for group in groups]
    return [", ".join(_setting(name, one, alone=len(differing) == 1) for name in differing) for one in settings]


def _setting(name: str, settings: Mapping[str, str], *, alone: bool) -> str:
    value = json.loads(settings[name]) if name in settings else "not set"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if alone and isinstance(value, str) else f"{name} {text}"


def _independent(runs: Sequence[StoredRun]) -> tuple[str, ...]:
    """All but those whose weights are those of an earlier one, byte by byte, at every checkpoint that both have."""
    kept: list[StoredRun] = []
    for run in runs:
        if not any(_is_copy(run, other) for other in kept):
            kept.append(run)
    return tuple(run.name for run in kept)


def _is_copy(run: StoredRun, other: StoredRun) -> bool:
    """Whether two runs have the same bytes throughout, or wherever they can be compared, if that is more than once."""
    mine, its = ([one.contents.get(row.name, {}) for row in one.tables.checkpoints] for one in (run, other))
    if any(mine) and mine == its:
        return True
    known, others = ({name: held for name, held in one.contents.items() if held} for one in (run, other))
    common = known.keys() & others.keys()
    enough = len(common) >= min(2, len(run.tables.checkpoints), len(other.tables.checkpoints)) > 0
    return enough and all(known[name] == others[name] for name in common)
