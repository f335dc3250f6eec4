"""Folders whose names state the step or epoch, each with the weights of one checkpoint.

Pythia (``step1000``), OLMo (``stage1-step1000-tokens5B``), torchtitan (``step-1000``), accelerate's examples
(``epoch_1``) and SpeechBrain (``CKPT+DATE``, whose ``CKPT.yaml`` states the epoch) use this layout. OLMo's ingredients
start from the same state and are averaged in the end: they are branches, so each is a separate run. So is a stage whose
steps restart. diffusers (``checkpoint-N/unet``) and LeRobot (``N/pretrained_model``) put each component of a checkpoint
into a folder of its own: each component is a run. So is each file where several networks are saved side by side
(``CKPT+DATE/encoder.ckpt``); a single file may have any name (``step-100/lit_model.pth``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

from analyzer.errors import CheckpointError
from analyzer.layouts.folder import Folder
from analyzer.layouts.folder_series import checkpoint_in, folders_named, read_folders
from analyzer.layouts.foreign import foreign_reason
from analyzer.layouts.grouping import Group, ReadCheckpoint, group
from analyzer.layouts.naming import parse_score, place_in_name, place_of, without_suffix
from analyzer.layouts.ordering import CheckpointSeries, not_checkpoints, series_of
from analyzer.layouts.scores.locating import SCORE_FILES
from analyzer.layouts.scores.merging import with_folder_scores
from analyzer.layouts.stems import is_selected, stems
from analyzer.layouts.torch_files import torch_files
from analyzer.layouts.weights.checkpoint import weight_files_in
from analyzer.layouts.weights.shards import missing_index
from analyzer.model.run import Checkpoint, Finding
from analyzer.sources import Entry, is_file, join, list_folder, read_text

NAME = "folders"
SPECIFICITY = 50
LOOKS_LIKE = "stepN/, step-N/ or epoch_N/ folders with the weights of one checkpoint each: Pythia, OLMo, torchtitan"

_BRANCH = re.compile(r"(?:stage(?P<stage>[0-9]{1,9})-)?(?:ingredient(?P<ingredient>[0-9]{1,9})-)?step.*")
# Names without a keyword: LeRobot's 000500, SpeechBrain's CKPT+2024-07-01+10-00-00+00.
_OTHER_NAMES = re.compile(r"[0-9]{1,15}[kKmM]?|CKPT\+[0-9]{4}-[0-9]{2}-[0-9]{2}\+.*")
_ONLY_FILE = "*"
_STATE = "CKPT.yaml"
_EPOCH = re.compile(r"^epoch: *([0-9]{1,15})\s*$", re.MULTILINE)


def recognize(folder: Folder) -> str | None:
    """Return why the folder is a series of checkpoint folders, or None."""
    return next((entry.name for entry in _candidates(folder) if _components(entry)), None)


def read(folder: Folder) -> list[CheckpointSeries]:
    """Read every folder whose name states its place; each branch and each component becomes a series."""
    candidates = _candidates(folder)
    components = dict.fromkeys(name for entry in candidates for name in _components(entry))
    findings: list[Finding] = []
    groups: list[Group] = []
    for component in components or {"": None}:
        entries = [entry for entry in candidates if not component or component in _components(entry)]
        found, problems = read_folders(folder, entries, partial(_checkpoint, component))
        # What is noticed about the files of scores is the same for every component.
        scored = with_folder_scores(folder.path, found, [] if groups else findings)
        findings.extend(one if one.rule != "not_checkpoints" else _inside(component, one) for one in problems)
        groups.extend(
            replace(one, name=without_suffix(component) if len(components) > 1 else one.name)
            for one in groups_of(scored)
        )
    return series_of(groups, CheckpointSeries([], "the folders' names", findings, score_files=SCORE_FILES))


def _candidates(folder: Folder) -> list[Entry]:
    return folders_named(folder, lambda name: not name.startswith(".") and _states_place(name))


def _states_place(name: str) -> bool:
    return place_in_name(name) != (None, None) or bool(_OTHER_NAMES.fullmatch(name))


def _components(entry: Entry) -> list[str]:
    """Return the folders below a checkpoint's, or else the files in it, that contain weights.

    An empty name stands for the checkpoint's folder if it contains weights of a usual name, ``*`` for the only file.
    """
    if weight_files_in(entry.path):
        return [""]
    below = [one for one in list_folder(entry.path) if one.is_folder and not one.name.startswith(".")]
    folders = [one.name for one in below if weight_files_in(one.path)]
    files = [] if folders else _networks(entry)
    return [_ONLY_FILE] if len(files) == 1 else folders or files


def _networks(entry: Entry) -> list[str]:
    """Return the files of other names, each a network; none if they are a series or the parts of one model.

    A folder named by a number alone, or one with a best or last checkpoint, may be that of a run.
    """
    inside = Folder(entry.path).entries()
    names = [one.name for one in torch_files(Folder(entry.path))]
    names += [one.name for one in inside if one.is_file and one.name.endswith((".safetensors", ".npz"))]
    groups = stems(names)
    is_run = entry.name.isdecimal() or any(len(members) > 1 or is_selected(stem) for stem, members in groups.items())
    is_part = any(one.name.endswith(".index.json") for one in inside) or missing_index(entry.path, names)
    return [] if is_run or is_part or foreign_reason(entry.path, inside) else sorted(names)


def _checkpoint(component: str, entry: Entry) -> Checkpoint:
    inside = _networks(entry)[0] if component == _ONLY_FILE else component
    weights = replace(entry, path=join(entry.path, inside)) if inside else entry
    checkpoint = checkpoint_in(weights, place_of)
    return replace(checkpoint, epoch=_stated_epoch(entry.path)) if checkpoint.epoch is None else checkpoint


def _inside(component: str, finding: Finding) -> Finding:
    """Return a finding about files that are no checkpoints with their names, not those of the folders."""
    folders = finding.evidence["files"]
    if not component or not isinstance(folders, list):
        return finding
    return not_checkpoints([f"{name}/{component}" for name in folders])[0]


def _stated_epoch(folder: str) -> float | None:
    """Return the epoch in SpeechBrain's CKPT.yaml; None if there is none."""
    path = join(folder, _STATE)
    try:
        match = _EPOCH.search(read_text(path)) if is_file(path) else None
    except CheckpointError:
        return None
    return parse_score(match[1]) if match else None


def groups_of(checkpoints: Sequence[Checkpoint]) -> list[Group]:
    """Return the branches if names state stages or ingredients, else the series by their names."""
    if any(_branch_key(one) != (0, 0) for one in checkpoints):
        return [Group(name, branch) for name, branch in _branches(checkpoints)]
    return group([ReadCheckpoint(one, has_own_place=False) for one in checkpoints])


def _branch_key(checkpoint: Checkpoint) -> tuple[int, int]:
    """Return (ingredient, stage) from a checkpoint's name, 0 for what the name does not state."""
    match = _BRANCH.fullmatch(checkpoint.name)
    return (int(match["ingredient"] or 0), int(match["stage"] or 0)) if match else (0, 0)


def _branches(checkpoints: Sequence[Checkpoint]) -> Iterator[tuple[str, list[Checkpoint]]]:
    """Yield each branch by name, first those without an ingredient; stages with continuing steps form one branch."""
    branch: list[Checkpoint] = []
    name = ""
    for (ingredient, stage), found in groupby(sorted(checkpoints, key=_branch_key), key=_branch_key):
        members = list(found)
        if branch and (ingredient or _last_step(branch) >= _first_step(members)):
            yield name, branch
            branch = []
        if not branch:
            name = "-".join([f"stage{stage}"] * bool(stage) + [f"ingredient{ingredient}"] * bool(ingredient)) or "trunk"
        branch = branch + members
    if branch:
        yield name, branch


def _first_step(checkpoints: Sequence[Checkpoint]) -> int:
    return min((one.step for one in checkpoints if one.step is not None), default=0)


def _last_step(checkpoints: Sequence[Checkpoint]) -> int:
    return max((one.step for one in checkpoints if one.step is not None), default=0)
